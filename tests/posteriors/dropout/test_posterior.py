import copy
import itertools
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from baldur import networks, posteriors
from baldur.errors import DamagedArtefact, InvalidArgument, NoStochasticSite, Unsupported, UnsupportedNetwork
from baldur.posteriors import MCDropout
from baldur.testing.posterior import verify_posterior


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def mlp(*rates):
    layers = [nn.Flatten()]
    for width_in, width_out, p in zip((12, 9, 8), (9, 8, 7), rates, strict=False):
        layers += [nn.Linear(width_in, width_out), nn.ReLU(), nn.Dropout(p)]
    return nn.Sequential(*layers, nn.Linear((9, 8, 7)[len(rates) - 1], 3))


class Functional(nn.Module):
    """Functional dropout, a residual connection around it, and a batch norm."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b, self.c = (
            nn.Linear(12, 8),
            nn.BatchNorm1d(8),
            nn.Linear(8, 8),
            nn.Linear(8, 3),
        )

    def forward(self, x):
        h = self.norm(self.a(x.flatten(1)))
        h = h + functional.dropout(torch.relu(self.b(h)), 0.4, self.training)
        return self.c(h)


class Residual(nn.Module):
    """A residual network with dropout before its last layer."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 8)
        self.drop, self.c = nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        h = self.norm(self.a(x.view(x.size(0), -1)))
        return self.c(self.drop(torch.relu(h + self.b(h))))


class Attention(nn.Module):
    """A transformer encoder, whose dropout sits in modules and inside its attention."""

    def __init__(self, need_weights=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.encoder(x).mean(1))


class DirectAttention(nn.Module):
    """scaled_dot_product_attention with a rate that is 0 in evaluation mode: invisible unless training is watched."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.qkv(x).unsqueeze(1).chunk(3, -1)
        h = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=0.5 if self.training else 0.0, is_causal=True
        )
        return self.out(h.squeeze(1).mean(1))


class DataDependent(nn.Module):
    """Control flow that depends on the data cannot be vectorised or traced."""

    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 3)

    def forward(self, x):
        h = self.drop(torch.relu(self.a(x.flatten(1))))
        if h.sum() < -1:
            h = h * 2
        return self.b(h)


def triple(module, inputs, output):
    return output * 3


def hooked():
    network = mlp(0.5)
    network[-1].register_forward_hook(triple)
    return network


class FunctionalNorm(nn.Module):
    """Batch normalisation and dropout called by the same module: only the dropout may behave as in training."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(12, 8), nn.Linear(8, 3)
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("var", torch.ones(8))

    def forward(self, x):
        h = functional.batch_norm(self.a(x.flatten(1)), self.mean, self.var, training=self.training)
        return self.b(functional.dropout(h, 0.5, self.training))


class Pool(nn.Module):
    """Six logits of each position to three of the item."""

    def forward(self, x):
        return x.mean(1)[:, :3]


def conv(drop, dims=2):
    kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[dims]
    return nn.Sequential(
        kind(1, 4, 2),
        drop,
        nn.ReLU(),
        kind(4, 4, 2),
        nn.BatchNorm2d(4) if dims == 2 else nn.Identity(),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


def vectors(n=7):
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(5))


def images(dims=2, n=7):
    return torch.randn(n, 1, *[5] * dims, generator=torch.Generator().manual_seed(5))


def sequences(n=7):
    return torch.randn(n, 5, 8, generator=torch.Generator().manual_seed(5))


