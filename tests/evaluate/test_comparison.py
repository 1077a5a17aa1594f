import math
from statistics import median

import numpy as np
import pytest
from scipy import stats

from baldur import evaluate
from baldur.errors import InvalidArgument

A = [0.842, 0.851, 0.838, 0.846, 0.849]
B = [0.831, 0.840, 0.836, 0.833, 0.841]
NEVER = math.inf


def test_worked_paired_comparison():
    result = evaluate.paired(A, B)
    assert result.difference == pytest.approx(0.009, abs=1e-12)
    assert (result.low, result.high) == pytest.approx((0.00365940, 0.01434060), abs=1e-8)
    assert result.p == pytest.approx(0.00945561, abs=1e-8)
    assert (result.n, result.verdict, result.test) == (5, "better", "t")
    spread = evaluate.interval(np.subtract(A, B))
    assert spread.sd == pytest.approx(0.00430116, abs=1e-8)
    assert math.sqrt(5) * spread.mean / spread.sd == pytest.approx(4.67887720, abs=1e-7)


def test_the_verdict_turns_with_the_order_and_the_metric():
    assert evaluate.paired(B, A).verdict == "worse"
    assert evaluate.paired(A, B, larger_is_better=False).verdict == "worse"
    assert evaluate.paired(A, B, level=0.995).verdict == "undecided"
    assert evaluate.paired([0.8, 0.7, 0.9], [0.7, 0.8, 0.85]).verdict == "undecided"


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = [evaluate.interval(rng.normal(size=5)) for _ in range(2000)]
    assert np.mean([i.low <= 0 <= i.high for i in found]) == pytest.approx(0.95, abs=0.015)


def test_one_seed_has_no_interval():
    one = evaluate.interval([0.9])
    assert (one.mean, one.n) == (0.9, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert math.isnan(one.sd)
    pair = evaluate.paired([0.9], [0.8])
    assert pair.verdict == "undecided"
    assert math.isnan(pair.p)


def test_differences_without_spread_prove_nothing_by_themselves():
    """t would be infinite: two equal differences would be proof. Signs need six pairs."""
    two = evaluate.paired([0.9, 0.8], [0.8, 0.7])
    assert (two.verdict, two.test, two.p) == ("undecided", "sign", 0.5)
    assert two.difference == pytest.approx(0.1)
    five = evaluate.paired([1.0] * 5, [0.0] * 5)
    assert (five.p, five.verdict) == (0.0625, "undecided")
    assert math.isnan(five.low)
    six = evaluate.paired([1.0] * 6, [0.0] * 6)
    assert (six.p, six.verdict, six.low, six.high) == (0.03125, "better", 1.0, 1.0)


def test_five_pairs_are_too_few_for_ranks_as_well():
    assert stats.wilcoxon([1, 2, 3, 4, 5]).pvalue == pytest.approx(0.0625)
    assert stats.wilcoxon([1, 2, 3, 4, 5, 6]).pvalue == pytest.approx(0.03125)


def test_equal_runs_do_not_differ():
    same = evaluate.paired(A, A)
    assert (same.difference, same.p, same.verdict) == (0, 1, "undecided")


def test_targets_never_reached_are_compared_by_sign():
    """Fewer labels are better; where both never got there they are equal."""
    result = evaluate.paired(
        [60, 70, 60, 80, 60, 70, 50], [90, NEVER, 80, NEVER, 90, 80, 70], larger_is_better=False
    )
    assert (result.test, result.verdict, result.difference) == ("sign", "better", -30)
    assert result.p == pytest.approx(2 / 2**7)
    assert (result.low, result.high) == (-NEVER, -10)
    both = evaluate.paired([NEVER, 50], [NEVER, 60], larger_is_better=False)
    assert (both.n, both.p) == (2, 1.0)


def test_the_sign_test_is_that_of_scipy():
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 4, size=9).astype(float), rng.integers(0, 4, size=9).astype(float)
        a[0], b[0] = NEVER, 1
        wins, losses = int((a > b).sum()), int((a < b).sum())
        assert evaluate.paired(a, b).p == pytest.approx(stats.binomtest(wins, wins + losses).pvalue)


def test_quantiles_may_be_infinite():
    values = [80, 60, NEVER, 70, NEVER]
    assert [evaluate.quantile(values, q) for q in (0, 0.25, 0.5, 0.75, 1)] == [60, 70, 80, NEVER, NEVER]
    assert evaluate.quantile([60, NEVER], 0.5) == NEVER
    assert evaluate.quantile([-NEVER, 5], 0.5) == -NEVER
    assert math.isnan(evaluate.quantile([-NEVER, NEVER], 0.5))


