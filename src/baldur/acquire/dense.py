"""One score for an item with many places: pixels, boxes, tokens."""

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped

from baldur.core.arrays import Array, namespace, same_device, to_numpy
from baldur.core.blocks import blocks, room
from baldur.errors import InvalidArgument, NonFiniteScore

_CPU_BLOCK = 2**18

Formula: TypeAlias = Callable[[Any, Array, Array], Array]
"""Takes the namespace, scores (R, P) and a mask of the valid ones; returns scores (R,)."""


def aggregate(
    scores: Float[Array, "N *places"],
    mask: Shaped[Array, "N *places"] | None = None,
    how: Literal["mean", "sum", "max", "top", "quantile"] = "mean",
    q: float | None = None,
    empty: float | None = None,
) -> Float[Array, " N"]:
    """One score for an item from the scores of its places.

    Over the valid places V: their mean, sum or max; top: the mean of the ⌈q|V|⌉ largest; quantile: the q-quantile,
    interpolated between two places. A sum favours large items, a maximum favours outliers, and top small objects.

    Needs: scores of places. Cost: O(N P), top and quantile O(N P log P). Use: for segmentation, detection and
    sequences: mean in general, top for rare or small objects.

    Args:
        scores: Scores of places, shape (N, ...): pixels, detections or tokens.
        mask: Which places are valid, bool, of the same shape; all if not given. Invalid places may hold any value.
        how: "mean", "sum", "max", "top" or "quantile".
        q: For top the share of places, in (0, 1], 0.1 if not given; for quantile in [0, 1], 0.9 if not given.
        empty: The score of an item without a valid place, such as an image without detections. If it is not given,
            such an item is an error.

    Returns:
        Scores, float64, shape (N,).

    Raises:
        InvalidArgument: The mask does not fit, how or q is out of its domain, or an item has no valid place.
        NonFiniteScore: The score of a valid place is not a finite number.
    """
    return _over_places(scores, mask, empty, _reduction(how, q))


def class_balanced(
    scores: Float[Array, "N *places"],
    classes: Shaped[Array, "N *places"],
    mask: Shaped[Array, "N *places"] | None = None,
    empty: float | None = None,
) -> Float[Array, " N"]:
    """The mean over an item's predicted classes of the mean score inside each: small objects count as large ones.

    (1/|K|) Σ_{c in K} (1/|V_c|) Σ_{i in V_c} u_i, with V_c the valid places of class c and K the classes present.

    Needs: scores of places, predicted classes. Cost: O(N P K). Use: for segmentation, where the background would
    otherwise outweigh small objects.

    Args:
        scores: Scores of places, shape (N, ...).
        classes: The predicted class of each place, integers of the same shape.
        mask: Which places are valid, bool, of the same shape; all if not given.
        empty: The score of an item without a valid place; if it is not given, such an item is an error.

    Returns:
        Scores, float64, shape (N,).

    Raises:
        InvalidArgument: The classes or the mask do not fit, or an item has no valid place.
        NonFiniteScore: The score of a valid place is not a finite number.
    """
    xp = namespace(scores)
    _check_like(scores, classes, "classes", "integral")
    mean = _reduction("mean", None)
    whole = _over_places(scores, mask, empty, mean)
    valid = classes == classes if mask is None else mask
    count, total = xp.zeros_like(whole), xp.zeros_like(whole)
    for c in np.unique(to_numpy(classes)[to_numpy(valid)]).tolist():
        inside = valid & (classes == c)
        count = count + xp.astype(_any_place(xp, inside), xp.float64)
        total = total + _over_places(scores, inside, 0.0, mean)
    return xp.where(count > 0, total / xp.clip(count, min=1.0), whole)


def area(
    scores: Float[Array, "N *places"],
    threshold: float,
    mask: Shaped[Array, "N *places"] | None = None,
    empty: float | None = None,
) -> Float[Array, " N"]:
    """The share of an item's places whose score is above a threshold.

    |{i in V : u_i > τ}| / |V|, in [0, 1].

    Needs: scores of places. Cost: O(N P). Use: where the threshold has a meaning, such as a score from
    which on a person has to look.

    Args:
        scores: Scores of places, shape (N, ...).
        threshold: τ, in the unit of the scores.
        mask: Which places are valid, bool, of the same shape; all if not given.
        empty: The score of an item without a valid place; if it is not given, such an item is an error.

    Returns:
        Scores, float64, shape (N,).

    Raises:
        InvalidArgument: The mask does not fit, or an item has no valid place.
        NonFiniteScore: The score of a valid place is not a finite number.
    """

    def formula(xp: Any, u: Array, valid: Array) -> Array:
        above = xp.astype((u > threshold) & valid, xp.float64)
        return xp.sum(above, axis=1) / _count(xp, valid)

    return _over_places(scores, mask, empty, formula)


