"""What is done with any network."""

from collections import UserDict, namedtuple
from functools import partial

import pytest
import torch
from torch import nn

from baldur.core.networks import (
    call,
    duplicate,
    initialise,
    least_items,
    logits_of,
    restore,
    tensors,
    weights_hash,
)
from baldur.errors import InvalidArgument, UnsupportedNetwork
from baldur.posteriors import Deterministic, MCDropout
from baldur.testing import verify_posterior
from baldur.training import Recipe, train


def test_a_factory_gives_the_weights_of_the_seed_and_leaves_the_global_generator_alone():
    factory = partial(nn.Linear, 3, 2)
    before = torch.get_rng_state()
    first, same, other = initialise(factory, 1), initialise(factory, 1), initialise(factory, 2)
    assert torch.equal(torch.get_rng_state(), before)
    assert weights_hash(first) == weights_hash(same) != weights_hash(other)


def test_a_network_is_copied_with_its_weights():
    network = nn.Linear(3, 2)
    copy = initialise(network, 1)
    assert weights_hash(copy) == weights_hash(network)
    nn.init.zeros_(copy.weight)
    assert weights_hash(copy) != weights_hash(network)


def test_the_hash_sees_buffers_and_a_single_bit():
    network = nn.BatchNorm1d(2)
    before = weights_hash(network)
    network.running_mean[1] = 1e-45
    assert weights_hash(network) != before


class Two(nn.Module):
    def forward(self, a, b):
        return a - b


def test_call_spreads_tuples_and_dicts():
    a, b = torch.tensor([3.0]), torch.tensor([1.0])
    assert call(Two(), (a, b)) == 2
    assert call(Two(), [a, b]) == 2
    assert call(Two(), {"b": b, "a": a}) == 2
    assert call(nn.Identity(), a) == 3


def test_a_shared_weight_is_named_once_and_restored():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    assert set(tensors(network)) == {"0.weight", "0.bias", "1.bias"}
    restore(network, {"0.weight": torch.eye(2)})
    assert torch.equal(network[1].weight, torch.eye(2))


class Viewing(nn.Module):
    """Flattens by a view, as many networks do."""

    def __init__(self):
        super().__init__()
        self.convolution, self.dropout, self.linear = (
            nn.Conv2d(3, 4, 3),
            nn.Dropout(0.5),
            nn.Linear(4 * 36, 3),
        )

    def forward(self, x):
        h = self.convolution(x)
        return self.linear(self.dropout(h.view(len(h), -1)))


def test_a_view_of_a_convolution_is_no_obstacle():
    x = torch.randn(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    network = initialise(Viewing, 0)
    verify_posterior(MCDropout, network, x)
    plain = torch.log_softmax(network.eval()(x), 1)
    assert torch.allclose(Deterministic(network).draw()(x)[:, 0], plain, atol=1e-6)
    train(network, x, torch.arange(9) % 3, recipe=Recipe(epochs=1, epoch_size=1), seed=0)


X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))


def plain():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


