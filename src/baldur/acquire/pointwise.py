"""From a formula for some rows to the scores of all items."""

import warnings
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from baldur.core.arrays import Array, Samples, check_shape, map_samples, namespace, to_numpy
from baldur.errors import InvalidPredictions, NonFiniteScore, TieBreakWarning


def pointwise(
    log_probs: Float[Array, "N T C *spatial"], formula: Callable[[Samples], Float[Array, " R"]]
) -> Float[Array, "N *spatial"]:
    """Check log-probabilities and score each item, or each place of it, by itself; in bounded memory.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...).
        formula: Takes the checked samples of R rows and returns their scores, shape (R,).

    Returns:
        Scores, float64, shape (N, ...), in the caller's namespace and on its device.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: The formula gave NaN or infinity.
    """
    return finite(map_samples(log_probs, formula))


def finite(scores: Float[Array, "N *spatial"]) -> Float[Array, "N *spatial"]:
    """Refuse scores that are not numbers; a score is never mended.

    Args:
        scores: Scores, shape (N, ...).

    Returns:
        The same.

    Raises:
        NonFiniteScore: A score is NaN or infinite.
    """
    xp = namespace(scores)
    good = xp.isfinite(scores)
    if not bool(xp.all(good)):
        at = np.argwhere(~to_numpy(good))[0]
        value = float(to_numpy(scores)[tuple(at)])
        raise NonFiniteScore(f"the score of item {int(at[0])} is {value}; a score must be a finite number")
    return scores


def check_items(log_probs: Float[Array, "N T C"]) -> None:
    """Refuse log-probabilities of places: for scores that need one prediction for an item.

    Args:
        log_probs: Log-probabilities, shape (N, T, C).

    Raises:
        InvalidPredictions: The shape or type does not fit.
    """
    check_shape(log_probs)
    if log_probs.ndim != 3:
        raise InvalidPredictions(
            f"log-probabilities (N, T, C) of items were expected, not the shape {tuple(log_probs.shape)}"
        )


def warn_of_ties(log_probs: Float[Array, "N T C *spatial"], name: str) -> None:
    """Warn that one sample cannot disagree with itself.

    Args:
        log_probs: Log-probabilities, shape (N, T, C, ...).
        name: The acquisition function that was called.
    """
    if tuple(getattr(log_probs, "shape", ()))[1:2] == (1,):
        warnings.warn(
            f"{name} measures how samples disagree and T is 1: every score is 0 and a ranking is pure"
            " tie-break; draw more samples, or use entropy, margin or least_confidence",
            TieBreakWarning,
            stacklevel=3,
        )
