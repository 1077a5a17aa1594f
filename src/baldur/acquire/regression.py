"""Disagreement between posterior samples that predict numbers: means, with or without variances."""

from collections.abc import Callable
from typing import Literal

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped

from baldur.acquire.pointwise import finite, warn_of_ties
from baldur.core.arrays import Array, namespace, same_device, to_numpy
from baldur.core.blocks import blocks, room
from baldur.errors import InvalidArgument, InvalidPredictions

_CPU_BLOCK = 2**18


def variance(
    means: Float[Array, "N T *outputs"], reduce: Literal["mean", "sum", "max", "logdet"] = "mean"
) -> Float[Array, "N *spatial"]:
    """Variance of the predicted mean over the samples: uncertainty that more labels can remove.

    (1/T) Σ_t (μ_t - μ̄)² for each output, then their mean, sum or maximum; logdet: log det of the outputs'
    covariance (1/T) Σ_t (μ_t - μ̄)(μ_t - μ̄)ᵀ. It needs more samples than outputs. The others depend on the units of
    the outputs, so standardise the targets first.

    A. Kendall and Y. Gal, What Uncertainties Do We Need in Bayesian Deep Learning for Computer Vision?, NIPS 2017.

    Needs: samples of means. Cost: O(N T O), with logdet O(N (T + O) O²). Use: for regression with one output,
    or outputs of one unit; it ignores the noise.

    Args:
        means: Predicted means, shape (N, T) or (N, T, O, ...) with O outputs; further axes are spatial and kept.
        reduce: How the outputs become one score.

    Returns:
        Scores, float64, shape (N, ...).

    Raises:
        InvalidArgument: The reduction has another name, or logdet has too few samples.
        InvalidPredictions: The shape or type does not fit, or a mean is not a finite number.
        NonFiniteScore: The covariance of an item is singular (logdet).
    """
    if reduce not in ("mean", "sum", "max", "logdet"):
        raise InvalidArgument(f"reduce is 'mean', 'sum', 'max' or 'logdet', not {reduce!r}")
    _check(means, "means")
    if reduce == "logdet" and means.ndim > 2 and means.shape[1] <= means.shape[2]:
        raise InvalidArgument(
            f"logdet needs more samples than outputs, not {means.shape[1]} for {means.shape[2]};"
            " draw more samples or take reduce='mean'"
        )
    warn_of_ties(means, "variance", instead="")
    return _in_blocks(lambda block: _reduced(block, reduce), means)


def _reduced(means: Float[Array, "R T O *spatial"], reduce: str) -> Float[Array, "R *spatial"]:
    xp = namespace(means)
    centred = _centred(means)
    if reduce == "logdet":
        outputs = xp.moveaxis(centred, (1, 2), (-2, -1))  # (R, ..., T, O)
        covariance = xp.matmul(xp.matrix_transpose(outputs), outputs) / means.shape[1]  # (R, ..., O, O)
        return xp.linalg.slogdet(covariance)[1]
    spread = xp.mean(centred * centred, axis=1)  # (R, O, ...)
    if reduce == "max":
        return xp.max(spread, axis=1)
    return xp.sum(spread, axis=1) if reduce == "sum" else xp.mean(spread, axis=1)


def gaussian_information_gain(
    means: Float[Array, "N T *outputs"], variances: Float[Array, "N T *outputs"]
) -> Float[Array, "N *spatial"]:
    """Mutual information between value and parameters, where one Gaussian approximates the mixture of samples.

    Σ_o ½ log(total_o / aleatoric_o), where aleatoric = (1/T) Σ_t σ_t² and total = aleatoric + (1/T) Σ_t (μ_t - μ̄)².
    It is not negative, and exactly 0 where all means are the same. The units of the outputs do not matter.

    D. J. C. MacKay, Information-Based Objective Functions for Active Data Selection, Neural Computation, 1992.

    Needs: samples of means and variances. Cost: O(N T O). Use: for regression where the noise depends on the
    input, or outputs have different units.

    Args:
        means: Predicted means, shape (N, T) or (N, T, O, ...) with O outputs; further axes are spatial and kept.
        variances: Predicted variances of the noise, positive, of the same shape.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidArgument: Means and variances differ in shape, kind or device.
        InvalidPredictions: The shape or type does not fit, a value is not finite or a variance not positive.
        NonFiniteScore: A score is not a finite number.
    """
    if namespace(means) is not namespace(variances) or tuple(means.shape) != tuple(variances.shape):
        raise InvalidArgument(
            "means and variances of one library and shape were expected, not"
            f" {type(means).__name__} {tuple(means.shape)} and {type(variances).__name__} {tuple(variances.shape)}"
        )
    same_device(means=means, variances=variances)
    _check(means, "means")
    _check(variances, "variances", positive=True)
    warn_of_ties(means, "gaussian_information_gain", instead="")
    return _in_blocks(_gain, means, variances)


def _gain(
    means: Float[Array, "R T O *spatial"], variances: Float[Array, "R T O *spatial"]
) -> Float[Array, "R *spatial"]:
    xp = namespace(means)
    centred = _centred(means)
    ratio = xp.mean(centred * centred, axis=1) / xp.mean(variances, axis=1)  # (R, O, ...)
    return 0.5 * xp.sum(xp.log1p(ratio), axis=1)


def _centred(means: Float[Array, "R T *rest"]) -> Float[Array, "R T *rest"]:
    """Deviations from the mean. The first sample is subtracted before, so they are 0 for identical samples."""
    xp = namespace(means)
    from_first = means - means[:, :1, ...]
    return from_first - xp.mean(from_first, axis=1, keepdims=True)


def _in_blocks(formula: Callable[..., Array], *arrays: Array) -> Array:
    """The formula over items in float64, a bounded count at a time; (N, T) gains one output."""
    xp = namespace(arrays[0])
    device = array_api_compat.device(arrays[0])
    shape = tuple(arrays[0].shape)
    parts = [xp.zeros((0, *shape[3:]), dtype=xp.float64, device=device)]
    for items in blocks(shape[0], int(np.prod(shape[1:])), room(arrays[0], _CPU_BLOCK)):
        some = [xp.astype(x[items, ...], xp.float64) for x in arrays]
        parts.append(formula(*(x[:, :, None] if x.ndim == 2 else x for x in some)))  # (n, T, O, ...)
    return finite(xp.concat(parts, axis=0))


def _check(values: Shaped[Array, "..."], name: str, positive: bool = False) -> None:
    xp = namespace(values)
    shape = tuple(values.shape)
    if not xp.isdtype(values.dtype, "real floating"):
        raise InvalidPredictions(f"{name} of a floating type were expected, not {values.dtype}")
    if len(shape) < 2 or 0 in shape[1:3]:
        raise InvalidPredictions(
            f"{name} (N, T) or (N, T, O, ...) with at least one sample were expected, not the shape {shape}"
        )
    good = xp.isfinite(values) & (values > 0) if positive else xp.isfinite(values)
    if not bool(xp.all(good)):
        n, t, *rest = np.argwhere(~to_numpy(good))[0].tolist()
        wanted = "a finite positive number" if positive else "a finite number"
        value = float(to_numpy(values[(n, t, *rest)]))
        raise InvalidPredictions(f"item {n}, sample {t} of the {name} is {value}; {wanted} was expected")