def _reduction(how: str, q: float | None) -> Formula:
    if how == "mean":
        return lambda xp, u, valid: xp.sum(u, axis=1) / _count(xp, valid)
    if how == "sum":
        return lambda xp, u, valid: xp.sum(u, axis=1)
    if how == "max":
        return lambda xp, u, valid: xp.max(xp.where(valid, u, -xp.inf), axis=1)
    if how == "top":
        share = 0.1 if q is None else q
        if not 0 < share <= 1:
            raise InvalidArgument(f"the share q of the largest scores is in (0, 1], not {share}")
        return lambda xp, u, valid: _mean_of_largest(xp, u, valid, share)
    if how == "quantile":
        level = 0.9 if q is None else q
        if not 0 <= level <= 1:
            raise InvalidArgument(f"the quantile q is in [0, 1], not {level}")
        return lambda xp, u, valid: _quantile(xp, u, valid, level)
    raise InvalidArgument(f"how is 'mean', 'sum', 'max', 'top' or 'quantile', not {how!r}")


def _count(xp: Any, valid: Array) -> Array:
    return xp.clip(xp.sum(xp.astype(valid, xp.float64), axis=1), min=1.0)


def _mean_of_largest(xp: Any, u: Array, valid: Array, share: float) -> Array:
    ordered = xp.sort(xp.where(valid, u, -xp.inf), axis=1, descending=True)
    # 0.1 · 30 is slightly more than 3 in floating point, but its ceiling must be 3.
    many = xp.ceil(share * _count(xp, valid) * (1 - 1e-12))
    rank = xp.arange(u.shape[1], device=array_api_compat.device(u))
    taken = rank[None, :] < many[:, None]  # (R, P)
    return xp.sum(xp.where(taken, ordered, xp.zeros_like(ordered)), axis=1) / many


def _quantile(xp: Any, u: Array, valid: Array, level: float) -> Array:
    ordered = xp.sort(xp.where(valid, u, xp.inf), axis=1)
    at = level * (_count(xp, valid) - 1)
    below, above = xp.floor(at), xp.ceil(at)
    index = xp.astype(xp.stack([below, above], axis=1), xp.int64)  # (R, 2)
    both = xp.take_along_axis(ordered, index, axis=1)
    low, high = both[:, 0], both[:, 1]
    return xp.where(below == above, low, low + (high - low) * (at - below))


def _over_places(scores: Array, mask: Array | None, empty: float | None, formula: Formula) -> Array:
    """The formula over the valid places, for a block of items at a time; it gets 0 for the other places."""
    xp = namespace(scores)
    if scores.ndim < 2 or not xp.isdtype(scores.dtype, "real floating"):
        raise InvalidArgument(
            f"scores (N, ...) of a floating type were expected, not {tuple(scores.shape)} of {scores.dtype}"
        )
    if mask is not None:
        _check_like(scores, mask, "mask", "bool")
    if empty is not None and not math.isfinite(empty):
        raise InvalidArgument(f"the score of an empty item is a finite number, not {empty}")
    device = array_api_compat.device(scores)
    places = int(np.prod(scores.shape[1:]))
    parts = [xp.zeros(0, dtype=xp.float64, device=device)]
    for items in blocks(scores.shape[0], places, room(scores, _CPU_BLOCK)):
        u = xp.reshape(scores[items, ...], (items.stop - items.start, places))  # (R, P)
        u = xp.astype(u, xp.float64)
        if mask is None:
            valid = xp.ones(u.shape, dtype=xp.bool, device=device)
        else:
            valid = xp.reshape(mask[items, ...], u.shape)  # (R, P)
        _refuse(xp, u, valid, items.start)
        here = xp.any(valid, axis=1)
        if empty is None and not bool(xp.all(here)):
            first = items.start + int(np.argmin(to_numpy(here)))
            raise InvalidArgument(
                f"item {first} has no valid place; leave it out, or give the score of such an item by empty=..."
            )
        u = xp.where(valid, u, xp.zeros_like(u))
        if places == 0:
            parts.append(xp.ones(u.shape[0], dtype=xp.float64, device=device) * empty)
            continue
        result = formula(xp, u, valid)
        parts.append(result if empty is None else xp.where(here, result, xp.ones_like(result) * empty))
    return xp.concat(parts, axis=0)


def _any_place(xp: Any, inside: Array) -> Array:
    places = int(np.prod(inside.shape[1:]))
    return xp.any(xp.reshape(inside, (inside.shape[0], places)), axis=1)  # (N,)


def _refuse(xp: Any, u: Array, valid: Array, start: int) -> None:
    bad = valid & ~xp.isfinite(u)
    if bool(xp.any(bad)):
        n, place = (int(i) for i in np.argwhere(to_numpy(bad))[0])
        value = float(to_numpy(u)[n, place])
        raise NonFiniteScore(
            f"the score of item {start + n} at place {place} is {value}; a score must be a finite number"
        )


def _check_like(scores: Array, x: Array, name: str, kind: str) -> None:
    xp = namespace(scores)
    if namespace(x) is not xp or tuple(x.shape) != tuple(scores.shape) or not xp.isdtype(x.dtype, kind):
        raise InvalidArgument(
            f"{name} like the scores was expected, {type(scores).__name__} {tuple(scores.shape)} of kind {kind},"
            f" not {type(x).__name__} {tuple(x.shape)} of {x.dtype}"
        )
    same_device(**{name: x, "scores": scores})
