"""Learners of tables by name."""

import numpy as np
import pytest
import torch
from tests.tiny_runs import blobs

from baldur import data
from baldur.errors import InvalidArgument
from baldur.learners import ALONE, committee, extra_trees, logistic_regression, random_forest
from baldur.protocols import Labelled, View

X, Y = blobs(120)
POOL = data.from_arrays(X)
HELD = torch.from_numpy(X[60:])
LABELLED = Labelled(
    View(POOL, np.arange(60)), Y[:60], np.zeros(60, np.int64), np.ones(60, np.float32), ("oracle",) * 60
)


def fit(learner):
    return learner.fit(LABELLED, View(POOL, np.arange(60, 120)), seed=0, round=0)


@pytest.mark.parametrize(
    ("factory", "functions"),
    [(random_forest, 100), (extra_trees, 100), (logistic_regression, 1), (committee, 10)],
)
def test_learners_by_name(factory, functions):
    posterior = fit(factory(3))
    assert posterior.functions == functions
    assert (posterior.draw()(HELD).exp().mean(1).argmax(1).numpy() == Y[60:]).mean() > 0.8


@pytest.mark.parametrize("of", ["logistic_regression", "naive-bayes", "decision-tree", "nearest-neighbours"])
def test_a_committee_of_each_kind_disagrees(of):
    draws = fit(committee(3, members=4, of=of)).draw()
    assert len(draws) == 4
    assert not torch.equal(draws(HELD)[:, 0], draws(HELD)[:, 1])


def test_a_kind_that_is_not_there_is_said():
    assert set(ALONE) == {"committee", "extra_trees", "logistic_regression", "random_forest"}
    with pytest.raises(InvalidArgument, match="naive-bayes"):
        committee(3, of="magic")
