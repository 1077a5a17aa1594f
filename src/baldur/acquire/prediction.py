"""Information of a label about predictions at chosen target inputs."""

from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped

from baldur.acquire import fused
from baldur.acquire.pointwise import pointwise, warn_of_ties
from baldur.core.arrays import Array, Samples, check_shape, map_samples, mean_probs, same_place, to_numpy
from baldur.core.blocks import blocks, room
from baldur.errors import InvalidArgument

_CPU_BLOCK = 2**18


def epig(
    log_probs: Float[Array, "N T C *spatial"],
    target_log_probs: Float[Array, "M T K"],
    weights: Shaped[Array, " M"] | None = None,
) -> Float[Array, "N *spatial"]:
    """Mutual information between the label and the labels of target inputs, averaged over the targets.

    (1/M) Σ_m w_m I(y; y_m | x, x_m) = (1/M) Σ_m w_m KL(p(y, y_m) ‖ p(y) p(y_m)) with
    p(y, y_m) = (1/T) Σ_t p_t(y) p_t(y_m). For weights with the mean 1 it lies in [0, min(BALD(x), mean BALD of
    the targets)]. Sample t must be the same function for pool and targets. Take targets from the inputs that the model
    will be used for, never from the labelled set.

    Where both inputs are float32 or half precision, the product over samples is in float32. It is a product of
    deviations from the mean, so rounding errors shrink with the dependence. Otherwise everything is float64.

    F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and T. Rainforth, Prediction-Oriented Bayesian
    Active Learning, AISTATS 2023.

    Needs: samples, samples at targets. Cost: O(N M T C²). Use: where it is known for which inputs the model will be
    used. Take it for pools with many irrelevant items, which BALD would choose.

    Args:
        log_probs: Normalised log-probabilities of the pool, shape (N, T, C, ...); further axes are spatial.
        target_log_probs: Normalised log-probabilities of the targets, shape (M, T, K); K is C as a rule.
        weights: The weight of each target, not negative, shape (M,); 1 each if not given.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: There is no target, pool and targets do not fit together, or a weight is negative.
        NonFiniteScore: A score is not a finite number.
    """
    xp = check_targets(log_probs, target_log_probs)
    device = array_api_compat.device(log_probs)
    single = max(log_probs.dtype.itemsize, target_log_probs.dtype.itemsize) < 8
    dtype = xp.float32 if single else xp.float64
    targets, draws, classes = target_log_probs.shape
    warn_of_ties(log_probs, "epig")
    deviation = xp.permute_dims(map_samples(target_log_probs, _deviation), (1, 0, 2))  # (T, M, K)
    deviation = xp.reshape(deviation, (draws, targets * classes))  # (T, M·K)
    deviation = xp.astype(deviation / draws, dtype)
    shares = _checked_weights(xp, weights, targets, device) / targets
    weighted = mean_probs(target_log_probs) * shares[:, None]  # (M, K)
    weighted = xp.astype(xp.reshape(weighted, (-1,)), dtype)  # (M·K,)
    formula = _dependence(deviation, weighted)
    if single and fused.applies(log_probs):
        return fused.epig(log_probs, deviation, weighted, formula)
    return pointwise(log_probs, formula)


def _deviation(s: Samples) -> Float[Array, "R T C"]:
    # p_t / p̄ - 1 lies in [-1, T - 1] however small p̄ is, and is exactly 0 where samples are identical.
    return s.ratio / s.mean_ratio[:, None, :] - 1.0  # (R, T, C)


def _dependence(
    deviation: Float[Array, "T MK"], weighted: Float[Array, " MK"]
) -> Callable[[Samples], Float[Array, " R"]]:
    """The formula for prepared targets.

    With u = (1/T) Σ_t (p_t/p̄ - 1)(q_t/q̄ - 1) a joint probability is p̄ q̄ (1 + u). The p̄ q̄ u sum to 0, so the
    divergence is Σ p̄ q̄ [(1 + u) log(1 + u) - u]. No term of it is negative, and nothing cancels.
    """
    numbers = room(deviation, _CPU_BLOCK)

    def formula(s: Samples) -> Float[Array, " R"]:
        xp = s.xp
        draws, width = deviation.shape
        own = xp.astype(xp.permute_dims(_deviation(s), (0, 2, 1)), deviation.dtype)  # (R, C, T)
        own = xp.reshape(own, (-1, draws))  # (R·C, T)
        parts = [
            xp.matmul(_excess(xp, xp.matmul(own[rows, :], deviation)), weighted)
            for rows in blocks(own.shape[0], width, numbers)
        ]
        each = xp.reshape(xp.astype(xp.concat(parts, axis=0), xp.float64), s.mean.shape)  # (R, C)
        return xp.clip(xp.sum(s.mean * each, axis=1), min=0.0)

    return formula


def _excess(xp: Any, u: Float[Array, "rows MK"]) -> Float[Array, "rows MK"]:
    """(1 + u) log(1 + u) - u; rounding may bring u slightly below -1, so it is clipped."""
    u = xp.clip(u, min=xp.finfo(u.dtype).eps / 2 - 1.0)
    excess = xp.log1p(u) * (u + 1.0)
    excess -= u
    return excess


def check_targets(log_probs: Array, target_log_probs: Array) -> Any:
    """Refuse targets that do not fit the pool.

    Args:
        log_probs: Log-probabilities of the pool, shape (N, T, C, ...).
        target_log_probs: Log-probabilities of the targets, shape (M, T, K).

    Returns:
        The namespace of both.

    Raises:
        InvalidArgument: There is no target, or pool and targets do not fit together.
        InvalidPredictions: A shape or type does not fit.
    """
    xp = same_place(pool=log_probs, targets=target_log_probs)
    check_shape(log_probs)
    check_shape(target_log_probs)
    shape, target_shape = tuple(log_probs.shape), tuple(target_log_probs.shape)
    if len(target_shape) != 3 or target_shape[0] == 0:
        raise InvalidArgument(f"targets (M, T, C) with M of at least 1 were expected, not {target_shape}")
    if shape[1] != target_shape[1]:
        raise InvalidArgument(
            f"the pool has {shape[1]} samples and the targets have {target_shape[1]};"
            " both must come from the same draws, in the same order"
        )
    return xp


def _checked_weights(xp: Any, weights: Array | None, targets: int, device: Any) -> Float[Array, " M"]:
    if weights is None:
        return xp.ones(targets, dtype=xp.float64, device=device)
    values = np.asarray(to_numpy(weights), np.float64)
    if values.shape != (targets,):
        raise InvalidArgument(f"{targets} weights, one for each target, were expected, not {values.shape}")
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        at = int(np.argmax(bad))
        raise InvalidArgument(f"weight {at} is {values[at]}; weights are finite and not negative")
    return xp.asarray(values, dtype=xp.float64, device=device)
