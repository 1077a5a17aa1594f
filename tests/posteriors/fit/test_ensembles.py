"""Ensembles of trained networks."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import acquire, data, networks
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners import Supervised
from baldur.learners.unlabelled.adding import Addition, adding
from baldur.posteriors import Deterministic, Ensemble, MCDropout
from baldur.posteriors.fit import (
    deterministic,
    dropout_ensemble,
    ensemble,
    learning_loss,
    mc_dropout,
    swag,
)
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, initialise, weights_hash
from baldur.training.contract import TrainingRequest
from baldur.training.stepwise import Stepwise

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


def convolutional():
    return nn.Sequential(
        nn.Unflatten(1, (1, 5)),
        nn.Conv1d(1, 4, 3),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


short_swag = partial(swag, collections=3, rank=2)


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
        (ensemble(3, together="stacked"), {"validation": 4}),
        (ensemble(3, together="stacked", each=mc_dropout), {"network": convolutional}),
        (ensemble(2, together="stacked", each=short_swag), {}),
        (ensemble(2, each=ensemble(2, together="stacked")), {}),
        (ensemble(2, together="turn"), {}),
    ],
    ids=[
        *("deterministic", "mc-dropout", "narrow", "nested"),
        *("stacked", "stacked convolutions", "stacked first phase", "stacked inside", "turn"),
    ],
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
    in_turn = partial(ensemble, together="turn")
    assert hashes(fitted(in_turn(2))[0]) == hashes(fitted(in_turn(3))[0])[:2]
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
        fitted(ensemble(2, order=order, each=begin, together="turn"), recipe=recipe)
        assert (batches[0] == batches[1]) == (order == "shared")


def test_members_may_be_dropout_networks():
    assert dropout_ensemble(3, order="shared") == ensemble(3, each=mc_dropout, order="shared")
    posterior, _ = fitted(ensemble(2, each=mc_dropout))
    assert all(isinstance(member, MCDropout) for member in posterior.members)
    assert len(posterior.draw()) == 20


def test_a_warm_start_goes_on_member_by_member():
    first, _ = fitted(ensemble(3))
    _, fits = fitted(ensemble(3), previous=first, warm_start=True)
    assert [fit.initial_hash for fit in fits] == hashes(first)
    with pytest.raises(Unsupported, match="same network"):
        fitted(ensemble(3), plain, previous=first, warm_start=True)


def test_narrower_members_need_a_factory_that_makes_them():
    posterior, _ = fitted(ensemble(2, capacity=0.25), wide)
    assert [member.network[0].out_features for member in posterior.members] == [4, 4]
    with pytest.raises(Unsupported, match=r"must accept width to make networks with width=0\.5"):
        fitted(ensemble(2, capacity=0.5), lambda: networks.mlp((5,), 3))
    with pytest.raises(Unsupported, match="give the learner a factory"):
        fitted(ensemble(2, capacity=0.5), plain())


def test_a_network_that_is_given_cannot_begin_in_two_ways():
    with pytest.raises(InvalidArgument, match="begin with the same weights"):
        fitted(ensemble(2), plain())
    assert len(set(hashes(fitted(ensemble(2, init="shared"), plain())[0]))) == 2


def test_progress_says_which_network():
    seen = []
    fitted(ensemble(3, together="turn"), progress=lambda what, done, of: seen.append(what))
    assert seen == ["training"] * 3 + ["training network 2"] * 3 + ["training network 3"] * 3
    seen.clear()
    fitted(ensemble(3, together="stacked"), progress=lambda what, done, of: seen.append(what))
    assert seen == ["training 3 networks"] * 3


def similar(one, other):
    for a, b in zip(one.members, other.members, strict=True):
        torch.testing.assert_close(a.network.state_dict(), b.network.state_dict(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{}, {"init": "shared"}, {"order": "shared"}, {"each": short_swag}],
    ids=["alone", "init", "order", "swag"],
)
def test_members_end_in_the_same_place_however_they_are_trained(options):
    in_turn, one_by_one = fitted(ensemble(3, together="turn", **options), plain)
    at_once, fits = fitted(ensemble(3, together="stacked", **options), plain)
    similar(in_turn, at_once)
    assert hashes(in_turn) != hashes(at_once)
    key = lambda fit: (fit.seed, fit.initial_hash, fit.training, fit.result.epochs)  # noqa: E731
    assert sorted(map(key, fits[:3])) == sorted(map(key, one_by_one[:: len(one_by_one) // 3]))
    assert [fit.initial_hash for fit in fits[:3]] == [
        fit.initial_hash for fit in one_by_one[:: len(fits) // 3]
    ]


def test_small_dense_networks_are_stacked_and_others_are_not():
    told = []
    for network in (plain, convolutional):
        fitted(ensemble(2), network, progress=lambda what, done, of: told.append(what))
    assert set(told[:3]) == {"training 2 networks"}
    assert set(told[3:]) == {"training", "training network 2"}


def test_a_stacked_ensemble_inside_another_is_what_it_is_in_turn():
    similar_inside = [
        fitted(ensemble(2, each=ensemble(2, together=how)), plain)[0] for how in ("turn", "stacked")
    ]
    for one, other in zip(similar_inside[0].members, similar_inside[1].members, strict=True):
        similar(one, other)


@Stepwise
def penalised(train, labelled, seed):
    penalty = lambda network, step: 0.1 * step.outputs.square().mean()  # noqa: E731
    network = yield TrainingRequest(seed, train.build(seed), penalty)
    return Deterministic(network)


def itself(train, labelled, seed):
    return Deterministic(train(seed))


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x) if float(x.detach().sum()) > -1e9 else -x


@pytest.mark.parametrize(
    ("each", "network", "reason"),
    [
        (penalised, plain, "not stacked: something is added"),
        (deterministic, partial(Branching, 5, 3), "not stacked: .*cannot vectorise"),
        (itself, plain, "does not yield its trainings"),
        (partial(learning_loss, width=4), plain, "does not yield its trainings"),
    ],
)
def test_what_cannot_be_stacked_is_trained_in_turn_and_says_so(each, network, reason):
    in_turn = hashes(fitted(ensemble(2, each=each, together="turn"), network)[0])
    with pytest.warns(UserWarning, match=f"trained in turn.*{reason}"):
        asked = fitted(ensemble(2, each=each, together="stacked"), network)[0]
    assert hashes(asked) == in_turn
    assert hashes(fitted(ensemble(2, each=each), network)[0]) == in_turn  # and without a word


def test_a_way_to_train_that_only_wraps_another_trains_in_turn():
    def wrapped(train, labelled, seed):
        return ensemble(2, together="stacked")(
            adding(train, lambda *about: Addition(nothing)), labelled, seed
        )

    def nothing(network, step):
        return torch.zeros(())

    with pytest.warns(UserWarning, match="trains one at a time"):
        posterior = fitted(wrapped, plain)[0]
    assert hashes(posterior) == hashes(fitted(ensemble(2, together="turn"), plain)[0])


def test_a_member_that_trains_nothing_does_not_hold_up_the_others():
    fixed = Deterministic(initialise(plain, 0))
    turns = []

    @Stepwise
    def some(train, labelled, seed):
        turns.append(len(turns))
        if turns[-1] in (0, 3):
            return fixed
        return (yield from deterministic.steps(train, labelled, seed))

    posterior, fits = fitted(ensemble(4, each=some, together="stacked"), plain)
    assert [member is fixed for member in posterior.members] == [True, False, False, True]
    assert [fit.weights_hash for fit in fits] == hashes(posterior)[1:3]


def test_members_that_are_trained_at_once_go_on_from_there_the_last_one_first():
    told = []

    @Stepwise
    def twice(train, labelled, seed):
        me = len(told)
        told.append(f"{me} begins")
        network = yield TrainingRequest(seed, train.build(seed))
        told.append(f"{me} goes on")
        network = yield TrainingRequest(seed + 1, network)
        told.append(f"{me} ends")
        return Deterministic(network)

    posterior, fits = fitted(ensemble(2, each=twice, together="stacked"), plain)
    assert told == ["0 begins", "1 begins", "1 goes on", "1 ends", "0 goes on", "0 ends"]
    assert [fit.weights_hash for fit in fits[2:]] == hashes(posterior)[::-1]
    told.clear()
    fitted(ensemble(2, each=twice, together="turn"), plain)
    assert told[:3] == ["0 begins", "0 goes on", "0 ends"]


@pytest.mark.parametrize("together", ["stacked", "turn"])
def test_an_error_ends_every_member_that_was_begun(together):
    ended = []

    @Stepwise
    def fails(train, labelled, seed):
        me = train.number
        try:
            if me == 2:
                raise Unsupported("the third one")
            return Deterministic((yield TrainingRequest(seed, train.build(seed))))
        finally:
            ended.append(me)

    with pytest.raises(Unsupported, match="the third one"):
        fitted(ensemble(3, each=fails, together=together), plain)
    assert sorted(ended) == [0, 1, 2]


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


@pytest.mark.parametrize(
    "values",
    [{"members": 0}, {"init": "other"}, {"order": "other"}, {"together": "at_once"}, {"capacity": 0.0}],
)
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises((InvalidArgument, TypeError)):
        ensemble(**values)
