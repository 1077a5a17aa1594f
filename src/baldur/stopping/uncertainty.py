"""Stop when the model is sure of the remaining items."""

import numpy as np
from numpy.typing import NDArray

from baldur.protocols import History
from baldur.stopping.agreement import entropy
from baldur.stopping.criterion import Rule, check_number


def overall_uncertainty(level: float = 0.05) -> Rule:
    """Stop when the mean normalised entropy of the unlabelled items is below a level.

    (1/S) Σ_i H(p̄_i) / log C. An overconfident network reaches it long before it is right.

    J. Zhu, H. Wang, E. Hovy and M. Ma, Confidence-Based Stopping Criteria for Active Learning for Data Annotation, ACM
    Transactions on Speech and Language Processing, 2010.

    Args:
        level: The level of the entropy, in [0, 1]; larger stops earlier.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)

    def why(history: History) -> str:
        newest = _newest(history)
        if newest is None:
            return ""
        mean = float(np.mean(entropy(newest))) / np.log(newest.shape[1])
        return (
            f"mean normalised entropy {mean:.4f} of unlabelled items, below {level:g}" if mean < level else ""
        )

    return Rule(f"overall_uncertainty(level={level})", why, rounds=1)


def minimum_expected_error(level: float) -> Rule:
    """Stop when the error that the model itself expects on the unlabelled items is below a level.

    (1/S) Σ_i (1 - max_c p̄_ic).

    J. Zhu, H. Wang and E. Hovy, Learning a Stopping Criterion for Active Learning for Word Sense Disambiguation and
    Text Classification, IJCNLP 2008.

    Args:
        level: The level of the error, in [0, 1]; larger stops earlier.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)

    def why(history: History) -> str:
        newest = _newest(history)
        if newest is None:
            return ""
        mean = 1 - float(np.mean(np.exp(newest.max(axis=1), dtype=np.float64)))
        return f"expected error {mean:.4f} on unlabelled items, below {level:g}" if mean < level else ""

    return Rule(f"minimum_expected_error(level={level})", why, rounds=1)


def max_uncertainty(level: float) -> Rule:
    """Stop when the highest score of a batch is below a level.

    max_i s_i over the batch just labelled, in the unit of the strategy's own score. A batch whose scores are all 0,
    as those of random, is no reason to stop.

    J. Zhu, H. Wang, E. Hovy and M. Ma, Confidence-Based Stopping Criteria for Active Learning for Data Annotation, ACM
    Transactions on Speech and Language Processing, 2010.

    Args:
        level: The level of the score; larger stops earlier.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, -np.inf)

    def why(history: History) -> str:
        newest = history.scores[-1] if history.scores else np.empty(0)
        if not np.any(newest):
            return ""
        highest = float(np.max(newest))
        return (
            f"the highest score of the last batch is {highest:.4g}, below {level:g}"
            if highest < level
            else ""
        )

    return Rule(f"max_uncertainty(level={level})", why)


def _newest(history: History) -> NDArray[np.floating] | None:
    """The newest predictions on the stop set, (S, C); None while there are none."""
    newest = history.predictions[-1] if history.predictions else None
    return None if newest is None or not len(newest) else newest
