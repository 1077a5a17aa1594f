"""What is done with any network."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur.core.devices import pick_device, seeded
from baldur.core.networks import call, initialise, restore, tensors, weights_hash
from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.core.trees import join, map_tree, place, take
from baldur.errors import InvalidArgument
from baldur.posteriors import Deterministic, MCDropout
from baldur.testing import verify_posterior
from baldur.training import Recipe, train

CPU = torch.device("cpu")


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


def test_seeded_draws_the_same_and_restores_every_generator():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with seeded(3, CPU):
        first = torch.rand(4)
    with seeded(3, CPU):
        assert torch.equal(torch.rand(4), first)
    with pytest.raises(KeyError), seeded(3, CPU):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]  # noqa: NPY002


class Two(nn.Module):
    def forward(self, a, b):
        return a - b


def test_call_spreads_tuples_and_dicts():
    a, b = torch.tensor([3.0]), torch.tensor([1.0])
    assert call(Two(), (a, b)) == 2
    assert call(Two(), [a, b]) == 2
    assert call(Two(), {"b": b, "a": a}) == 2
    assert call(nn.Identity(), a) == 3


def test_trees_keep_their_form():
    tree = {"a": (torch.arange(3), [torch.arange(3) * 2]), "b": None}
    taken = place(take(tree, torch.tensor([2, 0])), CPU)
    assert taken["b"] is None
    assert taken["a"][0].tolist() == [2, 0]
    assert taken["a"][1][0].tolist() == [4, 0]
    assert isinstance(map_tree(len, tree)["a"], tuple)
    assert join([tree, taken])["a"][0].tolist() == [0, 1, 2, 2, 0]
    assert join([tree, taken])["b"] is None


def test_devices_are_picked_or_refused_by_name():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InvalidArgument, match="no device 'gpu'"):
        pick_device("gpu")
    with pytest.raises(InvalidArgument, match="PyTorch sees"):
        pick_device("cuda:99")


def test_a_shared_weight_is_named_once_and_restored():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    assert set(tensors(network)) == {"0.weight", "0.bias", "1.bias"}
    restore(network, {"0.weight": torch.eye(2)})
    assert torch.equal(network[1].weight, torch.eye(2))


def test_tensors_and_what_is_said_come_back_from_a_file(tmp_path):
    groups = {
        "a": {"x/y": torch.arange(6).reshape(2, 3).T, "n": torch.tensor(1.5)},
        "b": {"x": torch.ones(0)},
    }
    write_tensors(tmp_path / "f", groups, {"epoch": 3})
    back, said = read_tensors(tmp_path / "f")
    assert said == {"epoch": 3}
    assert {g: set(m) for g, m in back.items()} == {g: set(m) for g, m in groups.items()}
    assert all(torch.equal(back[g][n], t) for g, members in groups.items() for n, t in members.items())


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:20], lambda b: b"", lambda b: b"\xff" * 64]
)
def test_a_damaged_file_is_a_value_error(tmp_path, damage):
    path = tmp_path / "f"
    write_tensors(path, {"a": {"x": torch.ones(8)}}, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r".+"):
        read_tensors(path)


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
