"""Summaries of a learning curve (labels n_r, values a_r), r = 0..R."""

import math
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from baldur.errors import InvalidArgument
from baldur.evaluate._checks import number, numbers

Convention: TypeAlias = Literal["measured", "interpolated", "optimistic"]


def labels_to_target(
    labels: ArrayLike, values: ArrayLike, target: float, convention: Convention = "measured"
) -> float:
    """How many labels it took to reach a value.

    measured: the first n_r with a_r ≥ target; interpolated: on the straight line from round r - 1; optimistic: n_(r-1).
    The last one counts a batch's gain from its first label, as in the BatchBALD paper. If the first point reaches the
    target, all three give n_0.

    Args:
        labels: Label counts, growing, shape (R + 1,).
        values: A metric for which larger is better, shape (R + 1,).
        target: The value to reach.
        convention: "measured", "interpolated" or "optimistic".

    Returns:
        A number of labels; infinity if the target was never reached.

    Raises:
        InvalidArgument: The curve is not a curve, or the convention has another name.
    """
    n, a = _curve(labels, values)
    _level("target", target)
    if convention not in ("measured", "interpolated", "optimistic"):
        raise InvalidArgument(f"convention is 'measured', 'interpolated' or 'optimistic', not {convention!r}")
    reached = np.flatnonzero(a >= target)
    if len(reached) == 0:
        return math.inf
    r = int(reached[0])
    if r == 0 or convention == "measured":
        return float(n[r])
    if convention == "optimistic":
        return float(n[r - 1])
    return float(n[r - 1] + (n[r] - n[r - 1]) * (target - a[r - 1]) / (a[r] - a[r - 1]))


def aulc(labels: ArrayLike, values: ArrayLike, end: float | None = None, log: bool = False) -> float:
    """Area under the learning curve, as a mean height: ∫ a dn / (n_R - n_0) by trapezoids.

    Curves are comparable only over the same numbers of labels, so give them a common `end`.

    Args:
        labels: Label counts, growing, shape (R + 1,).
        values: Any metric, shape (R + 1,).
        end: The label count at which the curve is cut, on the straight line between two rounds; None keeps all.
        log: Whether to integrate over log n, which gives the first labels more weight.

    Returns:
        A number between the smallest and the largest value; the value itself if the curve is one point.

    Raises:
        InvalidArgument: The curve is not a curve, or `end` lies outside it. Or log is given and n_0 is 0.
    """
    n, a = _curve(labels, values)
    if end is not None:
        if not n[0] <= end <= n[-1]:
            raise InvalidArgument(f"the curve has {n[0]:g} to {n[-1]:g} labels and cannot be cut at {end:g}")
        inside = n < end
        n, a = np.append(n[inside], end), np.append(a[inside], np.interp(end, n, a))
    if len(n) == 1:
        return float(a[0])
    if log:
        if n[0] <= 0:
            raise InvalidArgument("a curve that starts without labels has no area over log n")
        n = np.log(n)
    return float(np.sum((a[1:] + a[:-1]) / 2 * np.diff(n)) / (n[-1] - n[0]))


def challenge_score(area: float, chance: float) -> float:
    """The position of an area between guessing and perfection: (A - A_rand) / (1 - A_rand).

    I. Guyon, G. Cawley, G. Dror and V. Lemaire, Results of the Active Learning Challenge, AISTATS Workshop,
    2010.

    Args:
        area: The area under the learning curve A.
        chance: The value of guessing at any number of labels, below 1.

    Returns:
        1 for a curve that is 1 everywhere, 0 for chance.

    Raises:
        InvalidArgument: The area or the chance is not a number, or the chance is not below 1.
    """
    _level("area", area)
    _level("chance", chance)
    if chance >= 1:
        raise InvalidArgument(f"chance must be below 1, not {chance!r}: nothing is better than 1")
    return (area - chance) / (1 - chance)


