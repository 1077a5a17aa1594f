"""Metrics of held-out items, with their uncertainty."""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Integer
from numpy import ndarray

from baldur.errors import InvalidArgument
from baldur.stopping.criterion import check_number


def wilson(share: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of n items: (p + z²/2n ± z √(p (1 - p)/n + z²/4n²)) / (1 + z²/n).

    E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, Journal of the American
    Statistical Association, 1927.

    Args:
        share: p, in [0, 1].
        n: How many items.
        level: The coverage, in (0, 1).

    Returns:
        Lower and upper end.

    Raises:
        InvalidArgument: An argument is out of its domain.
    """
    check_number("a share", share, 0, 1)
    check_number("the number of items", n, 1)
    check_level(level)
    z = NormalDist().inv_cdf((1 + level) / 2)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    ends = ((share + z**2 / (2 * n) + sign * half) / (1 + z**2 / n) for sign in (-1, 1))
    low, high = (min(max(end, 0.0), 1.0) for end in ends)
    return low, high


def held_out_metrics(
    log_probs: Float[ndarray, "N C"], labels: Integer[ndarray, " N"], split: str = "validation"
) -> dict[tuple[str, str], float]:
    """Metrics of held-out items for `target` and `plateau`: accuracy, nll and brier, with standard errors.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).
        split: The name of this part of the data.

    Returns:
        Values by (metric, split): "items", "accuracy", "nll", "nll_se", "brier" and "brier_se".

    Raises:
        InvalidArgument: There are no items, or not one label for each.
    """
    n = len(labels)
    if not n or len(log_probs) != n:
        raise InvalidArgument(f"one label for each of {len(log_probs)} predictions was expected, not {n}")
    own = np.arange(n), labels
    error = np.exp(log_probs, dtype=np.float64)
    error[own] -= 1
    losses = {"nll": -log_probs[own].astype(np.float64), "brier": np.sum(error**2, axis=1)}
    values = {"items": float(n), "accuracy": float(np.mean(log_probs.argmax(1) == labels))}
    for name, each in losses.items():
        finite = n > 1 and bool(np.isfinite(each).all())
        spread = float(np.std(each, ddof=1)) if finite else math.inf
        values |= {name: float(np.mean(each)), f"{name}_se": spread / math.sqrt(n)}
    return {(name, split): value for name, value in values.items()}


def check_level(level: object) -> None:
    """Refuse a number that cannot be the coverage of an interval.

    Args:
        level: The number.

    Raises:
        InvalidArgument: It is not between 0 and 1.
    """
    if not isinstance(level, float) or not 0 < level < 1:
        raise InvalidArgument(f"level lies between 0 and 1, not {level!r}")
