"""From a formula for some rows to the scores of all items."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

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


def finite(scores: Float[Array, "N *spatial"], name: str = "the score") -> Float[Array, "N *spatial"]:
    """Refuse scores that are not finite numbers; a score is never mended.

    Args:
        scores: Scores, shape (N, ...).
        name: The name of a score in the error.

    Returns:
        The same array.

    Raises:
        NonFiniteScore: A score is NaN or infinite.
    """
    xp = namespace(scores)
    good = xp.isfinite(scores)
    if not bool(xp.all(good)):
        at = np.argwhere(~to_numpy(good))[0]
        value = float(to_numpy(scores)[tuple(at)])
        raise NonFiniteScore(f"{name} of item {int(at[0])} is {value}; a score must be a finite number")
    return scores


def check_items(log_probs: Shaped[Array, "..."]) -> None:
    """Refuse log-probabilities of places, for a score that needs one prediction for each item.

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


def warn_of_ties(
    samples: Any, name: str, instead: str = ", or use entropy, margin or least_confidence"
) -> None:
    """Warn that one sample cannot disagree with itself.

    Args:
        samples: Predictions of T samples, shape (N, T, ...).
        name: The acquisition function that was called.
        instead: Other functions to take, for the end of the sentence.
    """
    if tuple(getattr(samples, "shape", ()))[1:2] == (1,):
        warnings.warn(
            f"{name} measures how samples disagree and T is 1: every score is 0, so the order of the pool decides;"
            f" draw more samples{instead}",
            TieBreakWarning,
            stacklevel=3,
        )
