"""Is the difference real? Intervals over seeds and paired comparisons.

Comparisons use the t-test. With five pairs, a test of ranks or signs has a two-sided p of 2/2⁵ = .0625 at least. Signs
and order statistics decide where no t statistic exists. That is so if all differences are equal, or if a run never
reached its target and counts infinitely many labels. They need six pairs to decide anything at 5 %.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.special import bdtr, stdtr, stdtrit

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument


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
        verdict: Whether A is better or worse; "undecided" unless the p-value is below 1 - level.
        test: "t", or "sign" where no t statistic exists.
    """

    difference: float
    low: float
    high: float
    p: float
    n: int
    verdict: Literal["better", "worse", "undecided"]
    test: Literal["t", "sign"]


def interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean and t-interval over seeds: mean ± t_(n-1) sd / √n.

    Args:
        values: One finite number for each seed, shape (n,).
        level: The coverage, in (0, 1).

    Returns:
        The interval; its bounds are NaN if n is 1.

    Raises:
        InvalidArgument: There are no values, one is not finite, or the level is not in (0, 1).
    """
    x = _values(values, level)
    if not np.isfinite(x).all():
        raise InvalidArgument("a value is infinite, so there is no mean; quantile gives its order statistics")
    mean, sd, half = _t_interval(x, level)
    return Interval(mean, mean - half, mean + half, sd, len(x))


def quantile(values: ArrayLike, q: float) -> float:
    """The order statistic nearest to a quantile. It is one of the values, and may be infinite.

    Args:
        values: One number for each seed, shape (n,).
        q: The quantile, in [0, 1]: 0.5 for the median.

    Returns:
        The value at the position round(q (n - 1)) of the sorted ones.

    Raises:
        InvalidArgument: There are no values, one is NaN, or q is not in [0, 1].
    """
    x = np.sort(_values(values))
    if not 0 <= q <= 1:
        raise InvalidArgument(f"a quantile lies in [0, 1], not {q}")
    return float(x[int(np.rint(q * (len(x) - 1)))])


def paired(a: ArrayLike, b: ArrayLike, level: float = 0.95, larger_is_better: bool = True) -> Paired:
    """Compare A with B over seeds that both ran, pair by pair.

    t = √n mean(d) / sd(d) with d = a - b. If a value is infinite, or all differences are equal, the sign test and an
    interval of the median replace it. Equal pairs are ties, and so are two infinite values.

    Args:
        a: One number for each seed, shape (n,); infinity is allowed.
        b: The same for B, in the same order of seeds.
        level: The coverage of the interval, in (0, 1); 1 - level is the level of the test.
        larger_is_better: False for losses and numbers of labels.

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
    return Paired(mean, mean - half, mean + half, p, n, _verdict(mean, p, level, larger_is_better), "t")


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
        InvalidArgument: There are no seeds, a value is NaN, or the level is not in (0, 1).
    """
    methods, budgets, _ = values.shape
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
        InvalidArgument: There are fewer than three methods or two data sets.
    """
    sets, methods = values.shape
    if methods < 3 or sets < 2:
        raise InvalidArgument(f"at least 2 data sets and 3 methods were expected, not {sets} and {methods}")
    from scipy.stats import friedmanchisquare

    result = friedmanchisquare(*np.asarray(values).T)  # (M, D)
    return float(result.statistic), float(result.pvalue)


def accuracy_half_width(accuracy: float, n: int, level: float = 0.95) -> float:
    """The noise of a test set: half the width of the normal interval of an accuracy, z √(a (1 - a) / n).

    Args:
        accuracy: The measured accuracy a, in [0, 1].
        n: How many test items.
        level: The coverage, in (0, 1).

    Returns:
        Half the width. To find a smaller difference, compare item by item.

    Raises:
        InvalidArgument: An argument is out of its domain.
    """
    if not (0 <= accuracy <= 1 and n > 0 and 0 < level < 1):
        raise InvalidArgument(f"no accuracy {accuracy} of {n} items has an interval of level {level}")
    return NormalDist().inv_cdf((1 + level) / 2) * math.sqrt(accuracy * (1 - accuracy) / n)


def _values(values: ArrayLike, level: float = 0.95) -> Float[np.ndarray, " n"]:
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or len(x) == 0 or np.isnan(x).any():
        raise InvalidArgument(f"one number for each seed was expected, not {x.tolist()}")
    if not 0 < level < 1:
        raise InvalidArgument(f"a level lies between 0 and 1, not {level}")
    return x


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
    verdict = _verdict(wins - losses, p, level, larger_is_better)
    return Paired(quantile(d, 0.5), low, high, p, n, verdict, "sign")


def _verdict(
    difference: float, p: float, level: float, larger_is_better: bool
) -> Literal["better", "worse", "undecided"]:
    if p >= 1 - level:
        return "undecided"
    return "better" if (difference > 0) == larger_is_better else "worse"
