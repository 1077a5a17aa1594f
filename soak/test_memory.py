"""Every strategy on a pool whose predictions are several times what `memory=` allows."""

import pytest
from bench.measure import child

from baldur.runs.names import STRATEGIES

ITEMS, MEMORY = 100_000, 32  # MiB; 20 samples of 10 classes are 76 MiB
OWN = 32  # MiB: what a pass has beside the budget, features (12 MiB) and some numbers an item
# Features once more, or twice in double precision, O(N D); a network that is trained; neighbours within the radius.
HELD = {"badge": 24, "discriminative": 40, "prob_cover": 32, "suggestive_annotation": 24, "typiclust": 12}
# Their time grows with N² or they train a network on the pool; 10,000 items squared are 763 MiB.
FEWER = {"discriminative": 10_000, "facility_location": 10_000, "prob_cover": 10_000}


def rise(name, items, memory):
    """How far the memory of a process of its own rises while a strategy chooses, in MiB."""
    return child("tests.strategies.pools:rises", names=[name], items=items, memory=memory)[name]


@pytest.mark.parametrize("name", [*STRATEGIES, "bald(race=0.01)", "margin(race=0)"])
def test_memory_is_kept(name):
    assert rise(name, FEWER.get(name, ITEMS), MEMORY) <= MEMORY + OWN + HELD.get(name, 0)


def test_a_strategy_that_keeps_all_predictions_is_seen():
    """What `batchbald` does where the memory suffices: the measure sees it."""
    assert rise("batchbald", ITEMS, 2048) > MEMORY + OWN
