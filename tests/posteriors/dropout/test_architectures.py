"""MC-dropout on networks of the shapes that people bring: ResNet-50, a vision transformer, BERT and LSTMs."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from baldur import posteriors
from baldur.posteriors import MCDropout
from baldur.posteriors.dropout.masks import keep
from baldur.testing.posterior import verify_posterior


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


class Bottleneck(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)),
            *(
                nn.Conv2d(width, width, 3, stride, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ),
            *(nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)),
        )
        self.shortcut = nn.Sequential(
            nn.Conv2d(width_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
        )

    def forward(self, x):
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet-50 in little: bottlenecks, batch normalisation, adaptive pooling, no dropout of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        self.stages = nn.Sequential(Bottleneck(8, 4, 1), Bottleneck(16, 8, 2))
        self.pool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(32, 4)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.stages(self.stem(x))), 1))


class VisionTransformer(nn.Module):
    """Patches by a convolution, a class token, an encoder in the given order of normalisation."""

    def __init__(self, p=0.1, norm_first=True):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.positions = nn.Parameter(torch.randn(1, 1, 16)), nn.Parameter(torch.randn(1, 17, 16))
        layer = nn.TransformerEncoderLayer(16, 2, 32, p, "gelu", batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        h = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.positions
        return self.head(self.encoder(h)[:, 0])


class Recurrent(nn.Module):
    """Stacked recurrent layers with dropout between them, read at the last step."""

    def __init__(self, kind=nn.LSTM, p=0.5, **settings):
        super().__init__()
        self.rnn = kind(8, 6, **{"num_layers": 2, "dropout": p, "batch_first": True} | settings)
        width = (self.rnn.proj_size or 6) * (2 if self.rnn.bidirectional else 1)
        self.out = nn.Linear(width, 3)

    def forward(self, x):
        if self.rnn.batch_first:
            return self.out(self.rnn(x)[0][:, -1])
        return self.out(self.rnn(x.transpose(0, 1))[0][-1])


class Packed(nn.Module):
    """Sequences that end where the rows become 0, read at their ends."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(6, 3)

    def forward(self, x):
        lengths = (x != 0).any(2).sum(1).cpu()
        return self.out(
            self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))[1][0][-1]
        )


def pictures():
    return torch.randn(7, 3, 16, 16, generator=torch.Generator().manual_seed(5))


def sequences():
    return torch.randn(7, 5, 8, generator=torch.Generator().manual_seed(5))


def uneven():
    x = sequences()
    for i, length in enumerate((5, 2, 3, 5, 1, 4, 2)):
        x[i, length:] = 0
    return x


CASES = {
    "resnet, last": (ResNet, pictures, {"rate": 0.5}, 1),
    "resnet, every": (ResNet, pictures, {"rate": 0.2, "where": "every"}, 9),
    "vision transformer": (VisionTransformer, pictures, {}, 8),
    "vision transformer, normalised behind": (partial(VisionTransformer, norm_first=False), pictures, {}, 8),
    "vision transformer, last": (partial(VisionTransformer, 0.0), pictures, {"rate": 0.5}, 1),
    "vision transformer, every": (
        partial(VisionTransformer, 0.0),
        pictures,
        {"rate": 0.2, "where": "every"},
        7,
    ),
    "lstm": (Recurrent, sequences, {}, 1),
    "lstm, last": (partial(Recurrent, p=0.0), sequences, {"rate": 0.5}, 1),
    "lstm, every": (partial(Recurrent, p=0.0), sequences, {"rate": 0.5, "where": "every"}, 2),
    "lstm, three layers, steps first": (
        partial(Recurrent, num_layers=3, batch_first=False, bias=False),
        sequences,
        {},
        2,
    ),
    "lstm, both directions": (partial(Recurrent, bidirectional=True), sequences, {}, 1),
    "lstm, projected": (partial(Recurrent, proj_size=4), sequences, {}, 1),
    "gru": (partial(Recurrent, nn.GRU), sequences, {}, 1),
    "rnn": (partial(Recurrent, nn.RNN, nonlinearity="relu"), sequences, {}, 1),
    "lstm, packed": (
        lambda: Packed(nn.LSTM(8, 6, 2, dropout=0.5, batch_first=True)),
        uneven,
        {"rate": 0.5, "where": "every"},
        2,
    ),
}


