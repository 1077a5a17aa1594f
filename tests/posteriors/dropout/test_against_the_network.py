"""Fast ways of sampling against the network itself under the same masks, one sample after the other."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from baldur.core.networks import call
from baldur.core.trees import map_tree
from baldur.errors import IdenticalDraws, UnsupportedNetwork
from baldur.posteriors import BayesByBackprop, Deterministic, MCDropout
from baldur.posteriors.dropconnect import DropConnect
from baldur.posteriors.dropout.sites import masking


class Parts(nn.Module):
    """Two layers with dropout between them."""

    def __init__(self, p=0.5):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout(p), nn.Linear(4, 3)

    def forward(self, x):
        return self.b(self.drop(self.a(x).relu()))


class Scaled(Parts):
    def forward(self, x, scale=None):
        h = self.a(x)
        return self.b(self.drop((h * 10 if scale is None else h * scale).relu()))


class Optional(Parts):
    def forward(self, x, mask=None, bias=None):
        h = self.a(x)
        h = h if mask is None else h * mask
        h = h if bias is None else h + bias
        return self.b(self.drop(h))


class OfTensors(Parts):
    def forward(self, x):
        return super().forward(x * 5 if isinstance(x, Tensor) else x)


class Pieces(nn.Module):
    """The same layer for each piece of an item."""

    def __init__(self):
        super().__init__()
        self.drop, self.a, self.b = nn.Dropout(0.5), nn.Linear(4, 5), nn.Linear(20, 3)

    def forward(self, x):
        h = self.a(self.drop(x).view(-1, 4)).relu()
        return self.b(h.view(-1, 20))


def behind(drop, *layers):
    return nn.Sequential(nn.Conv2d(1, 2, 3), drop, *layers)


def numbers(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def one_by_one(draws, x):
    """The network itself, each sample on inputs of its own."""
    posterior, outputs = draws.posterior, []
    sites = posterior.plan(map_tree(torch.clone, x)).sites
    for t in range(len(draws)):
        with torch.inference_mode(), masking(sites, lambda n, s, h, t=t: draws._mask(n, s, h.shape)[t]):
            outputs.append(
                posterior.likelihood.log_probs(call(posterior.network, map_tree(torch.clone, x)), 1)
            )
    return torch.stack(outputs, 1)


def made(make):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def same(make, x, T=6):
    draws = MCDropout(made(make)).draw(T)
    before = map_tree(torch.clone, x)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "every dropout rate is 0")
        found = draws(x)
    assert torch.allclose(found, one_by_one(draws, before), atol=2e-5)
    return draws


UNLIKE = {
    "an argument not given": (Scaled, numbers(7, 4)),
    "an argument not given, black": (Scaled, torch.zeros(7, 4)),
    "a product with what is not given": (Optional, numbers(7, 4)),
    "some arguments by name": (Optional, {"x": numbers(7, 4), "mask": numbers(7, 4)}),
    "a look at the type": (OfTensors, numbers(7, 4)),
    "a look at the type, black": (OfTensors, torch.zeros(7, 4)),
    "pieces": (Pieces, numbers(7, 16)),
    "pieces of a matrix": (Pieces, numbers(7, 4, 4)),
    "normalised over items": (lambda: nn.Sequential(Parts(), nn.LogSoftmax(0)), numbers(7, 4)),
    "normalised places": (
        lambda: behind(
            nn.Dropout2d(0.5), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
        ),
        numbers(7, 1, 6, 6),
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_what_only_looks_like_a_chain_takes_the_general_path(name, capfd):
    make, x = UNLIKE[name]
    draws = same(make, x)
    assert draws.posterior.plan(x).tail is None
    assert capfd.readouterr().err == ""


class Reshaped(nn.Module):
    """The flattening that many networks have: the width is said, the items are not."""

    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Conv2d(1, 2, 3), nn.Dropout2d(0.5), nn.Linear(32, 3)

    def forward(self, x):
        return torch.log_softmax(self.b(self.drop(self.a(x)).view(-1, 32)), 1)


LIKE = {
    "flattened by width": (Reshaped, numbers(7, 1, 6, 6)),
    "a window of one number": (
        lambda: behind(
            nn.Dropout2d(0.5), nn.Conv2d(2, 2, 3), nn.MaxPool2d((2,)), nn.Flatten(), nn.Linear(2, 3)
        ),
        numbers(7, 1, 6, 6),
    ),
    "log-probabilities": (lambda: nn.Sequential(Parts(), nn.LogSoftmax(-1)), numbers(7, 4)),
    "everything dropped": (lambda: Parts(1.0), numbers(7, 4)),
    "almost everything dropped": (lambda: Parts(0.99), numbers(7, 4)),
    "large numbers": (Parts, 1e3 * numbers(7, 4)),
    "half precision": (lambda: Parts().bfloat16(), numbers(7, 4).bfloat16()),
}


@pytest.mark.parametrize("name", LIKE)
def test_a_chain_is_one(name):
    make, x = LIKE[name]
    draws = MCDropout(made(make)).draw(6)
    found, expected = draws(x), one_by_one(draws, x)
    assert draws.posterior.plan(x).tail is not None
    assert (found - expected).abs().max() <= (
        1e-5 if x.dtype == torch.float32 else 0.1
    ) * expected.abs().max()


class Beside(Parts):
    def forward(self, x):
        h = self.a(x)
        return self.b(h + self.drop(h).relu())


class Ignored(Parts):
    def forward(self, x):
        self.drop(x)
        return self.b(self.a(x))


@pytest.mark.parametrize("network", [lambda: Beside(0.0), lambda: Beside(1.0)], ids=["none", "all"])
@pytest.mark.parametrize("n", [5, 6])
def test_equal_samples_and_as_many_items(network, n):
    same(network, numbers(n, 4), T=6)


def test_dropout_that_is_ignored_is_an_error():
    with pytest.raises(IdenticalDraws, match="'drop' "):
        MCDropout(Ignored()).draw(6)(numbers(5, 4))


@pytest.mark.parametrize("n", [5, 6])
def test_weights_that_nothing_uses(n):
    draws = DropConnect(Ignored(), 0.5, ("a", "b")).draw(6)
    unused = DropConnect(Idle(), 0.5, ("a",)).draw(6)
    assert (draws(numbers(n, 4)).diff(dim=1) != 0).any()
    assert (unused(numbers(n, 4)).diff(dim=1) == 0).all()


class Idle(Parts):
    def forward(self, x):
        self.a(x)
        return self.b(x)


class Shifting(Parts):
    """Changes its input, and what it computes from it in a way that cannot be vectorised."""

    def forward(self, x):
        x.sub_(0.5)
        h = self.a(x)
        h += self.drop(h)
        return self.b(h)


class Dividing(Parts):
    def forward(self, x):
        return super().forward(x.div_(255))


@pytest.mark.parametrize("vectorised", [True, False])
@pytest.mark.filterwarnings("ignore:the network cannot be vectorised")
def test_each_sample_of_a_network_that_changes_its_input_sees_the_same(vectorised):
    class Halving(Beside):
        def forward(self, x):
            return super().forward(x.div_(2))

    network, x = Halving if vectorised else Shifting, numbers(7, 4)
    draws = same(network, x)
    one, other = (draws.outputs(x, names) for names in (("features", "log_probs"), ("log_probs", "features")))
    assert draws.posterior.plan(x).vectorised == vectorised
    for name in one:
        assert torch.equal(one[name], other[name])
    assert torch.equal(one["features"], draws.features(x))


@pytest.mark.filterwarnings("ignore:the network cannot be vectorised")
def test_dropout_may_be_what_changes_the_input():
    class Dropping(Parts):
        def forward(self, x):
            functional.dropout(x, 0.5, self.training, inplace=True)
            return self.b(x)

    x = numbers(7, 4)
    same(Dropping, x)
    assert torch.equal(x, numbers(7, 4))


def test_features_behind_a_trunk_that_changes_its_input():
    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.drop, self.b = nn.Linear(8, 8), nn.Dropout2d(0.5), nn.Conv2d(2, 3, 2)

        def forward(self, x):
            return self.b(self.drop(self.a(x.div_(2)).view(-1, 2, 2, 2))).flatten(1)

    x = numbers(7, 8)
    draws = same(Halving, x)
    assert draws.posterior.plan(x).tail.layers[-1].options
    assert torch.equal(draws.outputs(x, ("log_probs", "features"))["features"], x / 2)


@pytest.mark.parametrize("blank", [0, 2, 7])
def test_a_network_that_changes_its_input_is_known_by_blank_items(blank):
    x = numbers(7, 4)
    x[:blank] = 0
    before = x.clone()
    draws = same(Dividing, x)
    assert draws.posterior.plan(x).in_place
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "kind", [Deterministic, lambda n: BayesByBackprop(n, {"b.weight": torch.zeros(3, 4)})]
)
def test_every_posterior_leaves_blank_items_first_as_they_are(kind):
    blank, x = torch.zeros(7, 4), numbers(7, 4)
    before, draws = x.clone(), kind(Dividing()).draw(1)
    draws(blank)
    assert torch.equal(draws(x), draws(x))
    assert torch.equal(x, before)


class Noise(nn.Module):
    def __init__(self, always):
        super().__init__()
        self.always = always

    def forward(self, x):
        noise = torch.randn_like(x)
        return x + noise if self.always or self.training else x


def test_noise_in_evaluation_mode_is_refused_by_name():
    network = nn.Sequential(Noise(always=True), Parts())
    with pytest.raises(UnsupportedNetwork, match=r"'0' \(randn_like\).*evaluation mode"):
        MCDropout(network).draw(2)(numbers(7, 4))
    with pytest.warns(UserWarning, match=r"deterministic here: '0' \(randn_like\)"):
        same(lambda: nn.Sequential(Noise(always=False), Parts()), numbers(7, 4))
