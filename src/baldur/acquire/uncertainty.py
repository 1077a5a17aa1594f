"""Uncertainty of the mean prediction: scores of one probability vector."""

from typing import Any

import array_api_compat
from jaxtyping import Float

from baldur.acquire.pointwise import pointwise
from baldur.core.arrays import Array, p_log_p


def entropy(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """Entropy of the mean prediction: the whole uncertainty of the label.

    H(p̄) = -Σ_c p̄_c log p̄_c with p̄ = (1/T) Σ_t p_t, in [0, log C].

    C. E. Shannon, A Mathematical Theory of Communication, Bell System Technical Journal, 1948.

    Needs: prediction. Cost: O(N T C). Use: where there is one network, or few items are labelled at a time. It
    also chooses noise that no label removes, so avoid it on pools with noisy labels.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    return pointwise(log_probs, lambda s: s.xp.clip(-s.xp.sum(p_log_p(s.mean), axis=1), min=0.0))


def least_confidence(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """The probability that the most probable class is wrong.

    1 - max_c p̄_c with p̄ = (1/T) Σ_t p_t, in [0, 1 - 1/C].

    D. D. Lewis and W. A. Gale, A Sequential Algorithm for Training Text Classifiers, SIGIR 1994;
    A. Culotta and A. McCallum, Reducing Labeling Effort for Structured Prediction Tasks, AAAI 2005.

    Needs: prediction. Cost: O(N T C). Use: where only the predicted class matters; for two classes it ranks as
    entropy and margin do.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    return pointwise(log_probs, lambda s: s.xp.clip(1.0 - s.xp.max(s.mean, axis=1), min=0.0))


def margin(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """Minus the margin between the two most probable classes, so that a close call has the larger score.

    p̄_(2) - p̄_(1) with p̄ = (1/T) Σ_t p_t and p̄_(1) ≥ p̄_(2) its two largest entries, in [-1, 0].

    T. Scheffer, C. Decomain and S. Wrobel, Active Hidden Markov Models for Information Extraction, IDA 2001.

    Needs: prediction. Cost: O(N T C). Use: where there are many classes and one network; it reads the two largest
    probabilities and ignores the others.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    return pointwise(log_probs, lambda s: _second_less_first(s.mean, s.xp))


def _second_less_first(mean: Float[Array, "R C"], xp: Any) -> Float[Array, " R"]:
    best = xp.argmax(mean, axis=1)[:, None]  # (R, 1)
    others = xp.arange(mean.shape[1], device=array_api_compat.device(mean))[None, :] != best  # (R, C)
    second = xp.max(xp.where(others, mean, xp.zeros_like(mean)), axis=1)
    return second - xp.max(mean, axis=1)
