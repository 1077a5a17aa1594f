import math
from functools import partial

import pytest
from tests.stopping.histories import validated

from baldur.errors import InvalidArgument
from baldur.stopping import History, budget, plateau, selected_accuracy, wilson
from baldur.stopping import target as reaches


def test_budget():
    assert budget(30)(History([20, 29])) == ""
    assert budget(30)(History([20, 30])) == "the budget of 30 labels is spent"
    assert budget(30).limit == 30


def test_a_target_counts_when_its_interval_is_above_it():
    low = wilson(0.95, 200)[0]
    target = partial(reaches, split="validation")
    assert target(low - 1e-9)(validated(0.95)).startswith("accuracy 0.9500 over 200 validation items")
    assert target(low + 1e-9)(validated(0.95)) == ""
    assert target(low + 1e-9, level=0.5)(validated(0.95)) != ""
    assert target(0.94)(validated(0.95, items=100_000)) != ""
    assert reaches(0.9, split="test")(validated(0.95, items=10_000, split="test")) != ""
    loss = History([9], [{("nll", "validation"): 0.3, ("nll_se", "validation"): 0.05}])
    end = 0.3 + 1.959963985 * 0.05
    assert "95% interval up to 0.3980" in target(end + 1e-6, "nll")(loss)
    assert target(end - 1e-6, "nll")(loss) == ""
    with pytest.raises(InvalidArgument, match="no accuracy was measured on 'validation'"):
        target(0.9)(History([9], [{("accuracy", "test"): 0.99}]))


def test_plateau_needs_twice_its_window():
    flat = (0.5, 0.8, 0.9, 0.9, 0.91, 0.9)
    assert plateau(split="validation", window=2, tolerance=0.015)(validated(*flat)) != ""
    assert plateau(split="validation", window=2, tolerance=0.0099)(validated(*flat)) == ""
    assert plateau(split="validation", window=3, tolerance=0.1)(validated(*flat)) == "", (
        "0.5 is three rounds before 0.9"
    )
    assert plateau(split="validation", window=3, tolerance=1)(validated(*flat[1:])) == ""
    assert plateau(split="validation", window=1, tolerance=0.02)(validated(math.nan, 0.9)) == ""


def test_selected_accuracy():
    assert selected_accuracy(0.9)(validated(0.5, 0.92, split="query")) != ""
    assert selected_accuracy(0.92)(validated(0.5, 0.92, split="query")) == ""
    assert selected_accuracy(0.0)(History([9], [{}])) == "", "the first round chose nothing before"
    pooled = History(
        [1, 2, 3], [{}] + [{("accuracy", "query"): a, ("items", "query"): n} for a, n in ((1, 30), (0.5, 10))]
    )
    assert "0.8750 on the last 40 items" in selected_accuracy(0.8, window=2)(pooled)
    assert selected_accuracy(0.0, window=3)(pooled) == ""