NETWORKS = {
    "dense": (lambda: mlp(0.3, 0.5), vectors),
    "three layers": (lambda: mlp(0.3, 0.5, 0.2), vectors),
    "rate on the input": (
        lambda: nn.Sequential(nn.Dropout(0.2), nn.ReLU(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 3)),
        vectors,
    ),
    "two in a row": (
        lambda: nn.Sequential(nn.Linear(12, 9), nn.Dropout(0.2), nn.Dropout(0.5), nn.Linear(9, 3)),
        vectors,
    ),
    "log softmax at the end": (lambda: nn.Sequential(mlp(0.5), nn.LogSoftmax(1)), vectors),
    "log softmax inside": (
        lambda: nn.Sequential(
            nn.Linear(12, 9), nn.Dropout(0.5), nn.Linear(9, 6), nn.LogSoftmax(1), nn.Linear(6, 3)
        ),
        vectors,
    ),
    "hooked": (hooked, vectors),
    "functional normalisation": (FunctionalNorm, vectors),
    "per position": (
        lambda: nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.5), nn.Linear(6, 6), Pool()),
        sequences,
    ),
    "dropout": (lambda: conv(nn.Dropout(0.5)), images),
    "dropout1d": (lambda: conv(nn.Dropout1d(0.5), 1), lambda: images(1)),
    "dropout2d": (lambda: conv(nn.Dropout2d(0.5)), images),
    "dropout3d": (lambda: conv(nn.Dropout3d(0.5), 3), lambda: images(3)),
    "alpha dropout": (
        lambda: nn.Sequential(nn.Linear(12, 9), nn.SELU(), nn.AlphaDropout(0.2), nn.Linear(9, 3)),
        vectors,
    ),
    "feature alpha dropout": (lambda: conv(nn.FeatureAlphaDropout(0.3)), images),
    "functional": (Functional, vectors),
    "residual": (Residual, vectors),
    "transformer": (Attention, sequences),
    "attention": (DirectAttention, sequences),
    "gal2017": (lambda: networks.gal2017((1, 28, 28), 4), lambda: torch.randn(7, 1, 28, 28)),
    "batchbald2019": (lambda: networks.batchbald2019((1, 28, 28), 4), lambda: torch.randn(7, 1, 28, 28)),
    "cnn32": (lambda: networks.cnn32((3, 32, 32), 4), lambda: torch.randn(7, 3, 32, 32)),
    "vgg16": (lambda: networks.vgg16((1, 32, 32), 4, width=0.05), lambda: torch.randn(7, 1, 32, 32)),
    "resnet18": (lambda: networks.resnet18((3, 32, 32), 4), lambda: torch.randn(7, 3, 32, 32)),
}


def build(name):
    make, inputs = NETWORKS[name]
    x = seeded(inputs)
    network = seeded(make)
    network.eval()(x)  # lazy layers take their shape
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # statistics that a change would show
            module.running_mean.normal_(generator=torch.Generator().manual_seed(1))
    return network.train(), x


@pytest.mark.parametrize("name", NETWORKS)
def test_the_contract_holds(name):
    network, x = build(name)
    empty = seeded(lambda: copy.deepcopy(network))
    verify_posterior(MCDropout, network, x, lambda folder: posteriors.load(folder, empty), tolerance=2e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_path_gives_the_same(name):
    network, x = build(name)
    posterior = MCDropout(network)
    fast = posterior.draw(5, seed=3)(x)
    plan = posterior.plan(x)
    plan.tail = None
    vectorised = posterior.draw(5, seed=3)(x)
    plan.vectorised = False
    one_by_one = posterior.draw(5, seed=3)(x)
    assert torch.allclose(fast, vectorised, atol=2e-5)
    assert torch.allclose(vectorised, one_by_one, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "dense"),
    [("dense", True), ("gal2017", True), ("residual", True), ("dropout2d", True), ("functional", False)],
)
def test_what_runs_once(name, dense):
    network, x = build(name)
    posterior = MCDropout(network)
    calls = {"trunk": 0, "rows": 0}
    first = next(m for m in posterior.network.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    original = first.forward

    def counting(h):
        calls["trunk"] += 1
        calls["rows"] += len(h)
        return original(h)

    draws = posterior.draw(6)
    draws(x)
    first.forward = counting
    draws(x)
    assert (posterior.plan(x).tail is not None) == dense
    assert calls == {"trunk": 1, "rows": len(x)}


def test_by_hand_one_mask():
    """The definition: h m / (1 - p), with the mask that the generator gives."""
    network = nn.Sequential(nn.Identity(), nn.Dropout(0.25), nn.Linear(12, 3))
    x, posterior = vectors(), MCDropout(network)
    from baldur.posteriors.dropout.masks import keep

    mask = keep(9, 0, range(4), (1, 12), 0.25)[:, 0]
    expected = torch.stack([network[2](x * m / 0.75).log_softmax(1) for m in mask], 1)
    assert torch.allclose(posterior.draw(4, seed=9)(x), expected, atol=1e-6)


def test_the_mean_over_masks_is_the_activation():
    network = nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 3))
    x = vectors()
    posterior = MCDropout(network)
    log_probs = posterior.draw(4000, seed=1)(x)
    logits = network[1](x)
    centred = (log_probs - log_probs[..., :1]).mean(1)
    assert torch.allclose(centred, logits - logits[:, :1], atol=0.15)


