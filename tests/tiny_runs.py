"""A small data set and quick settings for tests that make whole runs."""

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from baldur import data
from baldur.acquire import entropy
from baldur.learners import Supervised
from baldur.posteriors.fit import mc_dropout
from baldur.protocols import Choice, Posterior
from baldur.training import Recipe

QUICK = {"seeds": 1, "rounds": 2, "query_size": 4, "initial": 6, "draws": 3, "epochs": 2, "epoch_size": 32}


def blobs(n=90, classes=3, seed=0):
    """Three blobs in four dimensions, (n, 4) and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    return rng.normal(size=(n, 4)).astype(np.float32) + 2 * np.eye(4, dtype=np.float32)[y], y


class Flaky(Dataset):
    """The blobs, of which some vanish once a number of items was read."""

    def __init__(self, gone=(), after=10**9, value=None):
        self.x, self.y = blobs()
        self.gone, self.left, self.value = set(gone), after, value

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        self.left -= 1
        if self.left < 0 and i in self.gone:
            if self.value is None:
                raise FileNotFoundError(2, "No such file or directory", f"{i}.png")
            return torch.full((4,), self.value), self.y[i]
        return torch.from_numpy(self.x[i]), self.y[i]


def blob_set():
    """The blobs as a data set."""
    x, y = blobs()
    return data.in_memory(data.from_arrays(x), y, test_fraction=0.2)


def by_entropy(posterior, labelled, unlabelled, k, rng, scorer):
    """A strategy of one's own."""
    scores = scorer.predict(posterior, unlabelled, entropy)
    best = np.argsort(-scores, kind="stable")[:k]
    return Choice(tuple(unlabelled.ids[i] for i in best), scores[best], {}, scores)


def factory(shape, classes):
    """A network of one's own."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(int(np.prod(shape)), 8), nn.Dropout(0.5), nn.Linear(8, classes)
    )


def learner_factory(network, classes, settings):
    """A learner of one's own."""
    return Supervised(network, classes=classes, recipe=Recipe(epochs=settings.epochs))


class WithLoss(Posterior):
    """A posterior whose draws also predict a loss, as those of a learner for learning loss do."""

    def __init__(self, inner):
        self.inner = inner

    def draw(self, T=None, seed=0):
        return LossDraws(self.inner.draw(T, seed))

    def save(self, folder):
        self.inner.save(folder)


class LossDraws:
    """Draws with a loss: here the chance that the likeliest class is wrong."""

    def __init__(self, inner):
        self.inner = inner
        self.names = (*inner.names, "loss")

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, samples):
        return LossDraws(self.inner[samples])

    def __call__(self, x):
        return self.inner(x)

    def outputs(self, x, names):
        made = {name: self.inner.outputs(x, (name,))[name] for name in names if name != "loss"}
        return made | ({"loss": 1 - self(x).exp().mean(1).amax(1)} if "loss" in names else {})


class LossLearner(Supervised):
    """A learner that predicts losses."""

    def load(self, folder):
        return WithLoss(super().load(folder))


def loss_learner(network, classes, settings):
    """A learner for learning loss."""
    recipe = Recipe(epochs=settings.epochs, epoch_size=settings.epoch_size)
    return LossLearner(
        network, classes=classes, recipe=recipe, posterior=lambda *told: WithLoss(mc_dropout(*told))
    )
