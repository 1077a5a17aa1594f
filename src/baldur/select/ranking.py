"""The two simplest selections: any k items, and the k best."""

import operator
from typing import Any, Literal, SupportsIndex

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument, NonFiniteScore
from baldur.protocols import Picks

_ROUNDING = 1e-6  # of scores that come from float32 predictions


def random(n: SupportsIndex, k: SupportsIndex, rng: np.random.Generator | int) -> Picks:
    """k of n items, uniformly and without replacement.

    Each item is among them with the probability k / n.

    Needs: nothing. Cost: O(N). Use: always, as the baseline that everything else has to beat; and for the very
    first labels.

    Args:
        n: How many items there are.
        k: How many to choose; more than n gives all, in random order.
        rng: A generator, or a seed.

    Returns:
        The picks, each with the score 0.

    Raises:
        InvalidArgument: n or k is negative or not a whole number.
    """
    items = as_size("n", n)
    count = min(as_size("k", k), items)
    indices = np.random.default_rng(rng).choice(items, size=count, replace=False)
    return Picks(indices.astype(np.intp), np.zeros(count), {"gap": 0.0})


def top(
    scores: Shaped[Array, "..."],
    k: SupportsIndex,
    ties: Literal["stable", "random"] = "stable",
    rng: np.random.Generator | int | None = None,
) -> Picks:
    """The k items with the largest scores; of equal ones those that come first, or any.

    S maximises Σ_{i ∈ S} s_i over the sets of k items. On a pool that is sorted by class, the first of equal ones
    are all of one class; random ties are not.

    Needs: scores. Cost: O(N log N). Use: for one item at a time, or where no two items are alike: near
    duplicates are chosen together.

    Args:
        scores: Finite scores, shape (N,).
        k: How many to choose; more than N gives all.
        ties: "stable" (the first of equal ones) or "random" (in an order drawn from rng).
        rng: A generator, or a seed; needed for random ties only.

    Returns:
        The picks, largest first. `info["ties"]` says how many items, chosen or not, have the score of the last
        pick (itself included) within rounding, 1e-6 of the largest: of those, the order of the pool or the last
        digits of the scores decided, which another precision or machine may give otherwise.

    Raises:
        InvalidArgument: The scores are not one-dimensional, k is negative or not a whole number, ties is
            neither, or it is "random" without rng.
        NonFiniteScore: A score is NaN or infinite.
    """
    values = as_scores(scores)
    count = min(as_size("k", k), len(values))
    if ties not in ("stable", "random"):
        raise InvalidArgument(f"ties is 'stable' or 'random', not {ties!r}")
    if ties == "random" and rng is None:
        raise InvalidArgument("random ties need rng, a generator or a seed")
    if count == 0:
        return Picks(np.zeros(0, np.intp), np.zeros(0), {"gap": 0.0, "ties": 0})
    last = np.partition(values, len(values) - count)[len(values) - count]
    above = np.flatnonzero(values > last)
    equal = np.flatnonzero(values == last)
    tied = int(np.count_nonzero(np.abs(values - last) <= _ROUNDING * np.abs(values).max()))
    if ties == "random":
        generator = np.random.default_rng(rng)
        above, equal = generator.permutation(above), generator.permutation(equal)
    above = above[np.argsort(-values[above], kind="stable")]
    indices = np.concatenate([above, equal[: count - len(above)]])
    return Picks(indices, values[indices], {"gap": 0.0, "ties": tied})


def as_scores(scores: Shaped[Array, "..."]) -> NDArray[np.float64]:
    """Scores as NumPy, checked.

    Args:
        scores: What was given.

    Returns:
        The scores, float64, shape (N,).

    Raises:
        InvalidArgument: They are not one-dimensional, or no real numbers.
        NonFiniteScore: A score is NaN or infinite.
    """
    given = to_numpy(scores)
    if given.ndim != 1 or given.dtype.kind not in "fiub":
        raise InvalidArgument(f"scores (N,) were expected, not {given.dtype} of the shape {given.shape}")
    values = given.astype(np.float64, copy=False)
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argmin(finite))
        raise NonFiniteScore(f"the score of item {first} is {values[first]}; a score must be a finite number")
    return values


def as_size(name: str, value: Any) -> int:
    """A count, checked.

    Args:
        name: What the argument is called.
        value: What was given.

    Returns:
        The count.

    Raises:
        InvalidArgument: It is negative or not a whole number.
    """
    try:
        size = operator.index(value)
    except TypeError:
        size = -1
    if size < 0:
        raise InvalidArgument(f"{name} is a whole number that is not negative, not {value!r}")
    return size
