"""Labels saved: the numbers by hand, and claims that are no stronger than the seeds."""

import math

import numpy as np
import pytest

from baldur.report.curves import Curve
from baldur.report.saved import Saved, in_words, saved


def curve(seed: int, values: list[float], strategy: str = "bald") -> Curve:
    labels = np.arange(10.0, 10 * len(values) + 10, 10)
    return Curve("run", strategy, seed, "done", labels, np.array(values))


def pairs(*both: tuple[list[float], list[float]]) -> list[tuple[Curve, Curve]]:
    return [(curve(i, mine), curve(i, theirs, "random")) for i, (mine, theirs) in enumerate(both)]


FAST, SLOW, NEVER = [0.5, 0.8, 0.92, 0.93], [0.5, 0.6, 0.8, 0.91], [0.5, 0.5, 0.5, 0.5]


def told(*both: tuple[list[float], list[float]], targets: tuple[float, ...] = (0.8, 0.9, 0.95)) -> Saved:
    found = saved(pairs(*both), targets, "accuracy")
    assert found is not None
    return found


def test_the_highest_target_that_all_reached() -> None:
    found = told((FAST, SLOW), (FAST, SLOW), (FAST, [0.5, 0.7, 0.9, 0.9]))
    assert found.target == 0.9
    assert (found.strategy, found.random, found.missed) == (30, pytest.approx(110 / 3), 0)
    assert found.fewer.difference == pytest.approx(-20 / 3)
    assert told((FAST, [0.5, 0.8, 0.8, 0.8])).target == 0.8


def test_without_a_common_target_the_last_value_of_random() -> None:
    found = told((FAST, [0.5, 0.6, 0.6, 0.7]), targets=(0.99,))
    assert found.target is None
    assert (found.strategy, found.random) == (20, 40)
    missed = told((NEVER, SLOW), (FAST, SLOW), (NEVER, SLOW))
    assert missed.missed == 2
    assert math.isinf(missed.strategy)
    assert "did not reach the accuracy that random ended with in 2 of 3 seeds" in in_words(
        "x", missed, "accuracy", False
    )
    assert saved([], (0.9,), "accuracy") is None


def test_a_loss_is_better_when_it_is_smaller() -> None:
    found = saved(pairs(([0.9, 0.2, 0.1], [0.9, 0.8, 0.2])), (0.2,), "nll")
    assert found is not None
    assert (found.strategy, found.random) == (20, 30)


@pytest.mark.parametrize("seeds", [1, 2])
def test_one_or_two_seeds_claim_nothing(seeds: int) -> None:
    said = in_words("bald", told(*[(FAST, SLOW)] * seeds), "accuracy", False)
    assert "is not shown to save labels" in said
    assert "at least 3 seeds are needed" in said
    assert "interval" not in said
    assert "no better" not in said


def test_many_seeds_claim_what_they_show() -> None:
    rng = np.random.default_rng(0)

    def noisy(step: float) -> list[float]:
        return np.minimum(0.5 + step * np.arange(30) + 0.05 * rng.random(), 0.99).tolist()

    better = told(*[(noisy(0.03), noisy(0.015)) for _ in range(5)])
    said = in_words("bald", better, "accuracy", False)
    assert said.startswith("bald saved labels: it needed")
    assert "95 % interval −" in said
    worse = told(*[(noisy(0.015), noisy(0.03)) for _ in range(5)])
    assert "saved no labels, and needed more than random" in in_words("bald", worse, "accuracy", False)
    same = told(*[(noisy(0.03), noisy(0.03)) for _ in range(5)])
    assert "is not shown to save labels" in in_words("bald", same, "accuracy", True)
    assert in_words("bald", same, "accuracy", True).startswith("So far, ")
    said = in_words("bald", same, "accuracy", False, is_better=True)
    assert "bald is better than random, but it is not shown how many labels it saves" in said
