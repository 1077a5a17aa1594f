"""The change of the model that the label of an item would cause."""

from collections.abc import Callable

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped

from baldur.acquire.pointwise import check_items, finite, pointwise
from baldur.core.arrays import Array, Samples, mean_probs, namespace, same_place, to_numpy
from baldur.core.blocks import blocks, room
from baldur.errors import InvalidArgument, NonFiniteScore

_CPU_BLOCK = 2**20
_NEVER = 1e-100


def expected_gradient_length(
    log_probs: Float[Array, "N T C"], features: Float[Array, "N D"], squared: bool = False
) -> Float[Array, " N"]:
    """Expected length of the loss's gradient in the last layer, over the labels as the model predicts them.

    Σ_y p̄_y ‖∇_W ℓ(x, y)‖ = ‖φ‖ Σ_y p̄_y ‖p̄ - e_y‖, exact for logits Wφ and cross-entropy; in [0, √2 ‖φ‖].
    Squared: Σ_y p̄_y ‖∇_W ℓ‖² = ‖φ‖² (1 - Σ_y p̄_y²), which ranks otherwise.

    B. Settles, M. Craven and S. Ray, Multiple-Instance Active Learning, NIPS 2007.

    Needs: prediction, features. Cost: O(N (T C + D)). Use: where there is one network, and mostly its last layer
    is trained. It prefers long feature vectors, and so outliers.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).
        features: Inputs of the last layer, shape (N, D); with a column of ones where it has a bias.
        squared: Whether the expected square of the length is taken, instead of the expected length.

    Returns:
        Scores, float64, shape (N,).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: Features do not fit, or one is not a finite number.
        NonFiniteScore: A score is not a finite number.
    """
    xp = same_place(predictions=log_probs, features=features)
    check_items(log_probs)
    _check_features(features, "features", log_probs.shape[0])
    residual = pointwise(log_probs, _impurity if squared else _residual)
    length = xp.zeros_like(residual)
    for rows in blocks(
        len(length), features.shape[1], _CPU_BLOCK
    ):  # in double precision, but not all at once
        phi = xp.astype(features[rows, :], xp.float64)
        length[rows] = xp.sum(phi * phi, axis=1)
    return finite(residual * (length if squared else xp.sqrt(length)))


def emoc(
    log_probs: Float[Array, "N T C"],
    features: Float[Array, "N D"],
    reference_features: Float[Array, "M D"],
    step: float = 1.0,
) -> Float[Array, " N"]:
    """Expected change of the logits at reference inputs, after one gradient step of the last layer.

    Σ_y p̄_y (1/M) Σ_m ‖Δ_y f(x_m)‖_1 = 2γ (1 - Σ_y p̄_y²) (1/M) Σ_m |⟨φ(x), φ(x_m)⟩|, exact for logits Wφ and
    cross-entropy; not negative.

    C. Käding, E. Rodner, A. Freytag and J. Denzler, Active and Continuous Exploration with Deep Neural Networks
    and Expected Model Output Changes, NIPS Workshop 2016.

    Needs: prediction, features, features of references. Cost: O(N (T C + M D)). Use: as expected gradient
    length, where the effect on other predictions matters more than the length of the step.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).
        features: Inputs of the last layer, shape (N, D); with a column of ones where it has a bias.
        reference_features: The same for a sample of the data, shape (M, D).
        step: The learning rate γ, a factor of all scores.

    Returns:
        Scores in logits, float64, shape (N,).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: Features do not fit, or one is not a finite number. Or there is no reference, or the step
            is not positive.
        NonFiniteScore: A score is not a finite number.
    """
    xp = same_place(predictions=log_probs, features=features, references=reference_features)
    check_items(log_probs)
    count, width = _check_features(features, "features", log_probs.shape[0])
    references, reference_width = _check_features(reference_features, "reference features")
    if references == 0 or reference_width != width:
        raise InvalidArgument(
            f"reference features (M, {width}) with M of at least 1 were expected,"
            f" not the shape {(references, reference_width)}"
        )
    if not (np.isfinite(step) and step > 0):
        raise InvalidArgument(f"the step is a positive number, not {step}")
    impurity = pointwise(log_probs, _impurity)
    reference = xp.astype(reference_features, xp.float64).T  # (D, M)
    parts = [xp.zeros(0, dtype=xp.float64, device=array_api_compat.device(features))]
    for rows in blocks(count, max(references, width), room(features, _CPU_BLOCK)):
        block = xp.astype(features[rows, :], xp.float64)
        parts.append(xp.mean(xp.abs(xp.matmul(block, reference)), axis=1))
    return finite(2.0 * step * impurity * xp.concat(parts, axis=0))


