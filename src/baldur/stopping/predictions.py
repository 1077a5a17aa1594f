"""Stop when successive models no longer differ on a fixed set of unlabelled items; no labels are needed."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from baldur.evaluate import cohen_kappa
from baldur.protocols import History
from baldur.stopping.agreement import delta_f, divergence
from baldur.stopping.criterion import Rule, check_number, check_window

Compare = Callable[[NDArray[np.floating], NDArray[np.floating]], float]


def stabilising_predictions(kappa: float = 0.99, window: int = 3) -> Rule:
    """Stop when successive models agree: the mean of Cohen's κ(ŷ_r, ŷ_{r-1}) over the window reaches a level.

    M. Bloodgood and K. Vijay-Shanker, A Method for Stopping Active Learning Based on Stabilizing Predictions and the
    Need for User-Adjustable Stopping, CoNLL 2009.

    Args:
        kappa: The level, in [-1, 1]; smaller stops earlier.
        window: How many comparisons the mean is taken over.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("kappa", kappa, -1, 1)
    check_window(window)

    def why(history: History) -> str:
        mean = float(np.mean(_successive(history, window, _of_labels(cohen_kappa)) or [-np.inf]))
        held = f"predictions are stable: mean kappa {mean:.4f} of {window} comparisons, at least {kappa:g}"
        return held if mean >= kappa else ""

    return Rule(f"stabilising_predictions(kappa={kappa}, window={window})", why, rounds=window + 1)


def classification_change(level: float = 0.0) -> Rule:
    """Stop when (almost) no predicted class of an unlabelled item changed since the round before.

    J. Zhu, H. Wang and E. Hovy, Multi-Criteria-Based Strategy to Stop Active Learning for Data Annotation, COLING 2008.

    Args:
        level: The share of predicted classes that may have changed, in [0, 1]; larger stops earlier.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)

    def why(history: History) -> str:
        changed = _successive(history, 1, _of_labels(lambda a, b: float(np.mean(a != b))))
        said = bool(changed) and changed[0] <= level
        return f"{changed[0]:.2%} of the predicted classes changed, at most {level:g}" if said else ""

    return Rule(f"classification_change(level={level})", why, rounds=2)


def predicted_change_of_f(level: float = 0.05, window: int = 3, positive: int | None = None) -> Rule:
    """Stop when the expected change of F1 is below a level in each comparison of the window.

    ΔF̂ of successive models, `delta_f` (Altschuler & Bloodgood, ICSC 2019).

    Args:
        level: The level of the change, in [0, 1]; larger stops earlier.
        window: How many successive comparisons.
        positive: The positive class; None for the mean over classes. If neither of two successive models predicts it,
            its F1 is unknown, and the trial goes on.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)
    check_window(window)
    if positive is not None:
        check_number("positive", positive, 0)

    def change(first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
        unseen = positive is not None and positive not in first and positive not in second
        return np.inf if unseen else delta_f(first, second, positive)

    def why(history: History) -> str:
        changes = _successive(history, window, _of_labels(change))
        said = bool(changes) and max(changes) < level
        return f"F1 is predicted to change by {max(changes):.4f} at most, below {level:g}" if said else ""

    name = f"predicted_change_of_f(level={level}, window={window}, positive={positive})"
    return Rule(name, why, rounds=window + 1)


def successive_divergence(level: float, window: int = 3) -> Rule:
    """Stop when the divergence of successive models is below a level in each comparison of the window.

    `divergence`: the mean Jensen-Shannon divergence (Lin 1991), 0 for equal predictions and 1 for the most different.
    It compares probabilities, so it also sees changes that leave the predicted classes the same.

    Args:
        level: The level of the divergence, in [0, 1]; larger stops earlier.
        window: How many successive comparisons.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)
    check_window(window)

    def why(history: History) -> str:
        apart = _successive(history, window, divergence)
        said = bool(apart) and max(apart) < level
        return f"successive predictions diverge by {max(apart):.4f} at most, below {level:g}" if said else ""

    return Rule(f"successive_divergence(level={level}, window={window})", why, rounds=window + 1)


def _of_labels(compare: Callable[[NDArray[np.intp], NDArray[np.intp]], float]) -> Compare:
    return lambda first, second: compare(first.argmax(1), second.argmax(1))


def _successive(history: History, window: int, compare: Compare) -> list[float]:
    """The newest comparisons of successive rounds, a whole window of them; none while there are fewer."""
    newest = history.predictions[-window - 1 :]
    if len(newest) <= window or not len(newest[-1]):
        return []
    return [compare(first, second) for first, second in pairwise(newest)]