def test_alpha_dropout_keeps_mean_and_variance():
    network = nn.Sequential(nn.AlphaDropout(0.2), nn.Linear(400, 2, bias=False))
    network[1].weight.data[:] = torch.stack([torch.ones(400), torch.zeros(400)]) / 20
    x = torch.randn(50, 400, generator=torch.Generator().manual_seed(1))
    log_probs = MCDropout(network).draw(200)(x)
    sums = log_probs[..., 0] - log_probs[..., 1]
    assert abs(float(sums.mean())) < 0.3
    assert float(sums.var()) == pytest.approx(1, abs=0.25)


def test_masks_do_not_depend_on_padding():
    network, x = build("transformer")

    class Padded(nn.Module):
        """What a network does that masks its padding."""

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            padding = (x == 0).all(-1)
            h = self.inner.encoder(x, src_key_padding_mask=padding)
            return self.inner.out(h.masked_fill(padding.unsqueeze(-1), 0).sum(1))

    draws = MCDropout(Padded(network)).draw(4)
    padded = torch.cat([x, torch.zeros(len(x), 3, 8)], 1)
    assert torch.allclose(draws(padded), draws(x), atol=1e-5)


def test_the_network_may_go_on_training():
    network, x = build("dense")
    posterior = MCDropout(network)
    before = posterior.draw(3)(x)
    with torch.no_grad():
        network[1].weight.zero_()
    assert (posterior.draw(3)(x) == before).all()


def test_trees_of_tensors():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(12, 3)

        def forward(self, a, b):
            return self.out(self.drop(a + b))

    x = vectors()
    verify_posterior(MCDropout, Two(), (x, x * 2))
    verify_posterior(MCDropout, Two(), {"a": x, "b": x * 2})


def test_no_dropout_is_an_error():
    with pytest.raises(NoStochasticSite, match=r"rate=0\.5, add nn\.Dropout"):
        MCDropout(nn.Linear(12, 3)).draw(2)(vectors())


def test_dropout_that_training_never_calls_is_an_error():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(12, 3)

        def forward(self, x):
            return self.out(functional.dropout(x, 0.5, training=False))

    with pytest.raises(NoStochasticSite):
        MCDropout(Unused()).draw(2)(vectors())


def test_rate_zero_is_a_warning_and_the_plain_network():
    network, x = mlp(0.0), vectors()
    draws = MCDropout(network).draw(3)
    with pytest.warns(UserWarning, match="every dropout rate is 0"):
        log_probs = draws(x)
    assert draws.degenerate
    assert torch.allclose(
        log_probs, network.eval()(x).log_softmax(1).unsqueeze(1).expand(-1, 3, -1), atol=1e-6
    )