@pytest.mark.filterwarnings(
    "ignore:LSTM with projections:UserWarning"
)  # of a processor's library, nothing of ours
@pytest.mark.parametrize("name", CASES)
def test_mc_dropout_works_without_a_fallback(name):
    """Warnings are errors, and each way that is slower warns."""
    make, inputs, options, sites = CASES[name]
    network, x = seeded(make), inputs()
    empty = seeded(lambda: copy.deepcopy(network))
    verify_posterior(
        lambda network: MCDropout(network, **options),
        network,
        x,
        lambda folder: posteriors.load(folder, empty),
    )
    posterior = MCDropout(network, **options)
    active = [line for line in posterior.report(x).splitlines() if "p = 0." in line]
    assert len(active) == sites
    plan = posterior.plan(x)
    fast = posterior.draw(3)(x)
    plan.tail, plan.vectorised = None, False
    assert torch.allclose(posterior.draw(3)(x), fast, atol=1e-5)


def by_hand(rnn, masks, x):
    """Layer by layer with networks of one layer, the masks between them."""
    h = x
    for layer in range(rnn.num_layers):
        one = type(rnn)(h.shape[2], rnn.hidden_size, batch_first=True, bidirectional=rnn.bidirectional)
        for name in one.state_dict():
            getattr(one, name).data = getattr(rnn, name.replace("_l0", f"_l{layer}")).data
        h = one(h)[0]
        if layer < rnn.num_layers - 1:
            h = h * masks[layer] / 0.5
    return h


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("each_step", [False, True])
def test_recurrent_dropout_is_a_mask_of_each_step_or_of_the_sequence(kind, bidirectional, each_step):
    network, x = Recurrent(kind, num_layers=3, bidirectional=bidirectional), sequences()
    posterior = MCDropout(network) if each_step else MCDropout(network).with_one_mask_a_sequence()
    log_probs = posterior.draw(4, seed=9)(x)
    width, steps = 12 if bidirectional else 6, x.shape[1] if each_step else 1
    sites = [keep(9, site, range(4), (1, steps, width), 0.5) for site in range(2)]
    for t in range(4):
        h = by_hand(network.rnn, [site[t] for site in sites], x)
        expected = network.out(h[:, -1]).log_softmax(1)
        assert torch.allclose(log_probs[:, t], expected, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        Recurrent,
        partial(Recurrent, nn.GRU, num_layers=3, batch_first=False),
        partial(Recurrent, bidirectional=True),
        partial(Recurrent, nn.RNN, p=0.3),
        lambda: Packed(nn.LSTM(8, 6, 2, dropout=0.5, batch_first=True)),
    ],
    ids=["lstm", "gru", "both directions", "rnn", "packed"],
)
def test_samples_have_the_moments_of_training_mode(make):
    """The mean and the standard deviation of the logits, over 4,000 passes of training and as many samples."""
    network = seeded(make)
    with torch.no_grad():  # as large as after training: otherwise dropout moves the outputs little
        for weights in network.parameters():
            weights.mul_(2)
    x = uneven()[:3] if isinstance(network, Packed) else sequences()[:3]
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        network.train()
        one = network(x.repeat(4000, 1, 1)).log_softmax(1).unflatten(0, (4000, len(x)))  # (passes, n, C)
    network.eval()
    samples = MCDropout(network).draw(4000)(x).transpose(0, 1)
    error = one.std(0) / 4000**0.5
    assert ((samples.mean(0) - one.mean(0)).abs() < 7 * error + 1e-4).all()
    assert (samples.std(0) / one.std(0) - 1).abs().max() < 0.1
    earlier = MCDropout(network).with_one_mask_a_sequence().draw(4000)(x).transpose(0, 1)
    assert (earlier.std(0) / one.std(0) - 1).abs().max() > 0.1, "as it was, for comparison"


