"""A small network, items to fit it on, and a checkpoint slot that stops the fit."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from baldur import training
from baldur.training import initialise, train, weights_hash

Recipe = partial(training.Recipe, epoch_size=1)


class Slot:
    """A checkpoint slot that stops the fit after its n-th save."""

    def __init__(self, folder, stop_after=None):
        self.path = folder / "checkpoint"
        self.saves, self.stop_after = 0, stop_after

    def latest(self):
        return self.path if self.path.exists() else None

    def save(self, write):
        write(self.path)
        self.saves += 1
        if self.saves == self.stop_after:
            raise KeyboardInterrupt


def noise(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def network(seed=0):
    return initialise(
        lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)),
        seed,
    )


def items(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return functional.one_hot(y, 4) + 0.3 * torch.randn(n, 4, generator=generator), y


X, Y = items(41)
VALIDATION = items(30, 1)


def fitted(recipe, seed=0, x=X, y=Y, **kwargs):
    trained = network()
    result = train(trained, x, y, recipe=recipe, seed=seed, **kwargs)
    return weights_hash(trained), result
