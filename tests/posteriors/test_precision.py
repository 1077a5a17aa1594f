"""Products by oneDNN, and networks under autocast: the same functions, faster."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from baldur import networks, posteriors
from baldur.errors import UnsupportedNetwork
from baldur.posteriors import BayesByBackprop, Deterministic, Ensemble, MCDropout
from baldur.posteriors.dropout import dense as _dense
from baldur.posteriors.dropout import products as _products
from baldur.posteriors.dropout.lowered import Lowered
from baldur.posteriors.dropout.products import affine
from baldur.testing import verify_posterior


def seeded(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def mlp():
    layers = [nn.Linear(20, 40), nn.ReLU(), nn.Dropout(0.4), nn.Linear(40, 30), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(30, 3))


class Residual(nn.Module):
    """No chain behind its dropout: it takes the general path."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(20, 20), nn.LayerNorm(20), nn.Linear(20, 3)

    def forward(self, x):
        return self.b(x + functional.dropout(self.norm(self.a(x)), 0.5, self.training))


def in_bfloat16(function, x):
    with torch.autocast("cpu", torch.bfloat16):
        return function(x)


def vectors(n=9):
    return seeded(lambda: torch.randn(n, 20))


needs_onednn = pytest.mark.skipif(_products._ONEDNN is None, reason="PyTorch has no such product here")


@pytest.fixture
def watched(monkeypatch):
    """How often oneDNN's product is called, which no product is too small for."""
    calls = []
    monkeypatch.setattr(_products, "_SMALL", 0)
    if _products._ONEDNN is not None:
        product = _products._ONEDNN
        monkeypatch.setattr(_products, "_ONEDNN", lambda *a: (calls.append(1), product(*a))[1])
    return calls


@needs_onednn
@pytest.mark.parametrize("shape", [(64, 300), (1, 5), (3, 4, 50), (0, 7)])
def test_a_product_is_that_of_pytorch(shape, watched):
    h = torch.randn(*shape)
    weight, bias = torch.randn(11, shape[-1]), torch.randn(11)
    strided = torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2]
    with torch.inference_mode():
        for x in (h, strided):
            for b in (bias, None):
                expected = functional.linear(x.double(), weight.double(), None if b is None else b.double())
                torch.testing.assert_close(affine(x, weight, b).double(), expected, atol=1e-4, rtol=0)
    assert len(watched) == 4


@needs_onednn
def test_what_onednn_does_not_take_is_left_to_pytorch(watched):
    h, weight = torch.randn(8, 6), torch.randn(5, 6, requires_grad=True)
    affine(h, weight).sum().backward()
    assert weight.grad is not None
    with torch.inference_mode():
        many = torch.randn(3, 8, 6)
        torch.testing.assert_close(torch.vmap(lambda a: affine(a, weight))(many), many @ weight.T)
        assert affine(h.double(), weight.double()).dtype == torch.float64
        assert in_bfloat16(lambda h: affine(h, weight), h).dtype == torch.bfloat16
        torch.testing.assert_close(affine(h, weight.T.contiguous().T), h @ weight.T)
    assert watched == []


