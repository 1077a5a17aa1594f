"""The verifier of learners sees what is wrong with each of these."""

from functools import partial

import numpy as np
import pytest
import torch

from baldur import data, networks
from baldur.learners import Supervised
from baldur.learners.held_out import part
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe

Y = np.arange(40) % 2
POOL = data.from_arrays(
    np.eye(2, 3, dtype=np.float32)[Y] + np.linspace(0, 0.1, 40, dtype=np.float32)[:, None]
)
LABELLED = Labelled(
    View(POOL, np.arange(20)), Y[:20], np.zeros(20, np.int64), np.ones(20, np.float32), ("oracle",) * 20
)


class Wrong:
    """A supervised learner with one thing altered."""

    def __init__(self, **kwargs):
        settings = {"recipe": Recipe(epochs=3, epoch_size=1), "interval": 0.0} | kwargs
        self.learner = Supervised(partial(networks.mlp, (3,), 2), classes=2, **settings)

    def fit(self, labelled, unlabelled, **kwargs):
        return self.learner.fit(labelled, unlabelled, **kwargs)

    def load(self, folder):
        return self.learner.load(folder)


class OneSeed(Wrong):
    def fit(self, labelled, unlabelled, *, seed, **kwargs):
        return super().fit(labelled, unlabelled, seed=0, **kwargs)


class OtherSeeds(Wrong):
    def fit(self, labelled, unlabelled, *, seed, **kwargs):
        return super().fit(labelled, unlabelled, seed=int(np.random.default_rng().integers(99999)), **kwargs)


class Seeding(Wrong):
    def fit(self, labelled, unlabelled, *, seed, **kwargs):
        torch.manual_seed(seed)
        return super().fit(labelled, unlabelled, seed=seed, **kwargs)


class Forgetful(Wrong):
    def fit(self, labelled, unlabelled, *, checkpoint=None, **kwargs):
        if checkpoint is not None and checkpoint.latest() is not None:
            checkpoint.latest().unlink()
        return super().fit(labelled, unlabelled, checkpoint=checkpoint, **kwargs)


class Drifting(Wrong):
    def fit(self, labelled, unlabelled, *, seed, checkpoint=None, **kwargs):
        resumed = checkpoint is not None and checkpoint.latest() is not None
        return super().fit(labelled, unlabelled, seed=seed + resumed, checkpoint=checkpoint, **kwargs)


class Blank(Wrong):
    def load(self, folder):
        return self.learner.fit(LABELLED, POOL, seed=5, round=0)


class Wavering(Wrong):
    def held_out(self, labelled):
        some = np.sort(np.random.default_rng().choice(len(labelled), 10, replace=False))
        return part(labelled, some)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (Wavering, "holds out other items"),
        (OneSeed, "fits with different seeds are the same"),
        (OtherSeeds, "two fits with the same seed differ"),
        (Seeding, "moved a global random generator"),
        (Forgetful, "began again from nothing"),
        (Drifting, "goes on ends elsewhere|went on ends elsewhere"),
        (Blank, "saved and loaded gives other draws"),
        (partial(Wrong, interval=60.0), "no checkpoint was saved"),
    ],
)
def test_what_is_wrong_is_named(make, complaint):
    with pytest.raises(AssertionError, match=complaint):
        verify_learner(make, LABELLED, POOL)


def test_a_right_learner_passes():
    verify_learner(Wrong, LABELLED, POOL)
