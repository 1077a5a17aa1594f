"""Masks on weights."""

import warnings
from functools import partial

import pytest
import torch
from torch import nn

from baldur.errors import DamagedArtefact, InvalidArgument, NoStochasticSite, UnsupportedNetwork
from baldur.likelihoods import BERNOULLI
from baldur.posteriors import Deterministic
from baldur.posteriors.dropconnect import DropConnect, load, masked_weights, weights_dropped
from baldur.posteriors.dropout.masks import keep
from baldur.testing.posterior import verify_posterior


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


class Last(nn.Module):
    """A recurrent network, read at the last step."""

    def __init__(self, rnn, width):
        super().__init__()
        self.rnn, self.out = rnn, nn.Linear(width, 3)

    def forward(self, x):
        h = self.rnn(x.flatten(2).transpose(1, 2))[0]
        return self.out(h[:, -1])


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        h = x.new_zeros(len(x), 6)
        for step in x.flatten(2).unbind(2)[:3]:
            h = self.cell(step, h)
        return self.out(h)


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, 0.1, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False), nn.Linear(4, 3)

    def forward(self, x):
        return self.out(self.encoder(x.flatten(2).transpose(1, 2)).mean(1))


class Tied(nn.Module):
    """One matrix in two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.out(torch.relu(self.b(self.a(x))))


def conv(kind=nn.Conv2d, dims=2, **settings):
    settings = {"kernel_size": 3} | settings
    return nn.Sequential(
        nn.Flatten(2) if dims == 1 else nn.Unflatten(2, (1, 8)) if dims == 3 else nn.Identity(),
        kind(4, 6, **settings),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


CASES = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.ReLU(), nn.Linear(6, 3)),
    "linear without bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 3, bias=False)),
    "conv": conv,
    "conv, stride": partial(conv, stride=2),
    "conv, dilation and padding": partial(conv, dilation=2, padding=3),
    "conv, groups": partial(conv, groups=2),
    "conv, reflected": partial(conv, padding=1, padding_mode="reflect"),
    "conv, circular": partial(conv, padding=1, padding_mode="circular"),
    "conv, replicated, same": partial(conv, padding="same", padding_mode="replicate"),
    "conv without bias": partial(conv, bias=False),
    "conv1d": partial(conv, nn.Conv1d, 1, stride=3, dilation=2),
    "conv3d": partial(conv, nn.Conv3d, 3, kernel_size=(1, 3, 3), stride=(1, 2, 1), groups=2),
    "transposed conv": partial(conv, nn.ConvTranspose2d, stride=2, output_padding=1),
    "lstm": lambda: Last(nn.LSTM(4, 6, 2, batch_first=True), 6),
    "lstm, both directions": lambda: Last(nn.LSTM(4, 6, 2, batch_first=True, bidirectional=True), 12),
    "gru without bias": lambda: Last(nn.GRU(4, 6, bias=False, batch_first=True), 6),
    "cell": Cell,
    "attention": Attending,
}


def inputs():
    return torch.randn(7, 4, 8, 8, generator=torch.Generator().manual_seed(5))


def build(name):
    network = seeded(CASES[name])
    network(inputs())  # lazy layers take their shape
    return network


@pytest.mark.parametrize("name", CASES)
def test_the_contract_holds(name):
    network, empty = build(name), build(name)
    make = partial(DropConnect, p=0.4)
    verify_posterior(make, network, inputs(), lambda folder: load(folder, empty))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CASES)
def test_rate_zero_is_the_network_bit_for_bit(name, dtype):
    network, x = build(name).to(dtype), inputs().to(dtype)
    with pytest.warns(UserWarning, match="p is 0"):
        draws = DropConnect(network, 0).draw(2)
    assert draws.degenerate
    log_probs = draws(x)
    assert torch.equal(log_probs, Deterministic(network).draw()(x).expand(-1, 2, -1))
    with torch.no_grad():
        assert torch.allclose(log_probs[:, 0], network.eval()(x).log_softmax(1), atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_a_rate_near_zero_goes_the_masked_way_to_the_same(name):
    """p = 1e-12 drops nothing, but every weight is replaced: what a layer needs beside its weights is still there."""
    network = build(name)
    masked, whole = DropConnect(network, 1e-12).draw(2)(inputs()), Deterministic(network).draw()(inputs())
    assert torch.allclose(masked, whole.expand(-1, 2, -1), atol=1e-6)


def test_by_hand():
    """W m / (1 - p), biases kept, by the masks of the generator."""
    network, x = nn.Linear(5, 3), torch.randn(4, 5)
    log_probs = DropConnect(network, 0.25).draw(3, seed=9)(x)
    masks = keep(9, "weight", range(3), (3, 5), 0.25)
    assert 0 < int((~masks).sum()) < 45
    for t in range(3):
        expected = (x @ (network.weight * masks[t] / 0.75).T + network.bias).log_softmax(1)
        assert torch.allclose(log_probs[:, t], expected, atol=1e-6)


def test_the_mean_over_masks_is_the_weight():
    network = nn.Linear(5, 3)
    draws = DropConnect(network, 0.5).draw(4000)
    mean = torch.stack([draws.weights(t)["weight"] for t in range(4000)]).mean(0)
    assert torch.allclose(mean, network.weight, atol=0.05)


@pytest.mark.parametrize("name", ["lstm", "cell", "attention"])
def test_every_weight_matters(name):
    """Input and recurrent weights, of each layer, are masked one by one."""
    network = build(name)
    plain = Deterministic(network).draw()(inputs())
    for weight in masked_weights(network):
        masked = DropConnect(network, 0.5, (weight,)).draw(2)(inputs())
        assert not torch.allclose(masked, plain.expand(-1, 2, -1)), weight


def test_a_shared_weight_has_one_mask():
    network, x = seeded(Tied), torch.randn(6, 8)
    posterior = DropConnect(network, 0.5)
    assert posterior.masked == ("a.weight", "out.weight")
    mask = keep(9, "a.weight", range(2), (8, 8), 0.5)
    last = keep(9, "out.weight", range(2), (3, 8), 0.5)
    for t in range(2):
        w = network.a.weight * mask[t] * 2
        h = torch.relu((x @ w.T + network.a.bias) @ w.T + network.b.bias)
        expected = (h @ (network.out.weight * last[t] * 2).T + network.out.bias).log_softmax(1)
        assert torch.allclose(posterior.draw(2, seed=9)(x)[:, t], expected, atol=1e-5)


def test_which_layers():
    network = build("attention")
    assert masked_weights(network, ("out",)) == ("out.weight",)
    assert masked_weights(network, ("out.weight",)) == ("out.weight",)
    assert masked_weights(network, (nn.LSTM, nn.MultiheadAttention)) == (
        "encoder.layers.0.self_attn.in_proj_weight",
    )
    assert masked_weights(network, ("encoder",)) == masked_weights(network)[:-1]
    assert len(masked_weights(network)) == 5
    with pytest.raises(InvalidArgument, match="no layer 'fc'"):
        DropConnect(network, 0.5, ("fc",))
    with pytest.raises(InvalidArgument, match=r"layers=\('out',\)"):
        DropConnect(network, 0.5, "out")
    with pytest.raises(NoStochasticSite, match="none of the layers"):
        DropConnect(network, 0.5, (nn.Conv2d,))
    with pytest.raises(InvalidArgument, match="between 0 and 1, not 2"):
        DropConnect(network, 2)
    with pytest.raises(UnsupportedNetwork, match="'0' has no shape yet"):
        masked_weights(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(UnsupportedNetwork, match="computed from others"):
        DropConnect(nn.utils.parametrizations.weight_norm(nn.Linear(5, 3)), 0.5)
    with pytest.raises(InvalidArgument, match="T = 0"):
        DropConnect(network, 0.5).draw(0)


def test_rate_one_leaves_the_biases():
    network = nn.Linear(5, 3)
    log_probs = DropConnect(network, 1).draw(2)(torch.randn(4, 5))
    assert torch.equal(log_probs, network.bias.log_softmax(0).expand(4, 2, 3))


def test_likelihoods_and_damage(tmp_path):
    network = nn.Linear(5, 3)
    posterior = DropConnect(network, 0.5, likelihood=BERNOULLI)
    posterior.save(tmp_path)
    again = load(tmp_path, nn.Linear(5, 3))
    assert again.draw(2).kind == "bernoulli"
    assert again.draw(2)(torch.randn(4, 5)).shape == (4, 2, 2, 3)
    about = tmp_path / "posterior.json"
    about.write_text(about.read_text().replace('"weight"', '"height"'))
    with pytest.raises(DamagedArtefact, match="height"):
        load(tmp_path, nn.Linear(5, 3))


@pytest.mark.parametrize("name", ["conv", "lstm", "attention"])
def test_training_has_a_fresh_mask_in_each_pass(name):
    network, x = build(name), inputs()
    names = list(network.state_dict())
    weights = {name: p.detach().clone() for name, p in network.named_parameters()}
    whole = network.eval()(x)
    for module in network.modules():
        module.p = 0.0  # no dropout beside
    network.train()
    with weights_dropped(network, 0.5):
        first, second = network(x), network(x)
        assert not torch.equal(first, second)
        assert torch.equal(network.eval()(x), whole)
        network.train()(x).sum().backward()
        assert list(network.state_dict()) == names
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert isinstance(parameter, nn.Parameter)
    for name in masked_weights(network):
        gradient = network.get_parameter(name).grad
        assert gradient is not None
        assert bool((gradient == 0).any())
    assert torch.allclose(Deterministic(network).draw()(x)[:, 0], whole.log_softmax(1), atol=1e-6)
    assert not network._forward_hooks
    assert not network._forward_pre_hooks


def test_training_gradients_by_hand():
    network, x = seeded(Tied), torch.randn(6, 8)
    with weights_dropped(network, 0.5):
        torch.manual_seed(1)
        network(x).square().sum().backward()
    torch.manual_seed(1)
    a, out = network.a.weight.detach().requires_grad_(), network.out.weight.detach().requires_grad_()
    w, v = nn.functional.dropout(a, 0.5), nn.functional.dropout(out, 0.5)
    h = torch.relu((x @ w.T + network.a.bias) @ w.T + network.b.bias)
    (h @ v.T + network.out.bias).square().sum().backward()
    assert torch.allclose(network.a.weight.grad, a.grad, atol=1e-4)
    assert torch.allclose(network.out.weight.grad, out.grad, atol=1e-4)


def test_weights_are_back_after_an_error():
    network = nn.Linear(5, 3)
    with weights_dropped(network, 0.5), pytest.raises(RuntimeError):
        network(torch.randn(4, 6))
    assert isinstance(network.weight, nn.Parameter)


def test_masks_are_made_once(monkeypatch):
    made = []

    def counting(*args):
        made.append(args)
        return keep(*args)

    monkeypatch.setattr("baldur.posteriors.dropconnect.keep", counting)
    monkeypatch.setattr("baldur.posteriors._weights._KEPT", 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draws = DropConnect(build("linear"), 0.5).draw(3)
        first, second = draws(inputs()), draws(inputs())
    assert torch.equal(first, second)
    assert len(made) == 6


@pytest.mark.parametrize("room", [2**28, 1])
def test_what_no_mask_feeds_runs_once(monkeypatch, room):
    """The same samples, together, in groups, and one by one."""
    monkeypatch.setattr("baldur.posteriors.dropconnect._STACKED", room)
    network, x, rows = build("conv"), inputs(), []
    posterior = DropConnect(network, 0.5, ("4",))
    posterior.network[1].register_forward_hook(lambda _, inputs, output: rows.append(len(inputs[0])))
    draws = posterior.draw(6)
    together = draws(x)
    assert sum(rows) == len(x) * (1 if room > 1 else 6)
    draws._together = False
    assert torch.allclose(draws(x), together, atol=1e-6)
    assert torch.allclose(posterior.draw(6)[2:](x), together[:, 2:], atol=1e-6)


def test_a_network_that_looks_at_its_numbers_runs_for_each_sample():
    class Looking(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)

        def forward(self, x):
            h = self.a(x)
            return self.b(h if h.sum() > -1e9 else -h)

    verify_posterior(partial(DropConnect, p=0.4), seeded(Looking), torch.randn(7, 5))