def test_a_saved_posterior_keeps_its_masks(tmp_path):
    network, x = seeded(Recurrent), sequences()
    for number, posterior in enumerate((MCDropout(network), MCDropout(network).with_one_mask_a_sequence())):
        folder = tmp_path / str(number)
        folder.mkdir()
        posterior.save(folder)
        assert torch.equal(posteriors.load(folder, Recurrent()).draw(3)(x), posterior.draw(3)(x))
    assert "masks" not in (folder / "posterior.json").read_text(), "as versions before saved it"


def test_sequences_beside_others_of_other_lengths():
    """Packed or alone, longest or not: the same functions."""
    network, x = Packed(nn.LSTM(8, 6, 2, dropout=0.5, batch_first=True)), uneven()
    draws = MCDropout(network).draw(3)
    whole = draws(x)
    for i, length in enumerate((x != 0).any(2).sum(1).tolist()):
        assert torch.allclose(draws(x[i : i + 1, :length]), whole[i : i + 1], atol=1e-6)


def test_dropout_in_front_of_a_recurrent_layer_is_vectorised():
    network = nn.Sequential(nn.Dropout(0.5), Recurrent(p=0.0, num_layers=1))
    verify_posterior(MCDropout, network, sequences())


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_by_hand(need_weights):
    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True)
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.attention(x, x, x, need_weights=need_weights)[0].mean(1))

    network, x = seeded(Attending), sequences()
    verify_posterior(MCDropout, network, x)
    inner = network.attention
    q, k, v = (
        part.unflatten(2, (2, 4)).transpose(1, 2)
        for part in (x @ inner.in_proj_weight.T + inner.in_proj_bias).chunk(3, -1)
    )
    mask = keep(9, 0, range(1), (1, 2, 5, 5), 0.5)[0]
    h = ((q @ k.transpose(2, 3) / 2).softmax(-1) * mask / 0.5 @ v).transpose(1, 2).flatten(2)
    expected = network.out(inner.out_proj(h).mean(1)).log_softmax(1)
    assert torch.allclose(MCDropout(network).draw(1, seed=9)(x)[:, 0], expected, atol=1e-5)


def test_attention_without_dropout_keeps_its_mask():
    """The fused kernel behind a dropout layer, with a mask that broadcasts over the heads, and a causal one."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x, allowed):
            h = self.drop(x).unsqueeze(1).expand(-1, 2, -1, -1)
            attend = nn.functional.scaled_dot_product_attention
            a = attend(h, h, h, allowed[:, None, None])
            return self.out((a + attend(h, h, h, is_causal=True)).mean((1, 2)))

    x, allowed = sequences(), torch.ones(7, 5, dtype=torch.bool)
    allowed[2, 3:] = False
    network = seeded(Masked)
    verify_posterior(MCDropout, network, (x, allowed))
    posterior = MCDropout(network)
    fast = posterior.draw(3)((x, allowed))
    posterior.plan((x, allowed)).vectorised = False
    assert torch.allclose(posterior.draw(3)((x, allowed)), fast, atol=1e-6)


class Bert(nn.Module):
    """A small BERT with random weights."""

    def __init__(self, attention):
        super().__init__()
        transformers = pytest.importorskip("transformers")
        self.bert = transformers.BertForSequenceClassification(
            transformers.BertConfig(
                vocab_size=50,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=16,
                num_labels=3,
                attn_implementation=attention,
            )
        )

    def forward(self, input_ids, attention_mask):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask).logits


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_bert_and_its_padding(attention):
    network = seeded(lambda: Bert(attention))
    mask = (torch.arange(6) < torch.tensor([3, 4, 5, 6, 2, 5, 4])[:, None]).long()
    ids = torch.randint(1, 50, (7, 6), generator=torch.Generator().manual_seed(5)) * mask
    x = {"input_ids": ids, "attention_mask": mask}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        verify_posterior(MCDropout, network, x)
    draws = MCDropout(network).draw(4)
    padded = {name: torch.cat([part, torch.zeros(7, 3).long()], 1) for name, part in x.items()}
    assert torch.allclose(draws(padded), draws(x), atol=1e-5)
    assert draws.posterior.report(x).count("p = 0.1") == 8
