"""The two simplest selections: random items, and the items with the largest scores."""

from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Shaped

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import as_scores, as_size, count

_ROUNDING = 1e-6  # of scores that come from float32 predictions


def random(n: SupportsIndex, k: SupportsIndex, rng: np.random.Generator | int) -> Picks:
    """k of n items, uniformly and without replacement.

    Each item is chosen with the probability k / n.

    Needs: nothing. Cost: O(N). Use: always, as the baseline for every other method; and for the first labels.

    Args:
        n: How many items there are.
        k: How many to choose; more than n gives all, in random order.
        rng: A generator, or a seed.

    Returns:
        The picks, each with the score 0.

    Raises:
        InvalidArgument: n or k is negative or not a whole number.
    """
    items = as_size(n, "n")
    size = count(k, items)
    indices = np.random.default_rng(rng).choice(items, size=size, replace=False)
    return Picks(indices.astype(np.intp), np.zeros(size), {"gap": 0.0})


def top(
    scores: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    ties: Literal["stable", "random"] = "stable",
    rng: np.random.Generator | int | None = None,
) -> Picks:
    """The k items with the largest scores; among equal scores the first items, or random ones.

    S maximises Σ_{i ∈ S} s_i over the sets of k items. On a pool that is sorted by class, take random ties: the first
    items with equal scores may all be of one class.

    Needs: scores. Cost: O(N log N). Use: for one item at a time, or where no two items are alike. Near duplicates are
    chosen together.

    Args:
        scores: Finite scores, shape (N,).
        k: How many to choose; more than N gives all.
        ties: "stable" (the first items with equal scores) or "random" (an order drawn from rng).
        rng: A generator, or a seed; needed for random ties only.

    Returns:
        The picks, largest first. `info["ties"]` counts the items with the score of the last pick, itself included.
        Scores within 1e-6 of the largest score count as equal. Among these items the order of the pool or the last
        digits decided, so another precision or machine may choose otherwise.

    Raises:
        InvalidArgument: The scores are not one-dimensional, or k is negative or not a whole number. Or ties has
            another value, or it is "random" without rng.
        NonFiniteScore: A score is NaN or infinite.
    """
    values = as_scores(scores)
    size = count(k, len(values))
    if ties not in ("stable", "random"):
        raise InvalidArgument(f"ties is 'stable' or 'random', not {ties!r}")
    if ties == "random" and rng is None:
        raise InvalidArgument("random ties need rng, a generator or a seed")
    if size == 0:
        return Picks(np.zeros(0, np.intp), np.zeros(0), {"gap": 0.0, "ties": 0})
    last = np.partition(values, len(values) - size)[len(values) - size]
    above = np.flatnonzero(values > last)
    equal = np.flatnonzero(values == last)
    tied = int(np.count_nonzero(np.abs(values - last) <= _ROUNDING * np.abs(values).max()))
    if ties == "random":
        generator = np.random.default_rng(rng)
        above, equal = generator.permutation(above), generator.permutation(equal)
    above = above[np.argsort(-values[above], kind="stable")]
    indices = np.concatenate([above, equal[: size - len(above)]])
    return Picks(indices, values[indices], {"gap": 0.0, "ties": tied})
