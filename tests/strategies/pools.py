"""A small pool on which strategies choose, and a large one on which their memory is measured."""

import functools

import numpy as np
import torch
from bench.measure import peak
from tests.tiny_runs import WithLoss, blobs
from torch import nn

from baldur.data import from_arrays
from baldur.likelihoods import GAUSSIAN
from baldur.posteriors import MCDropout
from baldur.protocols import Labelled, View
from baldur.runs.names import strategy_named
from baldur.score.scorer import PoolScorer

OF_NUMBERS = ("variance", "gaussian_information_gain")


def setting(items=40):
    """A posterior, eight labelled items, those that are left, and a scorer."""
    x, y = blobs(items)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        posterior = MCDropout(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)))
    pool, n = from_arrays(x), 8
    labelled = Labelled(
        View(pool, np.arange(n)), y[:n], np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n
    )
    return posterior, labelled, View(pool, np.arange(n, items)), PoolScorer(draws=10)


def choose(strategy, k=3, **options):
    """What a strategy chooses of the small pool."""
    posterior, labelled, unlabelled, scorer = setting()
    return strategy(posterior, labelled, unlabelled, k, np.random.default_rng(0), scorer, **options)


def large(name, items):
    """A pool of small items of which 50 are labelled, and a posterior for the strategy of that name."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((items, 16), np.float32)
    pool, known = from_arrays(x), np.arange(50)
    outputs = 2 if name in OF_NUMBERS else 10
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, outputs))
    likelihood = {"likelihood": GAUSSIAN} if name in OF_NUMBERS else {}
    posterior = MCDropout(network, **likelihood)
    labelled = Labelled(
        View(pool, known), known % 10, np.zeros(50, np.int64), np.ones(50, np.float32), ("oracle",) * 50
    )
    told = WithLoss(posterior) if name == "learning_loss" else posterior
    return told, labelled, View(pool, np.arange(50, items))


def rises(names, items, memory):
    """How far the memory of this process rises while each strategy chooses of the large pool, in MiB."""
    torch.set_num_threads(1)
    return {name: _rise(name, items, memory) for name in names}


def _rise(name, items, memory):
    strategy, scorer = strategy_named(name), PoolScorer(draws=20, memory=f"{memory}MiB", batch_size=512)
    choose = functools.partial(strategy, k=10, rng=np.random.default_rng(0), scorer=scorer)

    def run(size):
        posterior, labelled, unlabelled = large(name.partition("(")[0], size)
        return functools.partial(choose, posterior=posterior, labelled=labelled, unlabelled=unlabelled)

    run(2000)()  # what is imported and compiled is not counted
    return peak(run(items))
