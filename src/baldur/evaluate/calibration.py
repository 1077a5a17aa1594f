"""Is a probability what it says? Reliability, calibration errors, temperature scaling."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from baldur._arrays import log_sum_exp
from baldur.errors import InvalidArgument
from baldur.evaluate._checks import Labels, LogProbs, check_labels


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram shows of B bins of confidence; bin b is right-closed, (b/B, (b + 1)/B].

    Args:
        count: Items in each bin, shape (B,).
        confidence: Their mean confidence max_c p̄_c, shape (B,); NaN in an empty bin.
        accuracy: The share of them that is right, shape (B,); NaN in an empty bin.
    """

    count: Integer[np.ndarray, " B"]
    confidence: Float[np.ndarray, " B"]
    accuracy: Float[np.ndarray, " B"]

    @property
    def gaps(self) -> Float[np.ndarray, " B"]:
        """|accuracy - confidence| of each bin; 0 in an empty one."""
        return np.where(self.count > 0, np.abs(self.accuracy - self.confidence), 0.0)

    @property
    def error(self) -> float:
        """Σ_b (n_b / N) |accuracy_b - confidence_b|."""
        return float(np.sum(self.gaps * self.count) / np.sum(self.count))


def reliability(log_probs: LogProbs, labels: Labels, bins: int = 15) -> Reliability:
    """Confidence against accuracy in bins of equal width.

    A confidence on an edge belongs to the bin below it, and 0 to the first; bins are found by comparing with
    the edges.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        Count, mean confidence and accuracy of each bin.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    confidence, correct = _confidence(log_probs, labels, bins)
    edges = np.arange(1, bins) / bins
    return _binned(confidence, correct, np.searchsorted(edges, confidence, side="left"), bins)


def ece(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error: Σ_b (n_b / N) |accuracy_b - confidence_b| over bins of equal width.

    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    return reliability(log_probs, labels, bins).error


def mce(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """Maximum calibration error: max_b |accuracy_b - confidence_b| over bins of equal width.

    M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian
    Binning, AAAI 2015.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    return float(np.max(reliability(log_probs, labels, bins).gaps))


def adaptive_ece(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error over bins that hold equally many items (within one).

    J. Nixon, M. W. Dusenberry, L. Zhang, G. Jerfel and D. Tran, Measuring Calibration in Deep Learning,
    CVPR Workshops 2019.

    Args:
        log_probs: Mean log-probabilities, shape (N, C).
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    confidence, correct = _confidence(log_probs, labels, bins)
    rank = np.empty(len(confidence), np.intp)
    rank[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return _binned(confidence, correct, rank * bins // len(confidence), bins).error


def temperature(logits: Float[np.ndarray, "N *T C"], labels: Labels) -> float:
    """The temperature that calibrates held-out predictions best.

    argmin_τ -(1/N) Σ_n log (1/T) Σ_t softmax(z_nt / τ)_(y_n).

    Each sample's logits are divided by τ before the mean over samples is taken. log τ is searched in [-3, 3].

    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: Logits z, shape (N, C) or (N, T, C).
        labels: Class indices, shape (N,).

    Returns:
        The temperature τ.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    from scipy.optimize import minimize_scalar

    check_labels(logits.shape, labels)
    z = logits.astype(np.float64).reshape(len(logits), -1, logits.shape[-1])  # (N, T, C)

    def loss(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        right = np.take_along_axis(scaled, labels[:, None, None], axis=2) - log_sum_exp(scaled, axis=2)
        return float(-np.mean(log_sum_exp(right, axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8}).x))


def _confidence(
    log_probs: LogProbs, labels: Labels, bins: int
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    check_labels(log_probs.shape, labels)
    if bins < 1:
        raise InvalidArgument(f"at least one bin was expected, not {bins}")
    return np.exp(np.max(log_probs, axis=1), dtype=np.float64), np.argmax(log_probs, axis=1) == labels


def _binned(
    confidence: Float[np.ndarray, " N"],
    correct: Bool[np.ndarray, " N"],
    which: Integer[np.ndarray, " N"],
    bins: int,
) -> Reliability:
    count = np.bincount(which, minlength=bins)
    sums = np.stack([np.bincount(which, weights=values, minlength=bins) for values in (confidence, correct)])
    means = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)  # (2, B)
    return Reliability(count, means[0], means[1])
