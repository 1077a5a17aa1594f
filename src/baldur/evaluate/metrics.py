"""How good predictions are: mean log-probabilities (N, C) against labels (N,), in NumPy."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from baldur.core.arrays import predictive
from baldur.errors import InvalidArgument
from baldur.evaluate._checks import Labels, LogProbs, check_labels
from baldur.evaluate.calibration import adaptive_ece, ece


def accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """The share of items whose most probable class is the label.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).

    Returns:
        A number in [0, 1].

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    check_labels(log_probs.shape, labels)
    return float(np.mean(np.argmax(log_probs, axis=1) == labels))


def nll(log_probs: LogProbs, labels: Labels) -> float:
    """Negative log-likelihood: -(1/N) Σ_n log p̄_n(y_n).

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).

    Returns:
        Nats per item; infinite if a label was held impossible.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    check_labels(log_probs.shape, labels)
    return float(-np.mean(log_probs[np.arange(len(labels)), labels], dtype=np.float64))


def brier(log_probs: LogProbs, labels: Labels) -> float:
    """Brier score: (1/N) Σ_n Σ_c (p̄_nc - 1[y_n = c])².

    G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review, 1950.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).

    Returns:
        A number in [0, 2]; smaller is better.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    check_labels(log_probs.shape, labels)
    error = np.exp(log_probs, dtype=np.float64)  # (N, C)
    error[np.arange(len(labels)), labels] -= 1
    return float(np.mean(np.sum(error**2, axis=1)))


def auroc(log_probs: LogProbs, labels: Labels) -> float | None:
    """Area under the receiver operating curve; for more than two classes the mean of one against the rest.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).

    Returns:
        A number in [0, 1], or None where it is undefined because a class has no item or every item.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    check_labels(log_probs.shape, labels)
    classes = log_probs.shape[1]
    if len(np.unique(labels)) < classes:
        return None
    from sklearn.metrics import roc_auc_score

    asked = [1] if classes == 2 else range(classes)
    finite = np.maximum(log_probs, -1e30)
    return float(np.mean([roc_auc_score(labels == c, finite[:, c]) for c in asked]))


def f1(log_probs: LogProbs, labels: Labels) -> Float[np.ndarray, " C"]:
    """F1 of each class: 2 TP / (2 TP + FP + FN).

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).

    Returns:
        Numbers in [0, 1]; NaN for a class that no item has and none is predicted to have.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    check_labels(log_probs.shape, labels)
    classes = log_probs.shape[1]
    predicted = np.argmax(log_probs, axis=1)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    said = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    scores = np.full(classes, np.nan)
    np.divide(2.0 * hits, said, out=scores, where=said > 0)
    return scores


def measure(log_probs: LogProbs, labels: Labels, classes: Sequence[str]) -> dict[str, float]:
    """Every metric by its name: accuracy, nll, ece, adaptive_ece, brier, auroc, f1_macro and f1_<class>.

    What is undefined is left out: auroc where a class has no item, f1 of a class that is neither there nor
    predicted, or is called macro; f1_macro is the mean of those that are defined.

    Args:
        log_probs: Mean log-probabilities, shape (N, C); `predictive` makes them.
        labels: Class indices, shape (N,).
        classes: The names of the C classes.

    Returns:
        Names and values.

    Raises:
        InvalidPredictions: A row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each or not one name for each class.
    """
    check_labels(log_probs.shape, labels)
    log_probs = predictive(log_probs[:, None, :])
    if len(classes) != log_probs.shape[1]:
        raise InvalidArgument(f"{log_probs.shape[1]} class names were expected, not {len(classes)}")
    area = auroc(log_probs, labels)
    each = f1(log_probs, labels)
    return {
        "accuracy": accuracy(log_probs, labels),
        "nll": nll(log_probs, labels),
        "ece": ece(log_probs, labels),
        "adaptive_ece": adaptive_ece(log_probs, labels),
        "brier": brier(log_probs, labels),
        **({} if area is None else {"auroc": area}),
        "f1_macro": float(np.nanmean(each)),
        **{
            f"f1_{name}": float(value)
            for name, value in zip(classes, each, strict=True)
            if value == value and name != "macro"  # that is the mean's name
        },
    }
