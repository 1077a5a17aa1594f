"""Bayes by Backprop, from training to saving."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from baldur import data
from baldur.errors import InvalidArgument, UnsupportedNetwork
from baldur.learners import Supervised
from baldur.likelihoods import CATEGORICAL, IGNORED
from baldur.posteriors.fit.variational import (
    Variational,
    _labels,
    bayes_by_backprop,
    gaussian_kl,
    mixture_kl,
    mixture_log_density,
)
from baldur.posteriors.variational import BayesByBackprop, deviation, load
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, Step

Y = np.arange(50) % 3
X = (np.eye(3, 5)[Y] + 0.2 * np.random.default_rng(0).standard_normal((50, 5))).astype(np.float32)
POOL = data.from_arrays(X)
LABELLED = Labelled(
    View(POOL, np.arange(24)), Y[:24], np.zeros(24, np.int64), np.ones(24, np.float32), ("oracle",) * 24
)
UNLABELLED = View(POOL, np.arange(24, 50))
T = torch.tensor


def network():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 3))


class Learner(Supervised):
    """Loads what is tested here, whatever `posteriors.load` knows."""

    def load(self, folder):
        return load(folder, network())


def learner(posterior, **kwargs):
    recipe = Recipe(epochs=3, epoch_size=1, batch_size=8, learning_rate=0.02)
    return Learner(network, classes=3, posterior=posterior, **{"recipe": recipe, "interval": 0.0} | kwargs)


def fitted(posterior, **kwargs):
    return learner(posterior, **kwargs).fit(LABELLED, UNLABELLED, seed=0, round=0)


@pytest.mark.parametrize(
    ("options", "kwargs"),
    [
        ({}, {"validation": 4}),
        ({"prior": "mixture", "draws": 3, "warm_up": 0.5}, {}),
    ],
    ids=["gaussian", "mixture"],
)
def test_it_is_fitted_by_a_learner(options, kwargs):
    verify_learner(partial(learner, partial(bayes_by_backprop, **options), **kwargs), LABELLED, UNLABELLED)


def test_worked_examples():
    assert gaussian_kl(T(0.3), T(-1.0), 1.0).item() == pytest.approx(0.7547827828, rel=1e-6)
    log_density = mixture_log_density(T(0.2), 0.5, 1.0, math.exp(-6)).item()
    assert log_density == pytest.approx(-1.6320857138, rel=1e-6)
    assert mixture_log_density(T([0.0, 50.0]), 0.5, 1.0, math.exp(-8)).isfinite().all()


@settings(deadline=None)
@given(mean=st.floats(-3, 3), rho=st.floats(-8, 3), scale=st.floats(0.05, 3))
def test_the_divergence_is_never_negative(mean, rho, scale):
    assert gaussian_kl(T(mean).double(), T(rho).double(), scale) >= -1e-9


def test_the_divergence_of_the_prior_is_nothing():
    rho = T([-3.0, 0.0, 2.0]).double()
    each = [gaussian_kl(T(0.0), r, float(deviation(r))).item() for r in rho]
    assert each == pytest.approx([0, 0, 0], abs=1e-12)


def test_the_sampled_divergence_is_right_on_average():
    """A mixture of two equal Gaussians is that Gaussian."""
    mean, rho = torch.full((20000,), 0.3), torch.full((20000,), -1.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sampled = mixture_kl(mean, rho, 0.3, 0.7, 0.7) / 20000
    assert sampled.item() == pytest.approx(gaussian_kl(T(0.3), T(-1.0), 0.7).item(), abs=0.02)


def test_weights_vary_but_not_those_of_normalisations():
    posterior = fitted(bayes_by_backprop)
    assert isinstance(posterior, BayesByBackprop)
    assert set(posterior.rho) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    assert any(bool((rho != -5).any()) for rho in posterior.rho.values())


def told(**options):
    """What a posterior function asks of training, and the network that it changed."""
    seen = {}

    class Train:
        recipe = Recipe(weight_decay=0.1)
        likelihood, classes, unlabelled = CATEGORICAL, 3, UNLABELLED

        def build(self, seed):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                return network()

        def data(self):
            return torch.from_numpy(X[:24]), torch.from_numpy(Y[:24]), torch.ones(24)

        def __call__(self, seed, **asked):
            seen.update(asked)
            return asked["network"]

    bayes_by_backprop(Train(), LABELLED, 0, **options)
    return seen


def test_maps_share_the_divergence_by_their_labelled_places():
    y = torch.zeros(4, 3, 5, dtype=torch.long)
    y[0] = IGNORED
    assert _labels(y) == 45
    assert _labels(y[:, 0, 0]) == 4
    assert _labels(torch.zeros(4, 2)) == 4


def step(share):
    nothing = torch.zeros(0)
    return Step(nothing, nothing, nothing, nothing, share, nothing)


def test_the_divergence_of_all_weights_and_biases_is_shared_by_the_items():
    """A loss that is a mean over items takes KL / N, whatever the number of batches."""
    seen = told(prior_scale=0.7, kl_weight=0.5, initial_rho=-1.0)
    plain = dict(seen["network"].network.named_parameters())
    varied = [plain[name] for name in ("0.weight", "0.bias", "4.weight", "4.bias")]
    whole = sum(gaussian_kl(p, torch.full_like(p, -1.0), 0.7) for p in varied)
    torch.testing.assert_close(seen["penalty"](seen["network"], step(0.0)), 0.5 * whole / 24)
    assert seen["recipe"].weight_decay == 0


def test_the_divergence_warms_up():
    seen = told(warm_up=0.5)
    at = [seen["penalty"](seen["network"], step(share)).item() for share in (0, 0.25, 0.5, 0.9)]
    assert at[0] == 0
    assert at[1] == pytest.approx(at[2] / 2)
    assert at[2] == at[3] > 0


def test_weights_are_drawn_in_training_only():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain = nn.Linear(5, 3)
        varied = Variational(plain, -1.0)
        x = torch.ones(6, 5)
        assert torch.equal(varied.eval()(x), plain(x))
        first = varied.train()(x)
        assert not torch.equal(first, varied(x))
        assert (first == first[0]).all()
        first.sum().backward()
        assert all(bool((p.grad != 0).all()) for p in varied.parameters())


def test_each_part_of_a_batch_has_its_own_weights():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        out = Variational(nn.Linear(5, 3), -1.0, draws=2).train()(torch.ones(6, 5))
        few = Variational(network(), -1.0, draws=9).train()(torch.randn(5, 5))
    assert (out[:3] == out[0]).all()
    assert (out[3:] == out[3]).all()
    assert not torch.equal(out[0], out[3])
    assert few.shape == (5, 3)


def test_sigma_grows_where_the_data_say_nothing():
    """The first input is always zero: its weights are those of the prior in the end, others are not."""
    blank = 5 * X
    blank[:, 0] = 0
    labelled = replace(LABELLED, pool=View(data.from_arrays(blank), np.arange(24)))
    made = Supervised(
        partial(nn.Linear, 5, 3),
        classes=3,
        recipe=Recipe(epochs=300, epoch_size=1, batch_size=8, learning_rate=0.05),
        posterior=partial(bayes_by_backprop, prior_scale=0.5),
    )
    posterior = made.fit(labelled, UNLABELLED, seed=0, round=0)
    sigma = deviation(posterior.rho["weight"])
    torch.testing.assert_close(sigma[:, 0], torch.full((3,), 0.5), rtol=0.05, atol=0)
    torch.testing.assert_close(posterior.network.weight[:, 0], torch.zeros(3), rtol=0, atol=0.05)
    assert (sigma[:, 1:3] < 0.4).all()


def test_a_network_with_nothing_to_vary_is_refused():
    with pytest.raises(UnsupportedNetwork, match="normalisations"):
        Variational(nn.LayerNorm(3), -5.0)
    with pytest.raises(UnsupportedNetwork):
        Variational(nn.Linear(3, 2).requires_grad_(False), -5.0)


@pytest.mark.parametrize(
    "values",
    [
        {"prior": "laplace"},
        {"prior_scale": 0.0},
        {"mixture": (1.0, 1.0, 0.1)},
        {"mixture": (0.5, 1.0, 0.0)},
        {"kl_weight": -1.0},
        {"warm_up": 1.5},
        {"draws": 0},
    ],
)
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises((InvalidArgument, TypeError)):
        fitted(partial(bayes_by_backprop, **values))
