import math

import pytest

from baldur.evaluate import Interval, Paired
from baldur.report import wording


@pytest.mark.parametrize(
    ("p", "text"), [(0.00945561, "p = .0095"), (0.0004, "p < .001"), (0.31, "p = .31"), (1.0, "p = 1")]
)
def test_p_value(p: float, text: str) -> None:
    assert wording.p_value(p) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.84, "0.8 s"), (42.4, "42 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_numbers() -> None:
    assert wording.value(0.93449) == "0.934"
    assert wording.value(math.nan) == "–"
    assert wording.signed(-0.0091) == "−0.009"
    assert wording.labels(110, 220) == "110"
    assert wording.labels(math.inf, 220) == ">220"
    assert wording.count(1, "seed") == "1 seed"
    assert wording.count(1240, "label") == "1,240 labels"
    assert wording.bounds(Interval(0.5, math.nan, math.nan, math.nan, 1)) == ""
    assert wording.bounds(Interval(0.5, 0.4, 0.6, 0.1, 5)) == "0.400–0.600"
    assert wording.target(0.925, "accuracy") == "92.5 %"
    assert wording.target(0.3, "nll") == "0.3"
    assert wording.listed([]) == ""
    assert wording.listed(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize(
    ("result", "text"),
    [("better", "better than random (p = .02)"), ("worse", "worse than random (p = .02)"),
     ("undecided", "undecided (p = .02)")],
)  # fmt: skip
def test_verdict(result: str, text: str) -> None:
    assert wording.verdict(Paired(0.1, 0.0, 0.2, 0.02, 5, result, "t"), True) == text
    assert (
        wording.verdict(Paired(0.1, 0.0, 0.2, math.nan, 1, "undecided", "t"), True)
        == "too few seeds to compare"
    )
    assert wording.verdict(None, False) == "no random baseline to compare with"
    two = Paired(0.1, 0.09, 0.11, 0.001, 2, result, "t")
    assert wording.verdict(two, True) == "too few seeds to compare"
    assert wording.verdict(Paired(0.1, 0.0, 0.2, 0.02, 5, result, "t"), True, so_far=True) == f"so far {text}"


def test_a_difference_has_its_interval() -> None:
    pair = Paired(0.009, 0.0037, 0.0143, 0.01, 5, "better", "t")
    assert wording.difference(pair) == "+0.009, 95 % interval +0.004 to +0.014"
    assert wording.difference(Paired(-0.1, math.nan, math.nan, 0.06, 5, "undecided", "sign")) == "−0.100"
