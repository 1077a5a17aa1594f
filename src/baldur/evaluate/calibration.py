"""Calibration: reliability diagrams, calibration errors, and corrections that are fitted on held-out items."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from baldur.core.arrays import FLOOR, Array, check_shape, log_sum_exp, map_samples
from baldur.errors import InvalidArgument, InvalidPredictions
from baldur.evaluate._checks import (
    Labels,
    LogProbs,
    as_array,
    checked,
    checked_labels,
    number,
    numbers,
    whole,
)

_RANGE = 3.0

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
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        Count, mean confidence and accuracy of each bin.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    return _equal_width(*_confidence(log_probs, labels, bins), bins)


def ece(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error: Σ_b (n_b / N) |accuracy_b - confidence_b| over bins of equal width.

    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    return reliability(log_probs, labels, bins).error


def mce(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """Maximum calibration error: max_b |accuracy_b - confidence_b| over bins of equal width.

    M. P. Naeini, G. F. Cooper and M. Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian
    Binning, AAAI 2015.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    return float(np.max(reliability(log_probs, labels, bins).gaps))


def adaptive_ece(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error over bins with equally many items (within one).

    Items of equal confidence may lie in two bins. Each of them counts with the accuracy of all items of this
    confidence, so the order of the items does not matter.

    J. Nixon, M. W. Dusenberry, L. Zhang, G. Jerfel and D. Tran, Measuring Calibration in Deep Learning,
    CVPR Workshops 2019.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    confidence, correct = _confidence(log_probs, labels, bins)
    levels, tied = np.unique(confidence, return_inverse=True)  # levels grow
    share = np.bincount(tied, weights=correct) / np.bincount(tied)
    rank = np.arange(len(confidence))
    ordered = np.sort(tied)
    return _binned(levels[ordered], share[ordered], rank * bins // len(rank), bins).error


def classwise_ece(log_probs: LogProbs, labels: Labels, bins: int = 15) -> float:
    """The mean over classes of the calibration error of each class's probability.

    (1/C) Σ_c Σ_b (n_bc / N) |share of class c in bin b - mean p_c in bin b| over bins of equal width.

    M. Kull, M. Perello-Nieto, M. Kängsepp, T. Silva Filho, H. Song and P. Flach, Beyond temperature scaling,
    NeurIPS 2019.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,).
        bins: How many bins.

    Returns:
        A number in [0, 1]; smaller is better.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or no bins.
    """
    log_probs, labels = checked(log_probs, labels)
    bins = whole("bins", bins, 1)
    by_class = np.exp(log_probs, dtype=np.float64).T  # (C, N)
    errors = [_equal_width(p, labels == c, bins).error for c, p in enumerate(by_class)]
    return float(np.mean(errors))


def detection_auroc(inside: Float[Array, " n"], outside: Float[Array, " m"]) -> float:
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
    own, other = (numbers(name, x, 1, finite=False) for name, x in (("inside", inside), ("outside", outside)))
    if not len(own) or not len(other):
        raise InvalidArgument("scores of at least one item inside and one outside were expected")
    ordered = np.sort(own)
    below, above = (np.searchsorted(ordered, other, side) for side in ("left", "right"))
    return float(np.mean(below + above) / (2 * len(own)))


def temperature(logits: Float[Array, "N *T C"], labels: Labels, strength: float = 0.0) -> float:
    """The temperature that calibrates held-out predictions best.

    argmin_τ -(1/N) Σ_n log (1/T) Σ_t softmax(z_nt / τ)_(y_n) + (λ / N) (log τ)².

    The logits of each sample are divided by τ, then the mean over samples is taken. log τ is searched in [-3, 3]. The
    last term is a normal prior of log τ with variance 1 / (2 λ). It keeps a few items from deciding alone.

    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, On Calibration of Modern Neural Networks, ICML 2017.

    Args:
        logits: Logits z, shape (N, C) or (N, T, C), of NumPy or torch.
        labels: Class indices, shape (N,), of NumPy or torch.
        strength: λ, at least 0; larger draws τ towards 1.

    Returns:
        The temperature τ.

    Raises:
        InvalidPredictions: The shape or type of the logits does not fit, or one is NaN or +inf.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or λ is negative. Or no τ is best: without λ, a
            few items that are all predicted right ask for τ = 0.
    """
    from scipy.optimize import minimize_scalar

    strength = number("strength", strength, 0)
    z = _logits(logits)  # (N, T, C)
    labels = checked_labels(labels, z.shape)
    z = np.maximum(z - z.max(axis=2, keepdims=True), FLOOR)

    def loss(log_temperature: float) -> float:
        scaled = z / np.exp(log_temperature)
        own = np.take_along_axis(scaled, labels[:, None, None], axis=2)  # (N, T, 1)
        right = own - log_sum_exp(scaled, axis=2)
        return float(-np.mean(log_sum_exp(right, axis=1))) + strength * log_temperature**2 / len(z)

    best = minimize_scalar(loss, bounds=(-_RANGE, _RANGE), method="bounded", options={"xatol": 1e-8}).x
    least = loss(best) + 1e-9
    if loss(0.0) <= least and loss(-_RANGE) <= least and loss(_RANGE) <= least:
        return 1.0  # all classes are equally probable, whatever the temperature
    if strength == 0 and min(loss(-_RANGE), loss(_RANGE)) <= least:
        limit = "0" if loss(-_RANGE) <= least else "infinity"
        raise InvalidArgument(
            f"the best temperature for these {len(z)} items is {limit}, so they cannot calibrate; "
            "give more items, or a strength such as 0.5"
        )
    return float(np.exp(best))


def _logits(logits: Float[Array, "N *T C"]) -> Float[np.ndarray, "N T C"]:
    z = as_array("logits", logits)
    if z.ndim not in (2, 3) or z.shape[-1] < 2 or 0 in z.shape[1:]:
        raise InvalidPredictions(
            f"logits (N, C) or (N, T, C) of at least two classes were expected, not the shape {z.shape}"
        )
    if z.dtype.kind not in "iuf" or np.isnan(z).any() or np.isposinf(z).any():
        raise InvalidPredictions("logits must be real numbers, and none of them NaN or +inf")
    if np.isneginf(z).all(axis=-1).any():
        raise InvalidPredictions("a row of logits has -inf for every class, which is no prediction")
    return z.astype(np.float64) if z.ndim == 3 else z.astype(np.float64)[:, None, :]  # (N, T, C)


def dirichlet(
    log_probs: Float[Array, "N T C"], labels: Labels, strength: float
) -> tuple[Float[np.ndarray, "C C"], Float[np.ndarray, " C"]]:
    """The map p -> softmax(W log p + b) that calibrates held-out predictions best.

    argmin_(W, b) -(1/N) Σ_n log (1/T) Σ_t softmax(W log p_nt + b)_(y_n)
    + λ (Σ_(i≠j) W_ij² / C(C - 1) + Σ_j b_j² / C): off-diagonal and intercept regularisation.

    M. Kull et al., Beyond temperature scaling: obtaining well-calibrated multiclass probabilities with Dirichlet
    calibration, NeurIPS 2019.

    Args:
        log_probs: Log-probabilities of T samples, shape (N, T, C), of NumPy or torch; below -80 they count as -80.
        labels: Class indices, shape (N,), of NumPy or torch.
        strength: λ.

    Returns:
        W and b, in NumPy.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label is not one of the classes.
        InvalidArgument: There are no items, not one label for each, or λ is not positive.
    """
    from scipy.optimize import minimize

    strength = number("strength", strength, 0, inside=True)
    check_shape(log_probs)
    if len(log_probs.shape) != 3:
        raise InvalidPredictions(
            f"log-probabilities (N, T, C) were expected, not the shape {log_probs.shape}"
        )
    labels = checked_labels(labels, tuple(log_probs.shape))
    map_samples(log_probs, lambda s: s.first[:, 0])  # raises where a row is not normalised
    x = np.maximum(as_array("log_probs", log_probs).astype(np.float64), LEAST)  # (N, T, C)
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


def _confidence(
    log_probs: LogProbs, labels: Labels, bins: int
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    whole("bins", bins, 1)
    log_probs, labels = checked(log_probs, labels)
    return np.exp(np.max(log_probs, axis=1)), np.argmax(log_probs, axis=1) == labels


def _equal_width(
    confidence: Float[np.ndarray, " N"], correct: Bool[np.ndarray, " N"], bins: int
) -> Reliability:
    edges = np.arange(1, bins) / bins
    return _binned(confidence, correct, np.searchsorted(edges, confidence, side="left"), bins)


def _binned(
    confidence: Float[np.ndarray, " N"],
    correct: Bool[np.ndarray, " N"] | Float[np.ndarray, " N"],
    which: Integer[np.ndarray, " N"],
    bins: int,
) -> Reliability:
    count = np.bincount(which, minlength=bins)
    both = [np.bincount(which, weights=values, minlength=bins) for values in (confidence, correct)]
    sums = np.stack(both)  # (2, B)
    means = np.divide(sums, count, out=np.full(sums.shape, np.nan), where=count > 0)  # (2, B)
    return Reliability(count, means[0], means[1])