def data_utilisation_rate(
    labels: ArrayLike,
    values: ArrayLike,
    reference_labels: ArrayLike,
    reference_values: ArrayLike,
    target: float,
    convention: Convention = "measured",
) -> float:
    """The labels needed to reach a value, as a share of the labels that the reference needed.

    M. Culver, D. Kun and S. Scott, Active Learning to Maximize Area Under the ROC Curve, ICDM 2006;
    O. Reyes, A. H. Altalhi and S. Ventura, Statistical Comparisons of Active Learning Strategies over
    Multiple Datasets, Knowledge-Based Systems, 2018.

    Args:
        labels: Label counts, growing, shape (R + 1,).
        values: A metric for which larger is better, shape (R + 1,).
        reference_labels: Label counts of the reference (random), growing.
        reference_values: Its values.
        target: The value to reach.
        convention: As for `labels_to_target`.

    Returns:
        Below 1 where fewer labels were needed. Infinity if only the reference reached the value, 0 if only the curve
        did, and NaN if neither did.

    Raises:
        InvalidArgument: A curve is not a curve, or the convention has another name.
    """
    needed = labels_to_target(labels, values, target, convention)
    reference = labels_to_target(reference_labels, reference_values, target, convention)
    if math.isinf(needed) and math.isinf(reference):
        return math.nan
    return needed / reference if reference else math.nan


def deficiency(values: ArrayLike, reference: ArrayLike, best: float | None = None) -> float:
    """The loss along the curve, as a share of the reference's loss: Σ_r (a* - a_r) / Σ_r (a* - b_r).

    Y. Baram, R. El-Yaniv and K. Luz, Online Choice of Active Learning Algorithms, JMLR 2004.

    Args:
        values: The curve a_r, shape (R + 1,).
        reference: The curve b_r of the reference (random) at the same label counts, shape (R + 1,).
        best: a*, by default the last value of the reference. Values above it give negative terms.

    Returns:
        Below 1 where the loss is smaller than the reference's; NaN if the reference has none.

    Raises:
        InvalidArgument: The curves have different numbers of points, or a value is not finite.
    """
    a, b = _pair(values, reference)
    top = b[-1] if best is None else _level("best", best)
    missed = float(np.sum(top - b))
    return float(np.sum(top - a)) / missed if missed else math.nan


def active_gain(
    values: ArrayLike, reference: ArrayLike, larger_is_better: bool = True
) -> Float[np.ndarray, " R"]:
    """The gain of a curve over the reference at equal numbers of labels: a_r - b_r.

    P. Atighehchian, F. Branchaud-Charron and A. Lacoste, Bayesian Active Learning for Production, a
    Systematic Study and a Reusable Library, arXiv:2006.09916, 2020.

    Args:
        values: The curve a_r, shape (R,).
        reference: The curve b_r of the reference (random) with the same seed, shape (R,).
        larger_is_better: False for losses, whose sign is changed.

    Returns:
        Gains, shape (R,); positive is better.

    Raises:
        InvalidArgument: The curves have different numbers of points, or a value is not finite.
    """
    a, b = _pair(values, reference)
    gain: Float[np.ndarray, " R"] = a - b if larger_is_better else b - a
    return gain


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    a, b = numbers("a curve", first, 1), numbers("a curve", second, 1)
    if len(a) != len(b) or not len(a):
        raise InvalidArgument(
            f"two sequences of one length were expected, not of {len(a)} and {len(b)} numbers"
        )
    return a, b


def _curve(labels: ArrayLike, values: ArrayLike) -> tuple[Float[np.ndarray, " R"], Float[np.ndarray, " R"]]:
    n, a = _pair(labels, values)
    if (np.diff(n) <= 0).any():
        raise InvalidArgument(f"label counts must grow from round to round, not {n.tolist()}")
    return n, a


def _level(name: str, value: float) -> float:
    return number(name, value, -math.inf)
