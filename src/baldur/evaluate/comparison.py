"""Is the difference real? Intervals over seeds, paired comparisons, and their correction where there are several.

A median of an even number of values is the mean of the two in the middle, everywhere.

Comparisons use the t-test. With five pairs, a test of ranks or signs has a two-sided p of 2/2⁵ = .0625 at least. Signs
and order statistics decide where no t statistic exists. That is so if all differences are equal, or if a run never
reached its target and counts infinitely many labels. They need six pairs to decide anything at 5 %. Two pairs never
decide: their t-test stands on a single degree of freedom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import bdtr, stdtr, stdtrit

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument
from baldur.evaluate._checks import number, numbers, real, whole

Verdict = Literal["better", "worse", "undecided"]

FEWEST = 3
"""With fewer pairs, nothing is claimed."""

ANYWHERE = (-math.inf, math.inf)


@dataclass(frozen=True)
class Interval:
    """The mean over n seeds, and an interval for the true mean.

    Args:
        mean: The mean.
        low: Lower bound; NaN if there is only one value.
        high: Upper bound; NaN if there is only one value.
        sd: Standard deviation over seeds, of a sample (ddof 1); NaN if there is only one value.
        n: How many seeds.
    """

    mean: float
    low: float
    high: float
    sd: float
    n: int


@dataclass(frozen=True)
class Paired:
    """The difference between A and B over n seeds that both ran.

    Args:
        difference: Mean of A - B; the median where signs decide.
        low: Lower bound of the interval; NaN where none can be given.
        high: Upper bound of the interval; NaN where none can be given.
        p: Two-sided p-value; NaN if there is only one pair.
        n: How many pairs.
        verdict: Whether A is better or worse. It is "undecided" unless the p-value is below 1 - level and there are at
            least three pairs. Undecided does not mean equal: the interval says how large a difference may still be.
        test: "t", or "sign" where no t statistic exists.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    verdict: Verdict
    test: Literal["t", "sign"]


def interval(values: ArrayLike, level: float = 0.95, bounds: tuple[float, float] = ANYWHERE) -> Interval:
    """Mean and t-interval over seeds: mean ± t_(n-1) sd / √n, cut at the bounds of the quantity.

    Args:
        values: One finite number for each seed, shape (n,).
        level: The coverage, in (0, 1).
        bounds: The least and the largest value that the quantity can have: (0, 1) for an accuracy.

    Returns:
        The interval; its bounds are NaN if n is 1.

    Raises:
        InvalidArgument: There are no values, one is not finite or out of bounds, or the level is not in (0, 1).
    """
    x = _values(values, level)
    if not np.isfinite(x).all():
        raise InvalidArgument("a value is infinite, so there is no mean; quantile gives its order statistics")
    least, most = bounds
    if (x < least).any() or (x > most).any():
        raise InvalidArgument(f"values from {least:g} to {most:g} were expected, not {x.tolist()}")
    mean, sd, half = _t_interval(x, level)
    return Interval(mean, *_cut(mean - half, mean + half, bounds), sd, len(x))


def quantile(values: ArrayLike, q: float) -> float:
    """A quantile: on the straight line between the two sorted values around the position q (n - 1).

    So the median of an even number of values is the mean of the two in the middle. Between a finite value and an
    infinite one, it is infinite.

    R. J. Hyndman and Y. Fan, Sample Quantiles in Statistical Packages (definition 7), The American Statistician, 1996.

    Args:
        values: One number for each seed, shape (n,); infinity is allowed.
        q: The quantile, in [0, 1]: 0.5 for the median.

    Returns:
        The quantile; NaN between -∞ and ∞.

    Raises:
        InvalidArgument: There are no values, one is NaN, or q is not in [0, 1].
    """
    x = np.sort(_values(values))
    if not 0 <= number("a quantile", q, -math.inf) <= 1:
        raise InvalidArgument(f"a quantile lies in [0, 1], not {q}")
    position = round(q * (len(x) - 1), 9)  # .07 * 100 is not quite 7
    below, above = x[math.floor(position)], x[math.ceil(position)]
    if below == above:
        return float(below)
    with np.errstate(invalid="ignore"):
        ends = float(below + above)
    return float(below + (position % 1) * (above - below)) if math.isfinite(ends) else ends


