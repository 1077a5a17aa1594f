"""Ensembles of trained networks."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import acquire, data, networks
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners import Supervised, deterministic, ensemble, mc_dropout
from baldur.posteriors import Deterministic, Ensemble, MCDropout
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
factory = partial(networks.mlp, (5,), 3)


def wide(width=1.0):
    return nn.Sequential(nn.Linear(5, int(16 * width)), nn.ReLU(), nn.Linear(int(16 * width), 3))


def plain():
    """No dropout, so that nothing but weights and order can differ."""
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def learner(posterior, network=factory, **kwargs):
    recipe = Recipe(epochs=3, epoch_size=1, batch_size=8, learning_rate=0.02)
    return Supervised(network, classes=3, posterior=posterior, **{"recipe": recipe, "interval": 0.0} | kwargs)


def fitted(posterior, network=factory, previous=None, **kwargs):
    fits = []
    made = learner(posterior, network, record=fits.append, **kwargs)
    return made.fit(LABELLED, UNLABELLED, seed=0, round=0, previous=previous), fits


def hashes(posterior):
    return [weights_hash(member.network) for member in posterior.members]


@pytest.mark.parametrize(
    ("posterior", "kwargs"),
    [
        (ensemble(3), {"validation": 4}),
        (ensemble(2, each=mc_dropout), {}),
        (ensemble(2, capacity=0.5), {"network": wide}),
        (ensemble(2, each=ensemble(2)), {}),
    ],
    ids=["deterministic", "mc-dropout", "narrow", "nested"],
)
def test_an_ensemble_is_fitted_by_a_learner(posterior, kwargs):
    verify_learner(partial(learner, posterior, **kwargs), LABELLED, UNLABELLED)


def test_members_begin_with_other_weights_and_end_with_other_weights():
    """Training the same object again would go on from where the last member ended."""
    posterior, fits = fitted(ensemble(3))
    assert isinstance(posterior, Ensemble)
    assert len({fit.initial_hash for fit in fits}) == 3
    assert {fit.initial_hash for fit in fits}.isdisjoint(fit.weights_hash for fit in fits)
    assert hashes(posterior) == [fit.weights_hash for fit in fits]
    assert len(set(hashes(posterior))) == 3


def test_an_ensemble_begins_with_what_a_smaller_one_holds():
    assert hashes(fitted(ensemble(2))[0]) == hashes(fitted(ensemble(3))[0])[:2]
    assert hashes(fitted(ensemble(1))[0]) == [weights_hash(fitted(deterministic)[0].network)]


@pytest.mark.parametrize("init", ["independent", "shared"])
@pytest.mark.parametrize("order", ["independent", "shared"])
def test_weights_and_order_are_shared_or_not(init, order):
    posterior, fits = fitted(ensemble(2, init=init, order=order), plain)
    assert len({fit.initial_hash for fit in fits}) == (1 if init == "shared" else 2)
    bald = acquire.bald(posterior.draw()(torch.from_numpy(X))).abs().max()
    if init == order == "shared":
        assert len(set(hashes(posterior))) == 1
        assert bald < 1e-6
    else:
        assert len(set(hashes(posterior))) == 2
        assert bald > 1e-5


def test_a_shared_order_is_the_same_order():
    batches = []

    def watch(x, generator):
        batches[-1].append(x.tolist())
        return x

    def begin(train, labelled, seed):
        batches.append([])
        return deterministic(train, labelled, seed)

    for order in ("shared", "independent"):
        recipe = Recipe(epochs=1, epoch_size=1, batch_size=8, augment=watch)
        batches.clear()
        fitted(ensemble(2, order=order, each=begin), recipe=recipe)
        assert (batches[0] == batches[1]) == (order == "shared")


def test_members_may_be_dropout_networks():
    posterior, _ = fitted(ensemble(2, each=mc_dropout))
    assert all(isinstance(member, MCDropout) for member in posterior.members)
    assert len(posterior.draw()) == 20


def test_a_warm_start_goes_on_member_by_member():
    first, _ = fitted(ensemble(3))
    _, fits = fitted(ensemble(3), previous=first, warm_start=True)
    assert [fit.initial_hash for fit in fits] == hashes(first)
    with pytest.raises(Unsupported, match="not another one"):
        fitted(ensemble(3), plain, previous=first, warm_start=True)


def test_narrower_members_need_a_factory_that_makes_them():
    posterior, _ = fitted(ensemble(2, capacity=0.25), wide)
    assert [member.network[0].out_features for member in posterior.members] == [4, 4]
    with pytest.raises(Unsupported, match=r"takes no width, so it cannot be asked for width=0\.5"):
        fitted(ensemble(2, capacity=0.5))
    with pytest.raises(Unsupported, match="give the learner a factory"):
        fitted(ensemble(2, capacity=0.5), plain())


def test_a_network_that_is_given_cannot_begin_in_two_ways():
    with pytest.raises(InvalidArgument, match="begin with the same weights"):
        fitted(ensemble(2), plain())
    assert len(set(hashes(fitted(ensemble(2, init="shared"), plain())[0]))) == 2


def test_progress_says_which_network():
    seen = []
    fitted(ensemble(3), progress=lambda what, done, of: seen.append(what))
    assert seen == ["training"] * 3 + ["training network 2"] * 3 + ["training network 3"] * 3


def test_a_posterior_function_sees_what_is_trained_on():
    def look(train, labelled, seed):
        x, y, weights = train.data()
        assert len(x) == len(y) == len(weights) == 20
        assert train.recipe.epochs == 3
        network = train.build(seed)
        trained = train(seed, network=network, recipe=Recipe(epochs=5, epoch_size=1))
        assert trained is network
        return Deterministic(trained)

    _, (fit,) = fitted(look, validation=4)
    assert fit.result.epochs == 5
    assert fit.initial_hash == fitted(deterministic)[1][0].initial_hash


@pytest.mark.parametrize("values", [{"members": 0}, {"init": "other"}, {"order": "other"}, {"capacity": 0.0}])
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises((InvalidArgument, TypeError)):
        ensemble(**values)