@needs_onednn
@pytest.mark.parametrize("make", [MCDropout, Deterministic, lambda n: Ensemble([n, n])])
def test_linear_layers_of_a_network_go_the_same_way(make, watched, monkeypatch):
    network, x = seeded(mlp), vectors()
    posterior = make(network)
    log_probs = posterior.draw(seed=1)(x)
    assert watched
    monkeypatch.setattr(_products, "_ONEDNN", None)
    torch.testing.assert_close(make(network).draw(seed=1)(x), log_probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "limits",
    [
        {"_WORTH_PICKING": 0},
        {"_WORTH_PICKING": 0, "_KEPT_BYTES": 0},
        {"_WORTH_PICKING": 0, "_KEPT_BYTES": 2000},
        {"_KEPT_BYTES": 0},
        {"_TOGETHER": 3},
        {"_DIAGONAL": 0},
    ],
    ids=str,
)
def test_every_way_to_compute_a_dense_tail_gives_the_same(limits, monkeypatch):
    network, x = seeded(mlp), vectors()
    expected = MCDropout(network)
    expected.plan(x).tail = None
    for name, value in limits.items():
        monkeypatch.setattr(_dense, name, value)
    draws = MCDropout(network).draw(7, seed=2)
    for _ in range(2):  # with what is kept, too
        torch.testing.assert_close(draws(x), expected.draw(7, seed=2)(x), atol=1e-5, rtol=0)
    assert draws(x[:0]).shape == (0, 7, 3)
    verify_posterior(MCDropout, network, x)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (mlp, (20,)),
        (Residual, (20,)),
        (lambda: networks.gal2017((1, 28, 28), 4), (1, 28, 28)),
        (lambda: networks.batchbald2019((1, 28, 28), 4), (1, 28, 28)),
        (lambda: networks.resnet18((3, 16, 16), 4, width=0.2), (3, 16, 16)),
    ],
)
def test_bfloat16_is_near_on_every_path_and_leaves_float32_as_it_was(make, shape):
    network, x = seeded(make).eval(), seeded(lambda: torch.randn(5, *shape))
    posterior = MCDropout(network)
    draws = posterior.draw(6, seed=1)
    exact, features = draws(x), draws.features(x)
    for vectorised in (None, True, False):
        plan = posterior.plan(x)
        if vectorised is not None:
            plan.tail, plan.vectorised = None, vectorised
        near = in_bfloat16(draws, x)
        assert near.dtype == torch.float32
        assert (near != exact).any()
        torch.testing.assert_close(near.exp(), exact.exp(), atol=0.02, rtol=0)
        torch.testing.assert_close(near.exp().sum(2), torch.ones(5, 6))
        told = in_bfloat16(draws.features, x)
        assert told.dtype == torch.float32
        torch.testing.assert_close(told, features, atol=0.05, rtol=0.05)
        assert in_bfloat16(draws, x[:0]).shape == (0, 6, exact.shape[2])
        torch.testing.assert_close(draws(x), exact, atol=1e-5, rtol=0)
    trunk = in_bfloat16(lambda x: MCDropout(network).draw(2)(x), x)  # the first batch of all
    assert trunk.isfinite().all()


def test_the_split_is_that_of_the_type_that_is_asked_for():
    x = vectors()
    draws = MCDropout(seeded(mlp)).draw(3)
    draws(x)
    trunk, rest = draws.split()
    assert in_bfloat16(trunk, x).dtype == torch.bfloat16
    assert torch.equal(in_bfloat16(lambda x: rest(trunk(x)), x), in_bfloat16(draws, x))
    torch.testing.assert_close(rest(trunk(x)), draws(x))


def test_a_twin_shares_all_but_the_matrices_and_is_made_once():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 2)).eval()
    lowered, cpu = Lowered(network), torch.device("cpu")
    assert lowered.now(cpu) is network
    with torch.autocast("cpu", torch.bfloat16):
        twin = lowered.now(cpu)
        assert lowered.now(cpu) is twin
        assert [p.dtype for p in twin.parameters()].count(torch.bfloat16) == 4
        assert twin[1].running_mean is network[1].running_mean
        assert twin[1].weight is network[1].weight
        lowered.forget()
        assert lowered.now(cpu) is not twin
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_a_network_of_one_channel_has_its_channels_last_unless_it_views_them():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.drop, self.out = nn.Conv2d(1, 4, 3), nn.Dropout(0.5), nn.Linear(64, 3)

        def forward(self, x):
            h = self.conv(x)
            return self.out(self.drop(h.view(len(h), -1)))

    x = seeded(lambda: torch.randn(8, 1, 6, 6))
    verify_posterior(MCDropout, seeded(Views), x)
    verify_posterior(Deterministic, seeded(Views), x, T=1)
    conv = MCDropout(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Dropout(), nn.Linear(64, 3))).network[
        0
    ]
    assert conv(x).is_contiguous(memory_format=torch.channels_last)


class Several(nn.Module):
    """Returns its logits with something else."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.out = kind, nn.Linear(20, 3)

    def forward(self, x):
        logits = self.out(functional.dropout(x, 0.5, self.training))
        return (logits, x) if self.kind is tuple else {"out": logits, "x": x}


@pytest.mark.parametrize("kind", [tuple, dict])
@pytest.mark.parametrize(
    "make",
    [MCDropout, Deterministic, lambda n: BayesByBackprop(n, {"out.weight": torch.zeros(3, 20)})],
    ids=["dropout", "deterministic", "weights"],
)
def test_a_network_that_returns_more_than_logits_is_refused_by_what_it_returned(make, kind):
    with pytest.raises(UnsupportedNetwork, match=f"returned a {kind.__name__}; wrap it"):
        make(Several(kind)).draw(None, 0)(vectors())


def test_saved_in_one_type_and_scored_in_the_other(tmp_path):
    network, x = seeded(mlp), vectors()
    posterior = MCDropout(network)
    near = in_bfloat16(posterior.draw(3), x)
    posterior.save(tmp_path)
    again = posteriors.load(tmp_path, mlp())
    assert torch.equal(in_bfloat16(again.draw(3), x), near)