def emoc_of_network(
    log_probs: Float[Array, "N T C"],
    change: Callable[[int, int], Shaped[Array, "M outputs"]],
    classes: int | None = None,
) -> Float[Array, " N"]:
    """Expected change of the outputs at reference inputs, after one gradient step of the whole network.

    Σ_y p̄_y (1/M) Σ_m ‖J_f(x_m) Δθ_y‖_1 with Δθ_y = -γ ∇_θ ℓ(θ; (x, y)); not negative. The caller passes a function
    for J_f(x_m) Δθ_y, so this module needs no network. One backward pass and forward-mode products compute it, with
    dropout and batch normalisation in evaluation mode.

    C. Käding, E. Rodner, A. Freytag and J. Denzler, Active and Continuous Exploration with Deep Neural Networks
    and Expected Model Output Changes, NIPS Workshop 2016.

    Needs: prediction, gradients. Cost: O(N C) backward passes and O(N C M) forward-mode products. Use: for
    small networks and pools, where layers before the last change too; else `emoc`.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).
        change: Takes an item's position and a class. Returns the change of the outputs at the references if the
            item has that label, shape (M, outputs).
        classes: How many of the most probable classes are looked at; their probabilities are normalised again. All
            classes if not given.

    Returns:
        Scores, float64, shape (N,).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: The number of classes is not positive, or a change is not a matrix.
        NonFiniteScore: A score is not a finite number.
    """
    xp = namespace(log_probs)
    check_items(log_probs)
    probs = to_numpy(mean_probs(log_probs))
    if classes is not None and classes < 1:
        raise InvalidArgument(f"at least one class must be looked at, not {classes}")
    scores = np.zeros(len(probs))
    for n, p in enumerate(probs):
        likely = np.argsort(-p, kind="stable")[:classes]
        likely = likely[p[likely] > _NEVER]
        changes = [_mean_change(change(n, int(y)), n, int(y)) for y in likely]
        scores[n] = np.dot(p[likely], changes) / p[likely].sum()
        if not np.isfinite(scores[n]):
            raise NonFiniteScore(f"the score of item {n} is {scores[n]}; a score must be a finite number")
    return xp.asarray(scores, device=array_api_compat.device(log_probs))


def _mean_change(values: Array, n: int, y: int) -> float:
    matrix = to_numpy(values).astype(np.float64)
    if matrix.ndim != 2 or len(matrix) == 0:
        raise InvalidArgument(
            f"the change for item {n} and class {y} has the shape {matrix.shape}; (M, outputs) was expected"
        )
    return float(np.abs(matrix).sum(axis=1).mean())


def _complement(s: Samples) -> tuple[Float[Array, "R C"], Float[Array, "R C"]]:
    """1 - p_y and Σ_{c≠y} p_c²; for the largest p without cancellation, however sure the prediction is."""
    xp = s.xp
    p = s.mean
    classes = xp.arange(p.shape[1], device=array_api_compat.device(p))
    best = xp.argmax(p, axis=1)[:, None] == classes  # (R, C)
    others = xp.where(best, xp.zeros_like(p), p)
    squares = xp.sum(p * p, axis=1, keepdims=True) - p * p
    rest = xp.sum(others, axis=1, keepdims=True)
    return (
        xp.where(best, rest, 1.0 - p),
        xp.where(best, xp.sum(others * others, axis=1, keepdims=True), squares),
    )


def _residual(s: Samples) -> Float[Array, " R"]:
    away, squares = _complement(s)
    length = s.xp.sqrt(s.xp.clip(away * away + squares, min=0.0))  # ‖p - e_y‖
    return s.xp.sum(s.mean * length, axis=1)


def _impurity(s: Samples) -> Float[Array, " R"]:
    away, _ = _complement(s)
    return s.xp.clip(s.xp.sum(s.mean * away, axis=1), min=0.0)  # Σ p_y (1 - p_y)


def _check_features(features: Array, name: str, count: int | None = None) -> tuple[int, int]:
    xp = namespace(features)
    shape = tuple(features.shape)
    if len(shape) != 2 or (count is not None and shape[0] != count):
        raise InvalidArgument(f"{name} ({'M' if count is None else count}, D) were expected, not {shape}")
    if not xp.isdtype(features.dtype, "real floating"):
        raise InvalidArgument(f"{name} of a floating type were expected, not {features.dtype}")
    finite = xp.all(xp.isfinite(features), axis=1)
    if not bool(xp.all(finite)):
        row = int(np.argmin(to_numpy(finite)))
        raise InvalidArgument(f"row {row} of the {name} holds NaN or infinity")
    return int(shape[0]), int(shape[1])
