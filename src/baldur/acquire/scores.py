"""Scores from elsewhere: predicted by a network, or several to be combined."""

from typing import Any, Literal

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped

from baldur.acquire.pointwise import finite
from baldur.core.arrays import Array, namespace
from baldur.errors import InvalidArgument


def learning_loss(predicted_losses: Shaped[Array, "*shape"]) -> Float[Array, " N"]:
    """The loss of an item as a module beside the network predicts it.

    s(x) = l̂(x). Only the ranking has a meaning: the loss that trains the module ignores shift and scale.

    D. Yoo and I. S. Kweon, Learning Loss for Active Learning, CVPR 2019.

    Needs: predicted losses. Cost: O(N). Use: where a loss module was trained beside the network. It needs many labels
    to learn from.

    Args:
        predicted_losses: Outputs of the module, shape (N,) or (N, 1), of a floating type.

    Returns:
        Scores, float64, shape (N,).

    Raises:
        InvalidArgument: The shape or type does not fit.
        NonFiniteScore: A predicted loss is not a finite number.
    """
    xp = namespace(predicted_losses)
    shape = tuple(predicted_losses.shape)
    if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
        raise InvalidArgument(f"predicted losses (N,) or (N, 1) were expected, not the shape {shape}")
    return xp.reshape(_checked(predicted_losses, "the predicted loss"), (-1,))  # (N,)


def combine(
    *scores: Shaped[Array, "*shape"],
    weights: tuple[float, ...] | list[float] | None = None,
    scale: Literal["none", "range", "rank"] = "none",
) -> Float[Array, "*shape"]:
    """The weighted sum of several scores of the same items.

    Σ_i w_i g(s_i), where g is one of three maps. none: the score itself; range: (s - min)/(max - min); rank: the share
    of items with a smaller score, where ties count half. Scores of different units need range or rank; both depend on
    the pool. Where all scores are the same, range gives 0 and rank ½.

    Needs: scores. Cost: O(N), by rank O(N log N). Use: to combine an uncertainty with a density, for example; look
    at the scales first.

    Args:
        scores: Two or more arrays of scores, of the same shape (N, ...).
        weights: One for each array, of any sign; 1 each if not given.
        scale: The map g: "none", "range" or "rank".

    Returns:
        Scores, float64, shape (N, ...).

    Raises:
        InvalidArgument: There are no scores, they do not fit together, or the weights do not fit.
        NonFiniteScore: A score is not a finite number.
    """
    if not scores:
        raise InvalidArgument("at least one array of scores was expected, not none")
    if scale not in ("none", "range", "rank"):
        raise InvalidArgument(f"scale is 'none', 'range' or 'rank', not {scale!r}")
    factors = [1.0] * len(scores) if weights is None else [float(w) for w in weights]
    if len(factors) != len(scores) or not np.isfinite(factors).all():
        raise InvalidArgument(f"{len(scores)} finite weights, one for each score, were expected: {weights}")
    xp = namespace(scores[0])
    here = array_api_compat.device(scores[0])
    total = xp.zeros(scores[0].shape, dtype=xp.float64, device=here)
    for i, (score, factor) in enumerate(zip(scores, factors, strict=True)):
        there = array_api_compat.device(score)
        if namespace(score) is not xp or tuple(score.shape) != tuple(scores[0].shape) or there != here:
            raise InvalidArgument(
                f"scores {i} are {type(score).__name__} {tuple(score.shape)} on {there}; like the first,"
                f" {type(scores[0]).__name__} {tuple(scores[0].shape)} on {here} was expected"
            )
        total = total + factor * _scaled(xp, _checked(score, f"score {i}"), scale)
    return total


def _scaled(xp: Any, scores: Array, scale: str) -> Array:
    if scale == "none" or 0 in scores.shape:
        return scores
    if scale == "range":
        low, high = xp.min(scores), xp.max(scores)
        return (scores - low) / xp.where(high > low, high - low, xp.ones_like(high))
    flat = xp.reshape(scores, (-1,))  # every score in one row
    ordered = xp.sort(flat)
    below = xp.searchsorted(ordered, flat, side="left")
    up_to = xp.searchsorted(ordered, flat, side="right")
    middle = xp.astype(below + up_to, xp.float64) / (2 * flat.shape[0])
    return xp.reshape(middle, scores.shape)  # (N, ...)


def _checked(scores: Array, name: str) -> Float[Array, "..."]:
    xp = namespace(scores)
    if not xp.isdtype(scores.dtype, "real floating"):
        raise InvalidArgument(f"scores of a floating type were expected, not {scores.dtype}")
    return xp.astype(finite(scores, name), xp.float64)