def test_rate_one_is_zero_and_never_divides_by_zero():
    network, x = nn.Sequential(nn.Dropout(1.0), nn.Linear(12, 3)), vectors()
    log_probs = MCDropout(network).draw(2)(x)
    assert torch.allclose(log_probs, network[1].bias.log_softmax(0).expand_as(log_probs), atol=1e-6)


def test_a_network_that_cannot_be_vectorised_says_so_and_is_right():
    network, x = DataDependent(), vectors()
    posterior = MCDropout(network)
    with pytest.warns(UserWarning, match="runs 3 times"):
        slow = posterior.draw(3, seed=1)(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(posterior.draw(3, seed=1)(x), slow)
    same = nn.Sequential(nn.Flatten(), network.a, nn.ReLU(), nn.Dropout(0.5), network.b)
    assert torch.allclose(MCDropout(same).draw(3, seed=1)(x), slow, atol=1e-6)
    assert "every sample" in posterior.plan(x).describe()


def test_a_batch_folded_into_another_axis_is_refused_by_name():
    class Folded(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.drop(x.flatten(0, 1)).unflatten(0, (-1, 5)).mean(1))

    with pytest.raises(UnsupportedNetwork, match=r"'drop'.*\(10, 8\) for two.*an axis of its own"):
        MCDropout(Folded()).draw(2)(sequences())


def test_a_batch_axis_that_is_not_the_first():
    class TimeFirst(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.drop(x.transpose(0, 1)).mean(0))

    verify_posterior(MCDropout, TimeFirst(), sequences(9))


def test_randomness_of_its_own_stays_off_and_is_named():
    class Depth(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(12, 3)

        def forward(self, x):
            if self.training:
                x = x * (torch.rand(len(x), 1) > 0.5)
            return self.out(self.drop(x))

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.depth = Depth()

        def forward(self, x):
            return self.depth(x)

    with pytest.warns(UserWarning, match=r"deterministic here: 'depth' \(rand\)"):
        first = MCDropout(Whole()).draw(2)(vectors())
    assert first.shape == (7, 2, 3)


def test_noise_beside_dropout_is_refused_by_name():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(12, 3)

        def forward(self, x):
            x = functional.dropout(x, 0.5, self.training)
            return self.out(x + 0.5 * torch.randn_like(x) if self.training else x)

    with pytest.raises(UnsupportedNetwork, match=r"'Noisy' \(randn_like\).*module of its own"):
        MCDropout(Noisy()).draw(2)(vectors())


def test_normalisation_by_the_batch_is_refused_by_name():
    network = nn.Sequential(nn.BatchNorm1d(12, track_running_stats=False), nn.Dropout(0.5), nn.Linear(12, 3))
    for posterior in (MCDropout, posteriors.Deterministic):
        with pytest.raises(UnsupportedNetwork, match=r"'0': batch normalisation without running statistics"):
            posterior(network)


def test_the_input_of_a_network_that_works_in_place_stays():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(12, 3)

        def forward(self, x):
            return self.out(self.drop(x.mul_(0.5)))

    verify_posterior(MCDropout, InPlace(), vectors())


def test_tensors_outside_the_state_dict_are_noticed(tmp_path):
    class Projection(nn.Module):
        def __init__(self):
            super().__init__()
            self.matrix, self.drop, self.out = torch.randn(12, 8), nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.drop(x @ self.matrix))

    network = Projection()
    MCDropout(network).save(tmp_path)
    posteriors.load(tmp_path, copy.deepcopy(network))
    with pytest.raises(DamagedArtefact, match="register such tensors as buffers"):
        posteriors.load(tmp_path, Projection())


def test_batches_that_are_none():
    draws = MCDropout(mlp(0.5)).draw(2)
    with pytest.raises(InvalidArgument, match="no items"):
        draws(torch.empty(0, 12))
    with pytest.raises(InvalidArgument, match="not ndarray"):
        draws(vectors().numpy())


class Named(nn.Module):
    """A sigmoid that is registered last but used in the middle."""

    def __init__(self):
        super().__init__()
        self.a, self.drop, self.out, self.act = (
            nn.Linear(12, 8),
            nn.Dropout(0.5),
            nn.Linear(8, 3),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.out(self.drop(self.act(self.a(x))))


def test_a_sigmoid_in_the_middle_is_no_sigmoid_at_the_end():
    verify_posterior(MCDropout, Named(), vectors())


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 1)), "one column"),
        (nn.Sequential(nn.Dropout(0.5), nn.Linear(12, 3), nn.Softmax(1)), "ends in softmax"),
    ],
)
def test_outputs_that_are_not_logits_are_refused(network, words):
    with pytest.raises(UnsupportedNetwork, match=words):
        MCDropout(network).draw(2)(vectors())


