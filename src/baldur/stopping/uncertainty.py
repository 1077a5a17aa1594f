"""Stop when the model is sure of what is left."""

import numpy as np

from baldur.protocols import History
from baldur.stopping.agreement import entropy
from baldur.stopping.criterion import Rule, check_number


def overall_uncertainty(level: float = 0.05) -> Rule:
    """Stop when the mean normalised entropy of the unlabelled items is below a level.

    (1/S) Σ_i H(p̄_i) / log C. An overconfident network meets it long before it is right.

    J. Zhu, H. Wang, E. Hovy and M. Ma, Confidence-Based Stopping Criteria for Active Learning for Data Annotation, ACM
    Transactions on Speech and Language Processing, 2010.

    Args:
        level: Of the entropy, in [0, 1]; larger stops earlier.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)

    def why(history: History) -> str:
        if not history.predictions or not len(history.predictions[-1]):
            return ""
        newest = history.predictions[-1]
        mean = float(np.mean(entropy(newest))) / np.log(newest.shape[1])
        return (
            f"mean normalised entropy {mean:.4f} of unlabelled items, below {level:g}" if mean < level else ""
        )

    return Rule(f"overall_uncertainty(level={level})", why, rounds=1)


def minimum_expected_error(level: float) -> Rule:
    """Stop when the model itself expects fewer errors on the unlabelled items than a level.

    (1/S) Σ_i (1 - max_c p̄_ic).

    J. Zhu, H. Wang and E. Hovy, Learning a Stopping Criterion for Active Learning for Word Sense Disambiguation and
    Text Classification, IJCNLP 2008.

    Args:
        level: Of the error, in [0, 1]; larger stops earlier.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("level", level, 0, 1)

    def why(history: History) -> str:
        if not history.predictions or not len(history.predictions[-1]):
            return ""
        mean = 1 - float(np.mean(np.exp(history.predictions[-1].max(axis=1), dtype=np.float64)))
        return f"expected error {mean:.4f} on unlabelled items, below {level:g}" if mean < level else ""

    return Rule(f"minimum_expected_error(level={level})", why, rounds=1)


def max_uncertainty(level: float) -> Rule:
    """Stop when even the highest score of a batch was below a level.

    max_i s_i over the batch just labelled, in the unit of the strategy's own score. Scores that are all 0, as those of
    random, say nothing.

    J. Zhu, H. Wang, E. Hovy and M. Ma, Confidence-Based Stopping Criteria for Active Learning for Data Annotation, ACM
    Transactions on Speech and Language Processing, 2010.

    Args:
        level: Of the score; larger stops earlier.

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
