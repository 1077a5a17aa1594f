"""What may be asked of a learner beside `fit` and `load`."""

from functools import partial

import numpy as np
import pytest
from torch import nn

from baldur import data, learners
from baldur.distributed import Cluster, RayLearner
from baldur.errors import Unsupported
from baldur.learners import Supervised, random_forest
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.protocols import Labelled, Learner, View, held_out_of, kind_of, pictures_of

Y = np.arange(20) % 2
POOL = data.from_arrays(np.eye(2, 3, dtype=np.float32)[Y])
LABELLED = Labelled(
    View(POOL, np.arange(20)), Y, np.zeros(20, np.int64), np.ones(20, np.float32), ("oracle",) * 20
)
WRAPPERS = [
    learners.ceal,
    learners.calibrated,
    learners.label_propagation,
    partial(RayLearner, cluster=Cluster()),
    lambda learner: learners.ceal(learners.calibrated(learner)),
]


class Plain:
    """A learner that has only what it must."""

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        raise NotImplementedError

    def load(self, folder):
        raise NotImplementedError


class Able(Plain):
    """A learner that has all that may be asked for."""

    def predicts(self):
        return "bernoulli"

    def held_out(self, labelled):
        return labelled

    def pictures(self):
        return b"PNG"


def supervised(**options):
    return Supervised(lambda: nn.Linear(3, 2), classes=2, **options)


@pytest.mark.parametrize("wrap", [lambda learner: learner, *WRAPPERS])
def test_a_learner_with_fit_and_load_alone_is_enough(wrap):
    learner = wrap(Plain())
    assert isinstance(learner, Learner)
    assert held_out_of(learner, LABELLED) is None
    assert pictures_of(learner) is None
    assert kind_of(learner) is None


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapper_passes_on_whatever_may_be_asked(wrap):
    learner = wrap(Able())
    assert held_out_of(learner, LABELLED) is LABELLED
    assert kind_of(learner) == "bernoulli"
    if not isinstance(learner, RayLearner):  # whose fits happen elsewhere, and the pictures with them
        assert pictures_of(learner) == b"PNG"


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_what_a_supervised_learner_holds_out_is_known_through_every_wrapper(wrap):
    held = held_out_of(wrap(supervised(validation=4)), LABELLED)
    assert held.pool.ids == held_out_of(supervised(validation=4), LABELLED).pool.ids
    assert len(held) == 4


def test_learners_say_what_they_predict():
    assert kind_of(supervised()) == "categorical"
    assert kind_of(supervised(likelihood=BERNOULLI)) == "bernoulli"
    assert kind_of(random_forest(2)) == "categorical"
    with pytest.raises(Unsupported, match="not numbers"):
        learners.calibrated(learners.ceal(supervised(likelihood=GAUSSIAN)))
