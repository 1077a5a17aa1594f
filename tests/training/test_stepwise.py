"""Posterior functions that pause at each training."""

import copy
import inspect
import pickle
from functools import partial

import numpy as np
import pytest
from torch import nn

from baldur import data
from baldur.errors import InvalidArgument
from baldur.likelihoods import CATEGORICAL
from baldur.posteriors import Deterministic
from baldur.posteriors.fit import FUNCTIONS, ensemble, swag
from baldur.posteriors.swag import SWAG
from baldur.protocols import Labelled, Posterior
from baldur.training import Recipe
from baldur.training.contract import Fitting, TrainingRequest
from baldur.training.stepwise import Stepwise, finish, steps_of

POOL = data.from_arrays(np.eye(2, dtype=np.float32))
LABELLED = Labelled(POOL, np.arange(2), np.zeros(2, np.int64), np.ones(2, np.float32), ("oracle",) * 2)


class Train:
    """Notes what is asked of it, and trains nothing."""

    recipe, classes, likelihood, unlabelled = Recipe(), 2, CATEGORICAL, POOL

    def __init__(self):
        self.asked = []

    def data(self):
        raise NotImplementedError

    def build(self, seed):
        return nn.Linear(2, 2)

    def __call__(self, seed, *, network, penalty=None, after_epoch=None, recipe=None):
        self.asked.append((seed, network))
        return network


@Stepwise
def twice(train, labelled, seed, *, more=1):
    """Two trainings of one network."""
    first = yield TrainingRequest(seed, train.build(seed))
    second = yield TrainingRequest(seed + more, first)
    return Deterministic(second)


class Failing(Train):
    def __call__(self, seed, **options):
        raise InvalidArgument("no training")


def plain(train, labelled, seed):
    return Deterministic(train(seed, network=train.build(seed)))


def test_called_like_any_posterior_function_it_trains_step_by_step():
    train = Train()
    posterior = partial(twice, more=10)(train, LABELLED, 3)
    assert isinstance(posterior, Deterministic)
    assert [seed for seed, _ in train.asked] == [3, 13]
    assert train.asked[0][1] is train.asked[1][1]


def test_its_steps_are_the_same_with_the_trainings_in_other_hands():
    train = Train()
    steps = steps_of(partial(twice, more=5))(train, LABELLED, 1)
    request = next(steps)
    assert train.asked == []
    posterior = finish(steps, train, request.by(train))
    assert isinstance(posterior, Deterministic)
    assert [seed for seed, _ in train.asked] == [1, 6]


@pytest.mark.parametrize("fitting", [plain, partial(plain), ensemble(2), FUNCTIONS["multi_swag"]])
def test_other_posterior_functions_have_no_steps(fitting):
    assert isinstance(fitting, Fitting)
    assert steps_of(fitting) is None


def test_a_training_that_fails_ends_the_steps():
    ended = []

    @Stepwise
    def guarded(train, labelled, seed):
        try:
            yield TrainingRequest(seed, train.build(seed))
        finally:
            ended.append(True)

    train = Failing()
    with pytest.raises(InvalidArgument, match="no training"):
        finish(guarded.steps(train, LABELLED, 0), train)
    assert ended == [True]


def test_it_looks_and_travels_like_a_function():
    assert twice.__doc__ == "Two trainings of one network."
    assert inspect.signature(swag).return_annotation is SWAG
    assert list(inspect.signature(twice).parameters) == ["train", "labelled", "seed", "more"]
    assert pickle.loads(pickle.dumps(swag)) is copy.deepcopy(swag) is swag
    assert Posterior in inspect.signature(FUNCTIONS["mc_dropout"]).return_annotation.__mro__