def paired(
    a: ArrayLike,
    b: ArrayLike,
    level: float = 0.95,
    larger_is_better: bool = True,
    bounds: tuple[float, float] = ANYWHERE,
) -> Paired:
    """Compare A with B over seeds that both ran, pair by pair.

    t = √n mean(d) / sd(d) with d = a - b. If a value is infinite, or all differences are equal, the sign test and an
    interval of the median replace it. Equal pairs are ties, and so are two infinite values.

    Args:
        a: One number for each seed, shape (n,); infinity is allowed.
        b: The same for B, in the same order of seeds.
        level: The coverage of the interval, in (0, 1); 1 - level is the level of the test.
        larger_is_better: False for losses and numbers of labels.
        bounds: The least and the largest value of the quantity, (0, 1) for an accuracy. They bound the interval.

    Returns:
        The difference, its interval, the p-value and the verdict on A.

    Raises:
        InvalidArgument: The lengths differ, there are no values, one is NaN, or the level is not in (0, 1).
    """
    x, y = _values(a, level), _values(b, level)
    if len(x) != len(y):
        raise InvalidArgument(f"pairs were expected, not {len(x)} values against {len(y)}")
    n = len(x)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return _by_sign(_infinite_difference(x, y), level, larger_is_better)
    d = x - y
    if n == 1:
        return Paired(float(d[0]), math.nan, math.nan, math.nan, 1, "undecided", "t")
    if np.ptp(d) <= 1e-12 * np.max(np.abs([x, y])):
        return _by_sign(d, level, larger_is_better)
    mean, sd, half = _t_interval(d, level)
    t = math.sqrt(n) * mean / sd
    p = float(2 * stdtr(n - 1, -abs(t)))
    low, high = _cut(mean - half, mean + half, (bounds[0] - bounds[1], bounds[1] - bounds[0]))
    return Paired(mean, low, high, p, n, _verdict(mean, p, n, level, larger_is_better), "t")


def holm(p_values: ArrayLike) -> Float[np.ndarray, " m"]:
    """p-values that are corrected for their number: max over j ≤ i of (m - j + 1) p_(j), at most 1, in growing order.

    If each of the m statements holds by chance with the probability p, and those below 5 % are made, then a false one
    is made with a probability of at most 5 %, however the statements depend on each other.

    S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics, 1979.

    Args:
        p_values: One for each comparison, in [0, 1], shape (m,). NaN is no test: it stays, and does not count in m.

    Returns:
        The corrected ones in the same order, in NumPy.

    Raises:
        InvalidArgument: A p-value is not in [0, 1].
    """
    p = real("p_values", p_values).copy()
    if p.ndim != 1 or (p < 0).any() or (p > 1).any():
        raise InvalidArgument(f"p-values in [0, 1] were expected, not {p.tolist()}")
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN comes last
    steps = np.arange(len(order), 0, -1)
    p[order] = np.minimum(np.maximum.accumulate(steps * p[order]), 1)
    return p


def corrected(pairs: Sequence[Paired], level: float = 0.95) -> list[Paired]:
    """Comparisons that are made together, with Holm's p-values and the verdicts that follow from them.

    With one verdict for each strategy against random, at most 5 % of reports without any true difference have one.
    Each interval still holds for its own comparison alone.

    Args:
        pairs: The comparisons.
        level: The level that they were made with; 1 - level bounds the probability of any false verdict.

    Returns:
        The comparisons in the same order.
    """
    counted = [pair.p if pair.n >= FEWEST else math.nan for pair in pairs]
    found = []
    for pair, p in zip(pairs, holm(counted).tolist(), strict=True):
        claimed = pair.verdict if p < 1 - level else "undecided"
        found.append(replace(pair, p=pair.p if math.isnan(p) else p, verdict=claimed))
    return found


def penalty_matrix(values: Float[Array, "M B n"], level: float = 0.95) -> Float[np.ndarray, "M M"]:
    """How often each method is significantly better than each other one, over budgets.

    Entry (i, j) is the share of budgets at which a two-sided paired t-test over seeds finds i better than j. So a small
    column sum is good.

    J. T. Ash, C. Zhang, A. Krishnamurthy, J. Langford and A. Agarwal, Deep Batch Active Learning by Diverse,
    Uncertain Gradient Lower Bounds, ICLR 2020.

    Args:
        values: A metric for which larger is better, shape (methods, budgets, seeds).
        level: 1 - level is the level of each test.

    Returns:
        Shares in [0, 1], shape (methods, methods).

    Raises:
        InvalidArgument: There are no budgets or seeds, a value is NaN, or the level is not in (0, 1).
    """
    values = numbers("values", values, 3, finite=False)
    methods, budgets, _ = values.shape
    if not budgets:
        raise InvalidArgument("there are no budgets at which the methods could be compared")
    wins = np.zeros((methods, methods))
    for i in range(methods):
        for j in range(methods):
            verdicts = [paired(values[i, b], values[j, b], level).verdict for b in range(budgets)]
            wins[i, j] = verdicts.count("better") / budgets
    return wins


