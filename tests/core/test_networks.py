"""What is done with any network."""

from functools import partial

import torch
from torch import nn

from baldur.core.networks import call, initialise, restore, tensors, weights_hash
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