@pytest.mark.parametrize("n", range(1, 13))
def test_a_median_is_that_of_statistics_for_every_number_of_seeds(n):
    """It was the lower of the two in the middle for 2, 6 and 10 seeds, and the upper one for 4 and 8."""
    x = np.random.default_rng(n).permutation(np.arange(n, dtype=np.float64) ** 2)
    assert evaluate.quantile(x, 0.5) == median(x)
    for q in (0.0, 0.07, 0.25, 0.5, 0.75, 1.0):
        assert evaluate.quantile(x, q) == pytest.approx(np.quantile(x, q))
        assert evaluate.quantile(-x, 1 - q) == pytest.approx(-evaluate.quantile(x, q))


def test_two_seeds_claim_nothing():
    assert evaluate.paired([0.9, 0.8001], [0.5, 0.4]).p < 0.05
    assert evaluate.paired([0.9, 0.8001], [0.5, 0.4]).verdict == "undecided"


def test_an_interval_stays_where_the_quantity_can_be():
    values = [0.999, 0.97, 0.91]
    assert evaluate.interval(values).high > 1
    assert evaluate.interval(values, bounds=(0, 1)).high == 1
    assert evaluate.interval([0.001, 0.02, 0.09], bounds=(0, 1)).low == 0
    assert math.isnan(evaluate.interval([0.9], bounds=(0, 1)).high)
    apart = evaluate.paired([0.999, 0.1, 0.7], [0.001, 0.5, 0.1], bounds=(0, 1))
    assert (apart.low, apart.high) == (-1, 1)
    with pytest.raises(InvalidArgument, match="values from 0 to 1 were expected"):
        evaluate.interval([90.0], bounds=(0, 1))


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("mean", [0.8, 0.95, 0.99])
def test_an_interval_of_accuracies_holds_the_truth_as_often_as_it_says(n, mean):
    """Accuracies of runs: a beta distribution between 0 and 1 that is skew near 1."""
    sd = 0.25 * (1 - mean)
    size = mean * (1 - mean) / sd**2 - 1
    x = np.random.default_rng(0).beta(mean * size, (1 - mean) * size, (4000, n))
    found = [evaluate.interval(row, bounds=(0, 1)) for row in x]
    assert all(0 <= i.low <= i.high <= 1 for i in found)
    assert np.mean([i.low <= mean <= i.high for i in found]) >= 0.94


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("shift", [0.0, 0.03])
def test_the_interval_of_a_difference_holds_the_truth_as_often_as_it_says(n, shift):
    rng = np.random.default_rng(n)
    seed = rng.normal(size=(2000, n))
    a, b = seed + shift + rng.normal(size=(2000, n)), seed + rng.normal(size=(2000, n))
    found = [evaluate.paired(x, y) for x, y in zip(a, b, strict=True)]
    assert np.mean([pair.low <= shift <= pair.high for pair in found]) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("n", [6, 9, 15])
def test_the_interval_of_signs_holds_the_median_at_least_as_often_as_it_says(n):
    """Numbers of labels, some of which are infinite: the median of the difference is 0 by symmetry."""
    rng = np.random.default_rng(n)
    needed = 20 + 10 * rng.gamma(2, 3, (2, 1000, n))
    needed[rng.random(needed.shape) < 0.2] = math.inf
    found = [evaluate.paired(x, y) for x, y in zip(*needed, strict=True)]
    signs = [pair for pair in found if pair.test == "sign"]
    assert len(signs) > 700
    assert np.mean([pair.low <= 0 <= pair.high for pair in signs]) >= 0.95
    assert np.mean([pair.verdict != "undecided" for pair in found]) <= 0.05


@pytest.mark.parametrize(("accuracy", "n"), [(0.5, 100), (0.9, 500), (0.95, 1000)])
def test_the_noise_of_a_test_set_is_as_large_as_is_said(accuracy, n):
    right = np.random.default_rng(0).binomial(n, accuracy, 4000) / n
    half = [evaluate.accuracy_half_width(a, n) for a in right]
    assert np.mean(np.abs(right - accuracy) <= half) >= 0.93


def test_holm_is_that_of_the_textbook():
    """By hand: .01, .03 and .04 of three become .03, .06 and .06."""
    assert evaluate.holm([0.04, 0.01, 0.03]).tolist() == pytest.approx([0.06, 0.03, 0.06])
    assert evaluate.holm([0.5]).tolist() == [0.5]
    assert evaluate.holm([0.9, 0.8]).tolist() == [1, 1]
    with_hole = evaluate.holm([0.04, math.nan, 0.01])
    assert with_hole[[0, 2]].tolist() == pytest.approx([0.04, 0.02])
    assert math.isnan(with_hole[1])
    assert evaluate.holm([]).tolist() == []
    with pytest.raises(InvalidArgument, match=r"p-values in \[0, 1\]"):
        evaluate.holm([1.5])