def friedman(values: Float[Array, "D M"]) -> tuple[float, float]:
    """Whether methods differ over many data sets: Friedman's χ² of their ranks.

    M. Friedman, The Use of Ranks to Avoid the Assumption of Normality Implicit in the Analysis of Variance,
    Journal of the American Statistical Association, 1937.

    Args:
        values: A metric, or ranks, shape (data sets, methods), with at least three methods.

    Returns:
        χ² and its p-value.

    Raises:
        InvalidArgument: There are fewer than three methods or two data sets, or a value is not finite.
    """
    values = numbers("values", values, 2)
    sets, methods = values.shape
    if methods < 3 or sets < 2:
        raise InvalidArgument(f"at least 2 data sets and 3 methods were expected, not {sets} and {methods}")
    from scipy.stats import friedmanchisquare

    result = friedmanchisquare(*values.T)  # (M, D)
    return float(result.statistic), float(result.pvalue)


def accuracy_half_width(accuracy: float, n: int, level: float = 0.95) -> float:
    """The noise of a test set: half the width of the normal interval of an accuracy, z √(a (1 - a) / n).

    With few errors it is too narrow: with twenty, it holds in 92 % instead of 95 %. `stopping.wilson` holds there, too.

    Args:
        accuracy: The measured accuracy a, in [0, 1].
        n: How many test items.
        level: The coverage, in (0, 1).

    Returns:
        Half the width. To find a smaller difference, compare item by item.

    Raises:
        InvalidArgument: An argument is out of its domain.
    """
    number("accuracy", accuracy, 0, 1)
    number("level", level, 0, 1, inside=True)
    whole("n", n, 1)
    return NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(accuracy * (1 - accuracy) / n)


def _values(values: ArrayLike, level: float = 0.95) -> Float[np.ndarray, " n"]:
    try:
        x = numbers("values", values, 1, finite=False)
    except InvalidArgument as error:
        raise InvalidArgument(f"one number for each seed was expected: {error}") from None
    if not len(x):
        raise InvalidArgument("one number for each seed was expected, but there are none")
    number("level", level, 0, 1, inside=True)
    return x


def _cut(low: float, high: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """An interval within bounds; NaN stays."""
    return max(low, bounds[0]), min(high, bounds[1])


def _t_interval(x: Float[np.ndarray, " n"], level: float) -> tuple[float, float, float]:
    """Mean, standard deviation and half the width of the t-interval."""
    n, mean = len(x), float(np.mean(x))
    if n == 1:
        return mean, math.nan, math.nan
    sd = float(np.std(x, ddof=1))
    return mean, sd, float(stdtrit(n - 1, (1 + level) / 2)) * sd / math.sqrt(n)


def _infinite_difference(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """x - y, where the difference of two equal infinities is 0."""
    same = x == y
    return np.where(same, 0.0, np.where(same, 0.0, x) - np.where(same, 0.0, y))


def _by_sign(d: Float[np.ndarray, " n"], level: float, larger_is_better: bool) -> Paired:
    """The sign test, and the interval between two order statistics that contains the median with the level."""
    n, wins, losses = len(d), int(np.sum(d > 0)), int(np.sum(d < 0))
    p = min(1.0, 2 * float(bdtr(min(wins, losses), wins + losses, 0.5))) if wins + losses else 1.0
    cut = sum(1 for j in range(n // 2) if 2 * bdtr(j, n, 0.5) <= 1 - level)
    ordered = np.sort(d)
    low, high = (float(ordered[cut - 1]), float(ordered[n - cut])) if cut else (math.nan, math.nan)
    verdict = _verdict(wins - losses, p, n, level, larger_is_better)
    return Paired(quantile(d, 0.5), low, high, p, n, verdict, "sign")


def _verdict(difference: float, p: float, n: int, level: float, larger_is_better: bool) -> Verdict:
    if n < FEWEST or p >= 1 - level:
        return "undecided"
    return "better" if (difference > 0) == larger_is_better else "worse"