class Around(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def compiled():
    return torch.compile(plain(), backend="eager")


@pytest.mark.parametrize("made", [compiled, lambda: Around(compiled())], ids=["whole", "part"])
def test_a_compiled_network_is_taken_as_the_one_that_it_was_made_from(made):
    network = made().eval()
    twin, expected = duplicate(network), network(X)
    assert all(type(module).__name__ != "OptimizedModule" for module in twin.modules())
    assert [type(m).__name__ for m in network.modules()].count("OptimizedModule") == 1, (
        "the original is as it was"
    )
    assert torch.equal(twin(X), expected)
    assert MCDropout(network).draw(3)(X).shape == (7, 3, 3)
    assert weights_hash(initialise(network, 0)) == weights_hash(twin)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_becomes_float32_with_the_same_values(dtype):
    network = plain().to(dtype)
    twin = duplicate(network)
    for own, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert own.dtype == dtype
        assert other.dtype == torch.float32
        assert torch.equal(own.float(), other)
    verify_posterior(MCDropout, network, X)
    assert initialise(lambda: plain().to(dtype), 0)[0].weight.dtype == torch.float32


def test_numbers_are_as_precise_as_the_network():
    network = plain().double().eval()
    assert call(network, X).dtype == torch.float64
    verify_posterior(MCDropout, network, X)


def scripted():
    return torch.jit.script(plain())


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (scripted, r"the network is a TorchScript module .* give the module that it was made from"),
        (lambda: Around(scripted()), "'inner' is a TorchScript module"),
        (lambda: torch.export.export(plain(), (X,)), r"ExportedProgram; give its \.module\(\)"),
        (lambda: None, "not None"),
        (lambda: "mlp", "not an object of the type str"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_no_network_is_refused(network, words):
    given = network()
    for use in (
        (Deterministic, MCDropout, partial(initialise, seed=0))
        if isinstance(given, nn.Module)
        else (duplicate,)
    ):
        with pytest.raises(UnsupportedNetwork, match=words):
            use(given)


def test_lazy_layers_without_weights_are_named():
    with pytest.raises(UnsupportedNetwork, match="apply it to one batch first"):
        MCDropout(nn.Sequential(nn.LazyLinear(8), nn.Dropout(0.5), nn.LazyLinear(3)))


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda: None, "returned None; it must return the network"),
        (lambda: 5, "returned an object of the type int"),
        (lambda shape: plain(), r"takes \(shape\)"),
        (lambda shape, classes: plain(), r"takes \(shape, classes\); give a function without arguments"),
    ],
)
def test_a_factory_that_is_none_is_told_what_is_wrong(factory, words):
    with pytest.raises(InvalidArgument, match=words):
        initialise(factory, 0)


def failing(shape, classes):
    return {}["width"]


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (partial(failing, (4,), 3), r"\(network=\), called with \(\(4,\), 3\), raised KeyError: 'width'"),
        (partial(partial(failing, (4,)), 3), "raised KeyError: 'width'"),
        (lambda: nn.Linear(2, -1), "raised RuntimeError: Trying to create tensor with negative"),
    ],
)
def test_the_error_of_a_factory_is_the_cause(factory, words):
    with pytest.raises(InvalidArgument, match=words) as told:
        initialise(factory, 0)
    assert told.value.__cause__ is not None


def test_one_tensor_of_any_name_is_the_argument_and_other_mistakes_are_told():
    network = Around(plain().eval())
    expected = network(X)
    for x in (X, {"x": X}, {"image": X}, UserDict({"image": X})):
        assert torch.equal(call(network, x), expected)
    assert torch.equal(call(Two(), {"b": X, "a": 2 * X}), X)
    with pytest.raises(
        UnsupportedNetwork, match=r"Around.forward takes \(x\), but an item has the parts image, mask"
    ):
        call(network, {"image": X, "mask": X})
    with pytest.raises(UnsupportedNetwork, match=r"Two.forward takes \(a, b\), but an item has 1 part "):
        call(Two(), X)


def test_the_logits_among_several_outputs():
    pair = namedtuple("pair", ["logits", "aux"])
    for outputs in ((X,), {"out": X}, {"loss": X[0], "logits": X}, pair(X, X[0]), (X, None), X):
        assert logits_of(outputs) is X
    for several in ((X, X), {"a": X, "b": X}, None, []):
        assert logits_of(several) is several


def test_batch_normalisation_needs_two_items_and_nothing_changes():
    cpu = torch.device("cpu")
    for layer, least in ((nn.BatchNorm1d(3), 2), (nn.LayerNorm(3), 1), (nn.Dropout(), 1)):
        network = nn.Sequential(nn.Linear(3, 3), layer)
        layer.eval()
        before, state = weights_hash(network), torch.get_rng_state()
        assert least_items(network, torch.ones(4, 3), 0, cpu) == least
        assert (network.training, layer.training) == (True, False)
        assert weights_hash(network) == before
        assert torch.equal(torch.get_rng_state(), state)
