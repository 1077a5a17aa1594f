"""Calibration: reliability diagrams, calibration errors, and corrections that are fitted on held-out items."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from baldur.core.arrays import log_sum_exp
from baldur.errors import InvalidArgument
from baldur.evaluate._checks import Labels, LogProbs, check_labels

LEAST = -80.0
"""Log-probabilities are raised to this before a linear map of them; e^-80 is still a float32."""


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram with B bins of confidence; bin b is right-closed, (b/B, (b + 1)/B].

    Args:
        count: How many items each bin has, shape (B,).
        confidence: Their mean confidence max_c p̄_c, shape (B,); NaN in an empty bin.
        accuracy: The share of right predictions among them, shape (B,); NaN in an empty bin.
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

    A confidence on an edge belongs to the bin below it, and 0 belongs to the first bin.

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
    return _equal_width(*_confidence(log_probs, labels, bins), bins)


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
    """Expected calibration error over bins with equally many items (within one).

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


def classwise_ece(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """The mean over classes of the calibration error of each class's probability.

    (1/C) Σ_c Σ_b (n_bc / N) |share of class c in bin b - mean p_c in bin b| over bins of equal width.

    M. Kull, M. Perello-Nieto, M. Kängsepp, T. Silva Filho, H. Song and P. Flach, Beyond temperature scaling,
    NeurIPS 2019.

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
    _check(log_probs, labels, bins)
    by_class = np.exp(log_probs, dtype=np.float64).T  # (C, N)
    errors = [_equal_width(p, labels == c, bins).error for c, p in enumerate(by_class)]
    return float(np.mean(errors))


def detection_auroc(inside: Float[np.ndarray, " n"], outside: Float[np.ndarray, " m"]) -> float:
    """How well a score detects items of another distribution: P(outside > inside) + ½ P(outside = inside).

    D. Hendrycks and K. Gimpel, A baseline for detecting misclassified and out-of-distribution examples, ICLR 2017.

    Args:
        inside: Scores of items like those of training, such as entropies, larger for stranger ones, shape (n,).
        outside: Scores of other items, shape (m,).

    Returns:
        A number in [0, 1]; 1/2 by chance.

    Raises:
        InvalidArgument: One of them is empty or contains NaN.
    """
    if not len(inside) or not len(outside) or np.isnan(inside).any() or np.isnan(outside).any():
        raise InvalidArgument("scores without NaN of at least one item inside and one outside were expected")
    ordered = np.sort(inside)
    below, above = (np.searchsorted(ordered, outside, side) for side in ("left", "right"))
    return float(np.mean(below + above) / (2 * len(inside)))


def temperature(logits: Float[np.ndarray, "N *T C"], labels: Labels) -> float:
    """The temperature that calibrates held-out predictions best.

    argmin_τ -(1/N) Σ_n log (1/T) Σ_t softmax(z_nt / τ)_(y_n).

    The logits of each sample are divided by τ, then the mean over samples is taken. log τ is searched in [-3, 3].

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
        own = np.take_along_axis(scaled, labels[:, None, None], axis=2)  # (N, T, 1)
        right = own - log_sum_exp(scaled, axis=2)
        return float(-np.mean(log_sum_exp(right, axis=1)))

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-8}).x))


def dirichlet(
    log_probs: Float[np.ndarray, "N T C"], labels: Labels, strength: float
) -> tuple[Float[np.ndarray, "C C"], Float[np.ndarray, " C"]]:
    """The map p -> softmax(W log p + b) that calibrates held-out predictions best.

    argmin_(W, b) -(1/N) Σ_n log (1/T) Σ_t softmax(W log p_nt + b)_(y_n)
    + λ (Σ_(i≠j) W_ij² / C(C - 1) + Σ_j b_j² / C): off-diagonal and intercept regularisation.

    M. Kull et al., Beyond temperature scaling: obtaining well-calibrated multiclass probabilities with Dirichlet
    calibration, NeurIPS 2019.

    Args:
        log_probs: Log-probabilities of T samples, shape (N, T, C); below -80 they count as -80.
        labels: Class indices, shape (N,).
        strength: λ.

    Returns:
        W and b.

    Raises:
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or λ is not positive.
    """
    from scipy.optimize import minimize

    check_labels(log_probs.shape, labels)
    if not 0 < strength < np.inf:
        raise InvalidArgument(f"strength is {strength}; it must be positive and finite")
    x = np.maximum(log_probs.astype(np.float64), LEAST)  # (N, T, C)
    count, _, classes = x.shape
    apart = (1 - np.eye(classes)) * strength / (classes * max(classes - 1, 1))

    def loss(flat: Float[np.ndarray, " P"]) -> tuple[float, Float[np.ndarray, " P"]]:
        w, b = flat[:-classes].reshape(classes, classes), flat[-classes:]  # (C, C) and (C,)
        z = x @ w.T + b  # (N, T, C)
        z -= log_sum_exp(z, axis=2)
        right = np.take_along_axis(z, labels[:, None, None], axis=2)  # (N, T, 1)
        total = log_sum_exp(right, axis=1)
        hit = labels[:, None, None] == np.arange(classes)  # (N, 1, C)
        # The gradient of a log mean over samples weights each sample by its share of the likelihood.
        of_logits = np.exp(right - total) * (np.exp(z) - hit) / count  # (N, T, C)
        value = np.log(x.shape[1]) - np.mean(total) + np.sum(apart * w**2) + strength * np.mean(b**2)
        of_w = np.einsum("ntc,ntd->cd", of_logits, x) + 2 * apart * w  # (C, C)
        of_b = np.sum(of_logits, axis=(0, 1)) + 2 * strength * b / classes
        return float(value), np.concatenate([of_w.ravel(), of_b])  # (C·C + C,)

    begin = np.concatenate([np.eye(classes).ravel(), np.zeros(classes)])  # (C·C + C,)
    found = minimize(loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": 1000}).x
    return found[:-classes].reshape(classes, classes), found[-classes:]  # (C, C) and (C,)


def _check(log_probs: LogProbs, labels: Labels, bins: int) -> None:
    check_labels(log_probs.shape, labels)
    if bins < 1:
        raise InvalidArgument(f"at least one bin was expected, not {bins}")


def _confidence(
    log_probs: LogProbs, labels: Labels, bins: int
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    _check(log_probs, labels, bins)
    return np.exp(np.max(log_probs, axis=1), dtype=np.float64), np.argmax(log_probs, axis=1) == labels


def _equal_width(
    confidence: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], bins: int
) -> Reliability:
    edges = np.arange(1, bins) / bins
    return _binned(confidence, correct, np.searchsorted(edges, confidence, side="left"), bins)


def _binned(
    confidence: Float[np.ndarray, " N"],
    correct: Bool[np.ndarray, " N"],
    which: Integer[np.ndarray, " N"],
    bins: int,
) -> Reliability:
    count = np.bincount(which, minlength=bins)
    both = [np.bincount(which, weights=values, minlength=bins) for values in (confidence, correct)]
    sums = np.stack(both)  # (2, B)
    means = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)  # (2, B)
    return Reliability(count, means[0], means[1])
