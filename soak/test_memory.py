"""Every strategy on a pool whose predictions are several times what `memory=` allows."""

import functools

import numpy as np
import pytest
import torch
from bench.measure import child, peak
from tests.tiny_runs import WithLoss
from torch import nn

from baldur.data import from_arrays
from baldur.likelihoods import GAUSSIAN
from baldur.posteriors import MCDropout
from baldur.protocols import Labelled, View
from baldur.runs.names import STRATEGIES, strategy_named
from baldur.score.scorer import PoolScorer

ITEMS, MEMORY = 100_000, 32  # MiB; 20 samples of 10 classes are 76 MiB
OWN = 32  # MiB: what a pass has beside the budget, features (12 MiB) and some numbers an item
# Features once more, or twice in double precision, O(N D); a network that is trained; neighbours within the radius.
HELD = {"badge": 24, "discriminative": 40, "prob_cover": 32, "suggestive_annotation": 24, "typiclust": 12}
# Their time grows with N² or they train a network on the pool; 10,000 items squared are 763 MiB.
FEWER = {"discriminative": 10_000, "facility_location": 10_000, "prob_cover": 10_000}
OF_NUMBERS = ("variance", "gaussian_information_gain")


def setting(name, items):
    """A pool of small items of which 50 are labelled."""
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


def rise(name, items, memory):
    """How far the memory of this process rises while a strategy chooses, in MiB."""
    torch.set_num_threads(1)
    strategy, scorer = strategy_named(name), PoolScorer(draws=20, memory=f"{memory}MiB", batch_size=512)
    choose = functools.partial(strategy, k=10, rng=np.random.default_rng(0), scorer=scorer)

    def run(size):
        posterior, labelled, unlabelled = setting(name.partition("(")[0], size)
        return functools.partial(choose, posterior=posterior, labelled=labelled, unlabelled=unlabelled)

    run(2000)()  # what is imported and compiled is not counted
    return {"rise": peak(run(items))}


@pytest.mark.parametrize("name", [*STRATEGIES, "bald(race=0.01)", "margin(race=0)"])
def test_memory_is_kept(name):
    found = child("soak.test_memory:rise", name=name, items=FEWER.get(name, ITEMS), memory=MEMORY)
    assert found["rise"] <= MEMORY + OWN + HELD.get(name, 0)


def test_a_strategy_that_keeps_all_predictions_is_seen():
    """What `batchbald` does where the memory suffices: the measure sees it."""
    assert child("soak.test_memory:rise", name="batchbald", items=ITEMS, memory=2048)["rise"] > MEMORY + OWN
