"""A network with Laplace's approximation in its last layer."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import acquire, data, networks
from baldur.errors import InvalidArgument, UnsupportedNetwork
from baldur.learners import Supervised
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.posteriors.fit import deterministic, ensemble
from baldur.posteriors.fit.laplace_approximation import laplace
from baldur.posteriors.laplace.posterior import Laplace, approximate
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe

Y = np.arange(50) % 3
X = (np.eye(3, 5)[Y] + 0.2 * np.random.default_rng(0).standard_normal((50, 5))).astype(np.float32)
POOL = data.from_arrays(X)


def labelled(labels, n=24):
    ones = np.ones(n, np.float32)
    return Labelled(View(POOL, np.arange(n)), labels[:n], np.zeros(n, np.int64), ones, ("oracle",) * n)


def learner(posterior=laplace, outputs=3, **options):
    recipe = Recipe(epochs=3, epoch_size=1, batch_size=8, learning_rate=0.02)
    given = {"classes": 3, "recipe": recipe, "interval": 0.0, "posterior": posterior} | options
    return Supervised(partial(networks.mlp, (5,), outputs), **given)


@pytest.mark.parametrize(
    "options",
    [{}, {"structure": "full", "prior_precision": 1.0}, {"structure": "diagonal", "refit": False}],
    ids=["kronecker", "full", "diagonal"],
)
def test_it_is_fitted_by_a_learner(options):
    make = partial(learner, posterior=partial(laplace, **options), validation=4)
    verify_learner(make, labelled(Y), View(POOL, np.arange(24, 50)))


def test_what_weighs_nothing_does_not_count():
    one = labelled(Y)
    one.weights[12:] = 0.0
    part = learner(partial(laplace, refit=False)).fit(one, POOL, seed=0, round=0)
    assert isinstance(part, Laplace)
    x = torch.from_numpy(X[:24])
    every, few = (approximate(part.network, x[:n], torch.from_numpy(Y[:n]), refit=False) for n in (24, 12))
    assert part.curvature.values == pytest.approx(few.curvature.values, rel=1e-6)
    assert part.curvature.values.sum() < 0.8 * every.curvature.values.sum()


def test_an_ensemble_of_them():
    posterior = learner(ensemble(2, each=laplace)).fit(labelled(Y), POOL, seed=0, round=0)
    draws = posterior.draw(8)
    assert len({float(v) for v in draws(torch.from_numpy(X))[0, :, 0]}) == 8


@pytest.mark.parametrize("likelihood", [BERNOULLI, GAUSSIAN], ids=lambda one: one.name)
def test_labels_and_numbers(likelihood):
    numbers = likelihood is GAUSSIAN
    y = X[:, 0].copy() if numbers else np.eye(3, dtype=np.int64)[Y]
    given = partial(laplace, prior_precision=1.0)
    made = learner(given, outputs=2 if numbers else 3, classes=1 if numbers else 3, likelihood=likelihood)
    draws = made.fit(labelled(y), POOL, seed=0, round=0).draw(6)
    told = draws(torch.from_numpy(X))
    assert draws.kind == likelihood.kind
    if numbers:
        assert (acquire.variance(told) > 0).all()
    else:
        assert told.shape == (50, 6, 2, 3)


def rare(**options):
    """The share of a rare class that is found, by a network and by Laplace's approximation of it."""
    rng = np.random.default_rng(0)
    y = (np.arange(220) >= 200).astype(np.int64)
    x = (rng.standard_normal((220, 2)) + y[:, None]).astype(np.float32)
    pool = data.from_arrays(x)
    given = Labelled(pool, y, np.zeros(220, np.int64), np.ones(220, np.float32), ("oracle",) * 220)
    recipe = Recipe(epochs=40, epoch_size=1, learning_rate=0.02, **options)

    def found(posterior):
        made = Supervised(partial(nn.Linear, 2, 2), classes=2, recipe=recipe, posterior=posterior)
        p = made.fit(given, pool, seed=0, round=0).draw()(torch.from_numpy(x)).exp().mean(1)
        return float((p.argmax(1).numpy() == y)[y == 1].mean())

    return found(deterministic), found(laplace)


def test_class_weights_count_in_the_last_layer_too():
    plain, moved = rare(class_weights=True)
    assert plain > 0.6
    assert moved == pytest.approx(plain, abs=0.1)


def test_weights_trained_for_another_loss_are_not_moved():
    for options in ({"loss": lambda f, y: (f[:, 0] - f[:, 1] + 2.0 * y).square()}, {"label_smoothing": 0.3}):
        made = learner(recipe=Recipe(epochs=2, epoch_size=1, **options), classes=3)
        posterior = made.fit(labelled(Y), POOL, seed=0, round=0)
        plain = made.but(posterior=deterministic).fit(labelled(Y), POOL, seed=0, round=0)
        assert all(map(torch.equal, posterior.network.parameters(), plain.network.parameters()))


@pytest.mark.parametrize(
    ("last", "structure", "error"),
    [
        (lambda: nn.Sequential(nn.Linear(5, 3), nn.Tanh()), "kronecker", UnsupportedNetwork),
        (lambda: nn.Sequential(nn.Linear(5, 2000), nn.Linear(2000, 3)), "full", InvalidArgument),
    ],
)
def test_what_cannot_be_approximated_is_refused_before_it_is_trained(last, structure, error):
    trained = []
    given = {"posterior": partial(laplace, structure=structure), "record": trained.append}
    with pytest.raises(error, match=r"follows '0'|use kronecker"):
        Supervised(last, classes=3, **given).fit(labelled(Y), POOL, seed=0, round=0)
    assert not trained
