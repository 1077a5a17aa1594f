"""Quality of predictions: mean log-probabilities (N, C) against labels (N,), of NumPy or torch."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from baldur.errors import InvalidArgument
from baldur.evaluate._checks import Labels, LogProbs, checked
from baldur.evaluate.calibration import adaptive_ece, ece


def accuracy(log_probs: LogProbs, labels: Labels) -> float:
    """The share of items whose most probable class is the label.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).

    Returns:
        A number in [0, 1].

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    log_probs, labels = checked(log_probs, labels)
    return float(np.mean(np.argmax(log_probs, axis=1) == labels))


def nll(log_probs: LogProbs, labels: Labels) -> float:
    """Negative log-likelihood: -(1/N) Σ_n log p̄_n(y_n).

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).

    Returns:
        Nats per item; infinite if the prediction gave a label the probability 0.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    log_probs, labels = checked(log_probs, labels)
    return float(-np.mean(log_probs[np.arange(len(labels)), labels], dtype=np.float64))


def brier(log_probs: LogProbs, labels: Labels) -> float:
    """Brier score: (1/N) Σ_n Σ_c (p̄_nc - 1[y_n = c])².

    G. W. Brier, Verification of Forecasts Expressed in Terms of Probability, Monthly Weather Review, 1950.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).

    Returns:
        A number in [0, 2]; smaller is better.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    log_probs, labels = checked(log_probs, labels)
    error = np.exp(log_probs, dtype=np.float64)  # (N, C)
    error[np.arange(len(labels)), labels] -= 1
    return float(np.mean(np.sum(error**2, axis=1)))


def auroc(log_probs: LogProbs, labels: Labels) -> float | None:
    """Area under the receiver operating curve; for more than two classes the mean of each class against the rest.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).

    Returns:
        A number in [0, 1], or None if it is undefined because a class has no item or every item.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    log_probs, labels = checked(log_probs, labels)
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
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).

    Returns:
        Numbers in [0, 1], in NumPy; NaN for a class without items that is never predicted.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    log_probs, labels = checked(log_probs, labels)
    classes = log_probs.shape[1]
    predicted = np.argmax(log_probs, axis=1)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    said = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    scores = np.full(classes, np.nan)
    np.divide(2.0 * hits, said, out=scores, where=said > 0)
    return scores


def measure(log_probs: LogProbs, labels: Labels, classes: Sequence[str]) -> dict[str, float]:
    """Every metric by its name: accuracy, nll, ece, adaptive_ece, brier, auroc, f1_macro and f1_<class>.

    Undefined values are left out: auroc if a class has no item, and f1 of a class without items and predictions.
    f1_macro is the mean of the defined ones, so the f1 of a class called macro is left out too.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), from `predictive`.
        labels: Class indices, shape (N,).
        classes: The names of the C classes.

    Returns:
        Names and values.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each or not one name for each class.
    """
    log_probs, labels = checked(log_probs, labels)
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
            if value == value and name != "macro"  # f1_macro is the mean
        },
    }
