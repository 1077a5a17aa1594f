"""Fits on a cluster: the same posterior as here."""

from functools import partial

import numpy as np
import pytest
import torch
from tests.distributed.setting import on_ray
from tests.tiny_runs import blobs
from torch import nn

from baldur.data import from_arrays
from baldur.distributed import RayLearner
from baldur.distributed.cluster import begin
from baldur.errors import InvalidArgument
from baldur.learners import Supervised
from baldur.posteriors.fit import ensemble
from baldur.posteriors.fit.ensembles import spread
from baldur.protocols import Labelled
from baldur.training import Recipe

pytestmark = on_ray


def labelled_blobs():
    x, y = blobs()
    n = len(y)
    return Labelled(
        from_arrays(x), y.astype(np.int64), np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n
    )


def factory():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_a_fit_there_gives_the_posterior_of_a_fit_here(cluster):
    labelled = labelled_blobs()
    learner = Supervised(factory, classes=3, recipe=Recipe(epochs=2, epoch_size=32))
    told = {"seed": 3, "round": 0}
    here = learner.fit(labelled, labelled.pool, **told).draw(4)
    there = RayLearner(learner, cluster).fit(labelled, labelled.pool, **told).draw(4)
    x = torch.from_numpy(labelled.pool.x)
    assert torch.equal(here(x), there(x))


@pytest.mark.parametrize("together", ["turn", "auto"])
def test_members_are_fitted_side_by_side_to_the_same(cluster, together):
    labelled = labelled_blobs()
    plan = ensemble(3, together=together)
    recipe = Recipe(epochs=2, epoch_size=32)
    here, there = (
        Supervised(factory, classes=3, recipe=recipe, posterior=fitting)
        for fitting in (plan, spread(plan, partial(begin, 1, 0.0)))
    )
    told = {"seed": 3, "round": 0}
    x = torch.from_numpy(labelled.pool.x)
    apart = RayLearner(there, cluster).fit(labelled, labelled.pool, **told)
    assert torch.equal(here.fit(labelled, labelled.pool, **told).draw()(x), apart.draw()(x))


def test_members_that_begin_alike_are_refused_there_too(cluster):
    labelled = labelled_blobs()
    posterior = spread(ensemble(2, together="turn"), partial(begin, 1, 0.0))
    learner = Supervised(factory(), classes=3, recipe=Recipe(epochs=1), posterior=posterior)
    with pytest.raises(InvalidArgument, match="begin with the same weights"):
        RayLearner(learner, cluster).fit(labelled, labelled.pool, seed=3, round=0)
