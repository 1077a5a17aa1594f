"""Agreement of two models in their predictions for the same items."""

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from baldur.errors import InvalidArgument


def delta_f(
    first: Integer[ndarray, " S"], second: Integer[ndarray, " S"], positive: int | None = None
) -> float:
    """The expected change of F1 from one model to the next, without any label.

    ΔF̂ = 1 - 2a / (2a + b + c). Both models predict a items to be positive, only the first b, and only the second c.
    This is 1 - F1 of the second model, with the first as the truth. For more than two classes it is the mean over the
    classes that either model predicts.

    M. Altschuler and M. Bloodgood, Stopping Active Learning Based on Predicted Change of F Measure for Text
    Classification, ICSC 2019.

    Args:
        first: Class indices, shape (S,).
        second: Class indices of the same items, shape (S,).
        positive: The positive class; None for the mean over classes.

    Returns:
        A number in [0, 1]; 0 where neither model predicts the positive class.

    Raises:
        InvalidArgument: There are no items, or not the same number in both.
    """
    _check(first.shape, second.shape)
    classes = np.union1d(first, second) if positive is None else np.array([positive])
    changes = []
    for c in classes:
        both, either = np.sum((first == c) & (second == c)), np.sum(first == c) + np.sum(second == c)
        changes.append(1 - 2 * both / either if either else 0.0)
    return float(np.mean(changes))


def divergence(first: Float[ndarray, "S C"], second: Float[ndarray, "S C"]) -> float:
    """The mean Jensen-Shannon divergence of two models' predictions, as a share of its largest value.

    (1/S) Σ_i [H((p_i + q_i)/2) - (H(p_i) + H(q_i))/2] / log 2.

    J. Lin, Divergence Measures Based on the Shannon Entropy, IEEE Transactions on Information Theory, 1991.

    Args:
        first: Normalised log-probabilities p, shape (S, C).
        second: Normalised log-probabilities q of the same items, shape (S, C).

    Returns:
        A number in [0, 1].

    Raises:
        InvalidArgument: There are no items, or the shapes differ.
    """
    _check(first.shape, second.shape)
    mixed = np.logaddexp(first, second, dtype=np.float64) - np.log(2)
    apart = entropy(mixed) - (entropy(first) + entropy(second)) / 2  # (S,)
    return float(np.mean(np.clip(apart / np.log(2), 0.0, 1.0)))


def entropy(log_probs: Float[ndarray, "S C"]) -> Float[ndarray, " S"]:
    """-Σ_c p_c log p_c of each item, in nats; 0 log 0 is 0.

    Args:
        log_probs: Normalised log-probabilities, shape (S, C).

    Returns:
        Entropies, float64, shape (S,).
    """
    p = np.exp(log_probs, dtype=np.float64)
    terms: Float[ndarray, "S C"] = p * np.where(p > 0, log_probs, 0.0)
    return np.asarray(-terms.sum(axis=1))


def _check(first: tuple[int, ...], second: tuple[int, ...]) -> None:
    if first != second or not first[0]:
        raise InvalidArgument(
            f"two predictions for the same items were expected, not the shapes {first} and {second}"
        )
