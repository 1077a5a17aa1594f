"""SWAG and MultiSWAG, from training to saving."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import data
from baldur.errors import InvalidArgument
from baldur.learners import Supervised
from baldur.likelihoods import CATEGORICAL
from baldur.posteriors import Ensemble, _saving
from baldur.posteriors.ensemble import member_folder
from baldur.posteriors.fit.weight_averaging import Moments, multi_swag, swag
from baldur.posteriors.swag import SWAG, load
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, weights_hash

Y = np.arange(50) % 3
X = (np.eye(3, 5)[Y] + 0.2 * np.random.default_rng(0).standard_normal((50, 5))).astype(np.float32)
POOL = data.from_arrays(X)
LABELLED = Labelled(
    View(POOL, np.arange(24)), Y[:24], np.zeros(24, np.int64), np.ones(24, np.float32), ("oracle",) * 24
)
UNLABELLED = View(POOL, np.arange(24, 50))


def network():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))


class Learner(Supervised):
    """Loads what is tested here, whatever `posteriors.load` knows."""

    def load(self, folder):
        members = _saving.read_facts(folder)["facts"].get("members", 0)
        if members:
            return Ensemble([load(member_folder(folder, m), network()) for m in range(members)])
        return load(folder, network())


def learner(posterior, **kwargs):
    recipe = Recipe(
        epochs=2, epoch_size=1, batch_size=8, learning_rate=0.02, schedule=lambda share: 1 - share
    )
    return Learner(network, classes=3, posterior=posterior, recipe=recipe, interval=0.0, **kwargs)


def fitted(posterior, **kwargs):
    fits = []
    made = learner(posterior, record=fits.append, **kwargs)
    return made.fit(LABELLED, UNLABELLED, seed=0, round=0), fits


short = partial(swag, collections=4, rank=3)


@pytest.mark.parametrize(
    ("posterior", "kwargs"),
    [
        (short, {}),
        (partial(short, rank=0), {"validation": 4}),
        (partial(multi_swag, members=2, collections=3, rank=2), {}),
    ],
    ids=["swag", "diagonal", "multi-swag"],
)
def test_it_is_fitted_by_a_learner(posterior, kwargs):
    verify_learner(partial(learner, posterior, **kwargs), LABELLED, UNLABELLED)


def gathered(rank, weights):
    """The moments of a network whose weights are these, one row after the other."""
    plain, moments = nn.Linear(weights.shape[1], 1, bias=False), Moments(rank)
    for epoch, row in enumerate(weights, 1):
        plain.weight.data = row[None]
        moments(plain, epoch)
    return moments


def test_the_worked_example():
    moments = gathered(20, torch.tensor([[1.0, 2], [2, 0], [3, 1]]))
    assert moments.mean["weight"].tolist() == [[2, 1]]
    torch.testing.assert_close(moments.variances()["weight"], torch.full((1, 2), 2 / 3))
    assert moments.deviations()["weight"][:, 0].tolist() == [[0, 0], [0.5, -1], [1, 0]]


@pytest.mark.parametrize("rank", [0, 3, 20])
def test_moments_are_those_of_the_whole_batch(rank):
    weights = torch.randn(8, 7, generator=torch.Generator().manual_seed(0)) * 1e-3 + 1000
    moments = gathered(rank, weights)
    whole = weights.double()
    torch.testing.assert_close(moments.mean["weight"][0], whole.mean(0))
    variance = whole.var(0, unbiased=False).float()
    torch.testing.assert_close(moments.variances()["weight"][0], variance, rtol=1e-5, atol=0)
    if rank:
        columns = torch.stack([row - whole[: i + 1].mean(0) for i, row in enumerate(whole)])[-rank:]
        torch.testing.assert_close(moments.deviations()["weight"][:, 0], columns.float())
    else:
        assert moments.deviations() is None
    again = Moments(rank)
    again.load({name: tensor.clone() for name, tensor in moments.state().items()})
    assert again.state().keys() == moments.state().keys()
    assert all(torch.equal(again.state()[name], tensor) for name, tensor in moments.state().items())


def test_weights_that_stand_still_have_no_variance():
    moments = gathered(20, torch.full((5, 2), 0.1))
    assert (moments.variances()["weight"] == torch.tensor(1e-30)).all()
    assert not moments.deviations()["weight"].any()


@pytest.mark.parametrize("validation", [0, 4])
def test_the_mean_is_that_of_what_a_constant_rate_visits(monkeypatch, validation):
    visited, recipes, collect = [], [], Moments.__call__

    def watch(moments, network, epoch):
        visited.append(network[0].weight.detach().clone())
        collect(moments, network, epoch)

    class Watched:
        def __init__(self, train):
            self.train = train

        def __getattr__(self, name):
            return getattr(self.train, name)

        def __call__(self, seed, **options):
            recipes.append(options.get("recipe"))
            return self.train(seed, **options)

    monkeypatch.setattr(Moments, "__call__", watch)
    options = {"collections": 9, "rank": 3, "learning_rate": 0.05}
    posterior, fits = fitted(
        lambda train, labelled, seed: swag(Watched(train), labelled, seed, **options), validation=validation
    )
    first, second = recipes
    assert first is None
    assert (second.optimizer, second.learning_rate, second.schedule) == ("sgd", 0.05, None)
    assert fits[1].result.epochs == len(visited) == 9
    torch.testing.assert_close(posterior.mean["0.weight"], torch.stack(visited).mean(0))
    assert posterior.columns == 3


def test_batch_normalisation_is_estimated_on_some_of_the_items():
    assert len(fitted(short)[0].inputs) == 24
    inputs = fitted(partial(short, batch_norm_items=5))[0].inputs
    assert len(inputs) == 5
    assert {tuple(row) for row in inputs.tolist()} < {tuple(row) for row in X[:24].tolist()}


def test_a_single_item_is_refused_before_anything_is_trained():
    class Alone:
        recipe, classes, likelihood, unlabelled = Recipe(), 3, CATEGORICAL, UNLABELLED

        def build(self, seed, **options):
            return network()

        def data(self):
            return torch.from_numpy(X[:1]), torch.zeros(1), torch.ones(1)

        def __call__(self, seed, **options):
            pytest.fail("a network was trained")

    with pytest.raises(InvalidArgument, match=r"two inputs or more .* not 1$"):
        short(Alone(), LABELLED, 0)


def test_one_member_is_swag_and_several_are_independent():
    alone, one = fitted(short)[0], fitted(partial(multi_swag, members=1, collections=4, rank=3))[0]
    x = torch.from_numpy(X)
    assert torch.equal(alone.draw(4, seed=1)(x), one.draw(4, seed=1)(x))
    three, fits = fitted(partial(multi_swag, members=3, collections=2, rank=0))
    assert isinstance(three, Ensemble)
    assert all(isinstance(member, SWAG) for member in three.members)
    assert len({fit.initial_hash for fit in fits[::2]}) == 3


def test_without_scale_multi_swag_is_an_ensemble_of_averaged_networks():
    posterior, _ = fitted(partial(multi_swag, members=2, collections=3, rank=2, scale=0.0))
    x = torch.from_numpy(X)
    draws = posterior.draw(4)(x)
    for t in range(4):
        torch.testing.assert_close(draws[:, t], posterior.members[t % 2].network(x).log_softmax(1))


def test_a_warm_start_begins_at_the_mean():
    first, _ = fitted(short)
    fits = []
    learner(short, warm_start=True, record=fits.append).fit(
        LABELLED, UNLABELLED, seed=1, round=1, previous=first
    )
    assert fits[0].initial_hash == weights_hash(first.network)


@pytest.mark.parametrize("values", [{"rank": 1}, {"rank": -1}, {"collections": 1}, {"batch_norm_items": 1}])
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises(InvalidArgument):
        fitted(partial(swag, **values))
