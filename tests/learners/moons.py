"""Two moons, of which six items are labelled: they do not show the form, 234 unlabelled items do."""

import numpy as np
from torch import nn

from baldur import data
from baldur.learners.supervised import Supervised
from baldur.posteriors.fit.dropout import deterministic
from baldur.protocols import Labelled, View
from baldur.training import Recipe

RNG = np.random.default_rng(0)
ANGLE = RNG.uniform(0, np.pi, 240)
Y = np.arange(240) % 2
MOONS = np.stack([np.cos(ANGLE) - 0.5, np.sin(ANGLE) - 0.25], 1) * np.where(Y, -1, 1)[:, None]
X = (MOONS + 0.08 * RNG.standard_normal((240, 2))).astype(np.float32)
POOL = data.from_arrays(X)
FEW = np.array([i for c in (0, 1) for i in np.flatnonzero(c == Y)[:3]])
LABELLED = Labelled(View(POOL, FEW), Y[FEW], np.zeros(6, np.int64), np.ones(6, np.float32), ("oracle",) * 6)
UNLABELLED = View(POOL, np.setdiff1d(np.arange(240), FEW))
NOTHING = View(POOL, np.array([], np.intp))


def network():
    return nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2))


def learner(posterior=deterministic, network=network, **recipe):
    made = Recipe(**{"epochs": 4, "epoch_size": 32, "batch_size": 8, "learning_rate": 0.01} | recipe)
    return Supervised(network, classes=2, recipe=made, posterior=posterior, interval=0.0)


def fitted(made, unlabelled=UNLABELLED, seed=0):
    """The network of a learner's posterior."""
    return made.fit(LABELLED, unlabelled, seed=seed, round=0).network
