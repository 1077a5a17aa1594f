"""What a label says about predictions elsewhere: information aimed at chosen target inputs."""

from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped

from baldur.acquire import fused
from baldur.acquire.pointwise import pointwise, warn_of_ties
from baldur.core.arrays import Array, Samples, check_shape, map_samples, namespace, to_numpy
from baldur.errors import InvalidArgument

_CPU_BLOCK = 2**18
_DEVICE_BLOCK = 2**26


def epig(
    log_probs: Float[Array, "N T C *spatial"],
    target_log_probs: Float[Array, "M T K"],
    weights: Shaped[Array, " M"] | None = None,
) -> Float[Array, "N *spatial"]:
    """Information that the label gives about the labels of target inputs, on average over them.

    (1/M) Σ_m w_m I(y; y_m | x, x_m) = (1/M) Σ_m w_m KL(p(y, y_m) ‖ p(y) p(y_m)) with
    p(y, y_m) = (1/T) Σ_t p_t(y) p_t(y_m). For weights that average 1 it lies in [0, min(BALD(x), mean BALD of
    the targets)]. Sample t must be the same function for pool and targets. Take targets from where predictions
    will be made, never the labelled set.

    Where both inputs are float32 or half, the product over samples is taken in float32, of deviations from the
    mean, so that rounding errors shrink with the dependence. Otherwise all is float64.

    F. Bickford Smith, A. Kirsch, S. Farquhar, Y. Gal, A. Foster and T. Rainforth, Prediction-Oriented Bayesian
    Active Learning, AISTATS 2023.

    Needs: samples, samples at targets. Cost: O(N M T C²). Use: where it is known on what inputs the model will
    be used, or the pool holds much that nobody will ask about, which BALD pursues.

    Args:
        log_probs: Normalised log-probabilities of the pool, shape (N, T, C, ...); further axes are spatial.
        target_log_probs: Normalised log-probabilities of the targets, shape (M, T, K); K is C as a rule.
        weights: How much each target counts, not negative, shape (M,); 1 each if not given.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: There is no target, pool and targets do not fit together, or a weight is negative.
        NonFiniteScore: A score is not a finite number.
    """
    xp = _common_namespace(log_probs, target_log_probs)
    device = array_api_compat.device(log_probs)
    single = max(log_probs.dtype.itemsize, target_log_probs.dtype.itemsize) < 8
    dtype = xp.float32 if single else xp.float64
    targets, draws, classes = target_log_probs.shape
    warn_of_ties(log_probs, "epig")
    deviation = xp.permute_dims(map_samples(target_log_probs, _deviation), (1, 0, 2))
    deviation = xp.astype(xp.reshape(deviation, (draws, targets * classes)) / draws, dtype)
    mean = map_samples(target_log_probs, lambda s: s.mean, axes=1)  # (M, K)
    weighted = mean * (_checked_weights(xp, weights, targets, device) / targets)[:, None]
    weighted = xp.astype(xp.reshape(weighted, (-1,)), dtype)
    formula = _dependence(deviation, weighted, str(device) == "cpu")
    if single and fused.applies(log_probs):
        return fused.epig(log_probs, deviation, weighted, formula)
    return pointwise(log_probs, formula)


def _deviation(s: Samples) -> Float[Array, "R T C"]:
    # p_t / p̄ - 1: in [-1, T - 1] however small p̄ is, and exactly 0 where samples are identical
    return s.ratio / s.mean_ratio[:, None, :] - 1.0


def _dependence(
    deviation: Float[Array, "T MK"], weighted: Float[Array, " MK"], on_cpu: bool
) -> Callable[[Samples], Float[Array, " R"]]:
    """The formula, for targets that are ready.

    With u = (1/T) Σ_t (p_t/p̄ - 1)(q_t/q̄ - 1) a joint probability is p̄ q̄ (1 + u), and since the p̄ q̄ u sum to 0
    the divergence is Σ p̄ q̄ [(1 + u) log(1 + u) - u]: no term is negative, and nothing cancels.
    """
    rows = max(1, (_CPU_BLOCK if on_cpu else _DEVICE_BLOCK) // deviation.shape[1])

    def formula(s: Samples) -> Float[Array, " R"]:
        xp = s.xp
        draws = deviation.shape[0]
        own = xp.astype(xp.permute_dims(_deviation(s), (0, 2, 1)), deviation.dtype)
        own = xp.reshape(own, (-1, draws))  # (R·C, T)
        parts = [
            xp.matmul(_excess(xp, xp.matmul(own[start : start + rows, :], deviation)), weighted)
            for start in range(0, own.shape[0], rows)
        ]
        each = xp.reshape(xp.astype(xp.concat(parts, axis=0), xp.float64), s.mean.shape)
        return xp.clip(xp.sum(s.mean * each, axis=1), min=0.0)

    return formula


def _excess(xp: Any, u: Float[Array, "rows MK"]) -> Float[Array, "rows MK"]:
    """(1 + u) log(1 + u) - u, where u is at least -1 but for rounding."""
    u = xp.clip(u, min=xp.finfo(u.dtype).eps / 2 - 1.0)
    excess = xp.log1p(u) * (u + 1.0)
    excess -= u
    return excess


def _common_namespace(log_probs: Array, target_log_probs: Array) -> Any:
    xp = namespace(log_probs)
    if namespace(target_log_probs) is not xp:
        raise InvalidArgument(
            "pool and targets are arrays of different libraries"
            f" ({type(log_probs).__name__} and {type(target_log_probs).__name__}); give both as one kind"
        )
    here, there = (array_api_compat.device(x) for x in (log_probs, target_log_probs))
    if here != there:
        raise InvalidArgument(f"the pool is on {here} and the targets are on {there}; move one to the other")
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