def test_a_tuple_is_refused():
    class Pair(nn.Module):
        def forward(self, x):
            return functional.dropout(x, 0.5, self.training), x

    with pytest.raises(UnsupportedNetwork, match="returned a tuple"):
        MCDropout(Pair()).draw(2)(vectors())


def test_features_need_a_linear_layer():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    draws = MCDropout(network).draw(2)
    assert draws(images()).shape == (7, 2, 3)
    with pytest.raises(Unsupported, match=r"nn\.Linear"):
        draws.features(images())


def test_features_are_those_of_the_mean_network():
    for name in ("gal2017", "functional", "transformer"):
        network, x = build(name)
        draws = MCDropout(network).draw(2)
        draws(x)
        network.eval()
        captured = []
        last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
        last.register_forward_pre_hook(lambda _, inputs, captured=captured: captured.append(inputs[0]))
        network(x)
        assert torch.allclose(draws.features(x), captured[0], atol=1e-5)


def test_bad_numbers_of_samples():
    posterior = MCDropout(mlp(0.5))
    with pytest.raises(InvalidArgument, match="T = 0"):
        posterior.draw(0)
    with pytest.raises(InvalidArgument, match="holds none"):
        posterior.draw(3)[3:]
    assert len(posterior.draw()) == 20


def test_other_shapes_get_plans_of_their_own():
    network, x = build("transformer")
    draws = MCDropout(network).draw(2)
    short, long = draws(x[:, :3]), draws(x)
    assert short.shape == long.shape == (7, 2, 3)


def test_samples_are_pairwise_different():
    network, x = build("dense")
    log_probs = MCDropout(network).draw(6)(x)
    for a, b in itertools.combinations(range(6), 2):
        assert (log_probs[:, a] != log_probs[:, b]).any()


def test_half_precision_outputs_become_float32():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x).half()

    log_probs = MCDropout(Half()).draw(2)(vectors())
    assert log_probs.dtype == torch.float32
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(7, 2), atol=1e-5)


class Branching(nn.Module):
    """Two branches from one stem, dropout in one of them."""

    def __init__(self):
        super().__init__()
        self.stem, self.plain = nn.Linear(4, 8), nn.Linear(8, 8)
        self.branch = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8))
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        h = self.stem(x)
        return self.head(self.branch(h) + self.plain(h))


class Deciding(Branching):
    """What it computes depends on what it has computed."""

    def forward(self, x):
        h = self.branch(self.stem(x))
        return self.head(2 * h if h.sum() > 0 else h)


def test_the_report_names_the_layers_behind_dropout_and_says_when_everything_runs_each_time():
    x = torch.randn(3, 4)
    once = MCDropout(Branching()).report(x)
    assert "the rest is vectorised" in once
    assert once.splitlines()[-1] == "layers behind dropout: 'branch', 'head'"
    assert (
        MCDropout(Deciding()).report(x).splitlines()[-1].startswith("the whole network runs once for every")
    )
    tail = MCDropout(nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))).report(x)
    assert tail.splitlines()[-1] == "layers behind dropout: '2'"