def test_a_mean_of_infinity_is_refused():
    with pytest.raises(InvalidArgument, match="quantile"):
        evaluate.interval([60, NEVER])


@pytest.mark.parametrize("values", [[], [[0.5]], [math.nan]])
def test_values_are_one_number_a_seed(values):
    with pytest.raises(InvalidArgument, match="one number for each seed"):
        evaluate.interval(values)


def test_what_cannot_be_compared():
    with pytest.raises(InvalidArgument, match="5 values against 4"):
        evaluate.paired(A, B[:4])
    with pytest.raises(InvalidArgument, match="level"):
        evaluate.paired(A, B, level=95)
    with pytest.raises(InvalidArgument, match="quantile lies in"):
        evaluate.quantile(A, 95)


def test_penalty_matrix():
    """The paired t-test at 5 % and four degrees of freedom: critical value 2.776."""
    values = np.array([[A, A], [B, A]])
    assert evaluate.penalty_matrix(values).tolist() == [[0, 0.5], [0, 0]]
    pattern = np.array([-1, -0.5, 0, 0.5, 1])
    for t, wins in ((2.77, 0), (2.78, 1)):
        shift = t * pattern.std(ddof=1) / math.sqrt(5)
        assert evaluate.penalty_matrix(np.array([[pattern + shift], [np.zeros(5)]]))[0, 1] == wins


def test_friedman():
    ranks = np.array([[1, 2, 3], [1, 3, 2], [1, 2, 3], [2, 1, 3], [1, 2, 3]], np.float64)
    assert evaluate.friedman(ranks) == pytest.approx((6.4, 0.04076220), abs=1e-8)
    with pytest.raises(InvalidArgument, match="3 methods"):
        evaluate.friedman(ranks[:, :2])


def test_noise_of_a_test_set():
    assert evaluate.accuracy_half_width(0.90, 10_000) == pytest.approx(0.00588, abs=5e-6)
    assert evaluate.accuracy_half_width(0.95, 10_000) == pytest.approx(0.00427, abs=5e-6)
    with pytest.raises(InvalidArgument):
        evaluate.accuracy_half_width(90, 10_000)


KINDS = {
    "normal": lambda rng, shape: 0.8 + 0.02 * rng.normal(size=shape),
    "skew": lambda rng, shape: rng.beta(19, 1, shape),
    "coarse": lambda rng, shape: rng.binomial(50, 0.9, shape) / 50,
    "sometimes fails": lambda rng, shape: (
        0.8 + 0.02 * rng.normal(size=shape) - 0.3 * (rng.random(shape) < 0.1)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_without_a_true_difference_a_report_rarely_has_a_verdict(kind, seeds):
    """Eight strategies that are as good as random: 27 % of the reports had a verdict before Holm's correction."""
    reports, rng = 500, np.random.default_rng(seeds)
    shared = 0.01 * rng.normal(size=(reports, 1, seeds))  # a seed has its own initial labels
    areas = shared + KINDS[kind](rng, (reports, 9, seeds))
    pairs = [[evaluate.paired(a, report[0]) for a in report[1:]] for report in areas]
    for strategies in (1, 3, 8):
        told = [evaluate.corrected(each[:strategies]) for each in pairs]
        false = np.mean([any(pair.verdict != "undecided" for pair in each) for each in told])
        assert false <= 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / reports), strategies


def verdicts(areas, baseline):
    return [pair.verdict for pair in evaluate.corrected([evaluate.paired(a, baseline) for a in areas])]


def test_large_differences_are_found_all_the_same():
    rng = np.random.default_rng(0)
    found = [
        verdicts(rng.normal(size=(3, 5)) + np.array([[5], [0], [-5]]), rng.normal(size=5)) for _ in range(200)
    ]
    assert [
        np.mean([f[i] == word for f in found]) > 0.8
        for i, word in enumerate(["better", "undecided", "worse"])
    ]


def test_the_correction_keeps_intervals_and_leaves_out_what_is_no_test():
    two, five = evaluate.paired(A[:2], B[:2]), evaluate.paired(A, B)
    again = evaluate.corrected([two, five])
    assert again == [two, five]
    three = evaluate.corrected([five, five, evaluate.paired(A, A)])
    assert [pair.p for pair in three] == pytest.approx([3 * five.p, 3 * five.p, 1])
    assert (three[0].low, three[0].verdict) == (five.low, "better")
    many = evaluate.corrected([five] * 8)
    assert {pair.verdict for pair in many} == {"undecided"}
