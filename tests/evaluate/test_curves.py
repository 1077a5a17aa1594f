import math

import pytest

from baldur import evaluate
from baldur.errors import InvalidArgument

LABELS = [20, 40, 60, 80, 100]
ACTIVE = [0.60, 0.75, 0.85, 0.90, 0.92]
RANDOM = [0.60, 0.70, 0.78, 0.84, 0.88]


@pytest.mark.parametrize(
    ("target", "convention", "active", "random"),
    [
        (0.80, "measured", 60, 80),
        (0.80, "interpolated", 50, 66.666667),
        (0.84, "measured", 60, 80),
        (0.84, "interpolated", 58, 80),
        (0.88, "measured", 80, 100),
        (0.88, "interpolated", 72, 100),
        (0.80, "optimistic", 40, 60),
        (0.60, "optimistic", 20, 20),
        (0.55, "interpolated", 20, 20),
        (0.99, "measured", math.inf, math.inf),
    ],
)
def test_labels_to_target(target, convention, active, random):
    assert evaluate.labels_to_target(LABELS, ACTIVE, target, convention) == pytest.approx(active)
    assert evaluate.labels_to_target(LABELS, RANDOM, target, convention) == pytest.approx(random)


def test_optimistic_turns_80_100_120_into_the_published_70_90_110():
    for measured in (80, 100, 120):
        labels = list(range(20, 140, 10))
        values = [0.9 if n >= measured else 0.8 for n in labels]
        assert evaluate.labels_to_target(labels, values, 0.9) == measured
        assert evaluate.labels_to_target(labels, values, 0.9, "optimistic") == measured - 10


def test_area():
    assert evaluate.aulc(LABELS, ACTIVE) == pytest.approx(0.815, abs=1e-12)
    assert evaluate.aulc(LABELS, RANDOM) == pytest.approx(0.765, abs=1e-12)
    assert evaluate.aulc(LABELS, ACTIVE, log=True) == pytest.approx(0.77482261, abs=1e-8)
    assert evaluate.aulc(LABELS, RANDOM, log=True) == pytest.approx(0.73038902, abs=1e-8)
    assert evaluate.challenge_score(0.815, 0.1) == pytest.approx(0.79444444, abs=1e-8)


def test_area_is_cut_at_a_common_end():
    assert evaluate.aulc(LABELS, ACTIVE, end=80) == evaluate.aulc(LABELS[:4], ACTIVE[:4])
    between = evaluate.aulc([*LABELS[:3], 70], [*ACTIVE[:3], 0.875])
    assert evaluate.aulc(LABELS, ACTIVE, end=70) == pytest.approx(between, abs=1e-15)
    assert evaluate.aulc(LABELS, ACTIVE, end=20) == 0.6
    for end in (10, 101):
        with pytest.raises(InvalidArgument, match=f"cannot be cut at {end}"):
            evaluate.aulc(LABELS, ACTIVE, end=end)


def test_area_of_one_point_is_its_value():
    assert evaluate.aulc([20], [0.6]) == 0.6


def test_data_utilisation_rate():
    for target, rate in ((0.80, 0.75), (0.84, 0.725), (0.88, 0.72)):
        found = evaluate.data_utilisation_rate(LABELS, ACTIVE, LABELS, RANDOM, target, "interpolated")
        assert found == pytest.approx(rate, abs=1e-12)
    assert evaluate.data_utilisation_rate(LABELS, ACTIVE, LABELS, RANDOM, 0.9) == 0
    assert evaluate.data_utilisation_rate(LABELS, RANDOM, LABELS, ACTIVE, 0.9) == math.inf
    assert math.isnan(evaluate.data_utilisation_rate(LABELS, RANDOM, LABELS, ACTIVE, 0.99))


def test_deficiency():
    assert evaluate.deficiency(ACTIVE, RANDOM) == pytest.approx(0.63333333, abs=1e-8)
    assert evaluate.deficiency(ACTIVE, RANDOM, best=0.92) == pytest.approx(0.725, abs=1e-12)
    assert math.isnan(evaluate.deficiency([0.5, 0.5], [0.5, 0.5]))


def test_active_gain():
    assert evaluate.active_gain(ACTIVE, RANDOM) == pytest.approx([0, 0.05, 0.07, 0.06, 0.04], abs=1e-12)
    assert evaluate.active_gain([0.3], [0.5], larger_is_better=False) == pytest.approx([0.2])


@pytest.mark.parametrize(
    ("labels", "values", "message"),
    [
        ([20, 20], [0.5, 0.6], "must grow"),
        ([20, 40], [0.5], "one length"),
        ([], [], "one length"),
        ([20, 40], [0.5, math.nan], "must be finite numbers; the value at 1 is nan"),
    ],
)
def test_what_is_no_curve(labels, values, message):
    with pytest.raises(InvalidArgument, match=message):
        evaluate.labels_to_target(labels, values, 0.5)
    with pytest.raises(InvalidArgument, match=message):
        evaluate.aulc(labels, values)


def test_log_area_needs_labels():
    with pytest.raises(InvalidArgument, match="starts without labels"):
        evaluate.aulc([0, 10], [0.1, 0.5], log=True)
