"""One implementation for NumPy and torch: namespaces, checked log-probabilities and their mean.

This module never imports torch; an array of torch brings its own namespace.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import array_api_compat
import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.blocks import blocks, room
from baldur.errors import InvalidArgument, InvalidPredictions

Array: TypeAlias = Any
"""An array of NumPy or of torch. jaxtyping gives its shape and kind: `Float[Array, "N T C"]`."""

FLOOR = -600.0
"""Log-probabilities are raised to this. e^-600 is 0 beside any rounding error, and it is finite."""

_CEILING = 1.0
_CPU_BLOCK = 2**16
_DEVICE_BLOCK = 2**24


def namespace(x: Any) -> Any:
    """The array-API namespace of an array.

    Args:
        x: An array of NumPy or torch.

    Returns:
        The module with the functions for it.

    Raises:
        InvalidArgument: It is not an array, or values of it are masked.
    """
    if np.ma.is_masked(x):
        raise InvalidArgument(
            "the array has masked values, whose mask would be lost; leave them out, or fill them"
        )
    try:
        return array_api_compat.array_namespace(x)
    except TypeError:
        raise InvalidArgument(
            f"an array of NumPy or torch was expected, not {type(x).__name__}; numpy.asarray makes one"
        ) from None


def same_device(**arrays: Any) -> None:
    """Refuse arrays that are on different devices.

    Args:
        arrays: The arrays, by the names that the error gives them.

    Raises:
        InvalidArgument: The devices differ, or one of them is not an array.
    """
    for x in arrays.values():
        namespace(x)  # raises where it is not an array
    places = {name: str(array_api_compat.device(x)) for name, x in arrays.items()}
    (first, here), *others = places.items()
    for name, there in others:
        if here != there:
            raise InvalidArgument(
                f"{first} and {name} are on different devices ({here} and {there}); move one to the other"
            )


def same_place(**arrays: Any) -> Any:
    """The namespace of several arrays, which must be of one library and on one device.

    Args:
        arrays: The arrays, by the names that the error gives them.

    Returns:
        Their namespace.

    Raises:
        InvalidArgument: Libraries or devices differ, or one of them is not an array.
    """
    (first, one), *others = arrays.items()
    for name, x in others:
        if namespace(one) is not namespace(x):
            raise InvalidArgument(
                f"{first} and {name} are arrays of different libraries"
                f" ({type(one).__name__} and {type(x).__name__}); give both as one kind"
            )
    same_device(**arrays)
    return namespace(one)


def detached(x: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """The array without its gradient.

    Args:
        x: An array of NumPy or torch.

    Returns:
        The same values in the same memory.
    """
    return x.detach() if array_api_compat.is_torch_array(x) else x


def to_numpy(x: Shaped[Array, "..."]) -> NDArray[Any]:
    """The array as NumPy, on the CPU and without gradient; bfloat16 becomes float32.

    Args:
        x: An array of NumPy or torch.

    Returns:
        The same values, in the same memory where that is possible.

    Raises:
        InvalidArgument: It is not an array.
    """
    xp = namespace(x)
    if array_api_compat.is_torch_array(x):
        x = x.detach().cpu()
        x = x.to(xp.float32) if x.dtype == xp.bfloat16 else x
    return np.asarray(x)


def tolerance(x: Shaped[Array, "..."]) -> float:
    """How far the sum of a row's probabilities may be from 1: 2e-2 in half precision, else 1e-3.

    Args:
        x: A floating array.

    Returns:
        The tolerance of its type.

    Raises:
        InvalidPredictions: The array is not of a floating type.
    """
    xp = namespace(x)
    if not xp.isdtype(x.dtype, "real floating"):
        raise InvalidPredictions(f"predictions of a floating type were expected, not {x.dtype}")
    return 2e-2 if _is_half(x) else 1e-3


def _is_half(x: Array) -> bool:
    return bool(x.dtype.itemsize == 2)


def log_sum_exp(x: Float[Array, "..."], axis: int) -> Float[Array, "..."]:
    """The logarithm of the sum of exponentials along an axis, which is kept with length 1.

    Args:
        x: Numbers; -inf counts as 0.
        axis: The axis to sum over.

    Returns:
        The logarithms, of the same number of axes; -inf where all numbers are -inf.
    """
    xp = namespace(x)
    largest = xp.max(x, axis=axis, keepdims=True)
    finite = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))
    total = xp.sum(xp.exp(x - finite), axis=axis, keepdims=True)
    return finite + log(total)


def log(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """The logarithm, with -inf at 0 and no warning.

    Args:
        p: Numbers that are not negative.

    Returns:
        An array of the same shape.
    """
    xp = namespace(p)
    return xp.where(p == 0, -xp.inf, xp.log(xp.where(p == 0, xp.ones_like(p), p)))


def p_log_p(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """p log p, with 0 at 0.

    Args:
        p: Numbers that are not negative.

    Returns:
        An array of the same shape, in nats.
    """
    xp = namespace(p)
    return p * xp.log(xp.clip(p, min=xp.finfo(p.dtype).smallest_normal))


@dataclass(frozen=True)
class Samples:
    """Checked predictions of R rows; P[r, t] = first[r] * ratio[r, t].

    The ratios of identical samples are exactly 1, so their disagreement is exactly 0. Log-probabilities are raised to
    `FLOOR` before the ratios are taken. So ratios are finite and need no mask.

    Args:
        log_probs: Log-probabilities as given, shape (R, T, C); half precision as float32.
        log_ratio: Logarithms of the ratios to the first sample, shape (R, T, C).
        ratio: The ratios, shape (R, T, C).
        first: Probabilities of the first sample, shape (R, C).
    """

    log_probs: Float[Array, "R T C"]
    log_ratio: Float[Array, "R T C"]
    ratio: Float[Array, "R T C"]
    first: Float[Array, "R C"]

    @cached_property
    def xp(self) -> Any:
        """The namespace of the arrays."""
        return namespace(self.ratio)

    @cached_property
    def mean_ratio(self) -> Float[Array, "R C"]:
        """The mean of the ratios over the samples."""
        return self.xp.mean(self.ratio, axis=1)

    @cached_property
    def mean(self) -> Float[Array, "R C"]:
        """The mean of the probabilities over the samples."""
        return self.first * self.mean_ratio


def map_samples(
    log_probs: Shaped[Array, "..."], kernel: Callable[[Samples], Array], axes: int = 0
) -> Float[Array, "..."]:
    """Check log-probabilities block by block, and join the kernel's results for all rows.

    The memory needed beside input and result is a few MiB on the CPU (more on a device), whatever N.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial.
        kernel: Takes the samples of R rows and returns an array whose first axis is R.
        axes: How many axes of length C the kernel's result has after the first: 0 for a score, 1 for classes.

    Returns:
        float64, shape (N, ...), or (N, C, ...) where the kernel keeps the classes.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    xp = namespace(log_probs)
    check_shape(log_probs)
    count, _, classes, *spatial = log_probs.shape
    places = int(np.prod(spatial))
    parts = [kernel(samples) for samples in _rows(xp, log_probs, places)]
    if not parts:
        device = array_api_compat.device(log_probs)
        return xp.zeros((count, *[classes] * axes, *spatial), dtype=xp.float64, device=device)
    result = parts[0] if len(parts) == 1 else xp.concat(parts, axis=0)
    if not spatial:
        return result
    result = xp.reshape(result, (count, *spatial, *[classes] * axes))  # (N, ...) or (N, ..., C)
    return xp.moveaxis(result, -1, 1) if axes else result  # (N, ...) or (N, C, ...)


def mean_probs(log_probs: Shaped[Array, "..."]) -> Float[Array, "..."]:
    """The mean prediction as probabilities: p̄ = (1/T) Σ_t p_t.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...), of NumPy or torch.

    Returns:
        Probabilities, float64, shape (N, C, ...), in the caller's namespace and on its device.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    return map_samples(log_probs, lambda s: s.mean, axes=1)


def predictive(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N C *spatial"]:
    """The mean prediction: log p̄ = log (1/T) Σ_t p_t. Logits are never averaged.

    It stays in log space, so a probability far below e^-600 keeps its logarithm.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...), of NumPy or torch.

    Returns:
        Log-probabilities, float64, shape (N, C, ...), in the caller's namespace and on its device.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    return map_samples(log_probs, _log_mean, axes=1)


def _log_mean(s: Samples) -> Float[Array, "R C"]:
    total = log_sum_exp(s.xp.astype(s.log_probs, s.xp.float64), axis=1)  # (R, 1, C)
    return total[:, 0, :] - np.log(s.log_probs.shape[1])


def check_shape(log_probs: Shaped[Array, "..."]) -> None:
    """Refuse an array whose shape or type cannot be that of log-probabilities (N, T, C, ...).

    Args:
        log_probs: The array.

    Raises:
        InvalidPredictions: It has fewer than three axes, no sample, fewer than two classes or another type.
    """
    tolerance(log_probs)
    shape = tuple(log_probs.shape)
    if len(shape) < 3:
        raise InvalidPredictions(
            f"log-probabilities (N, T, C, ...) were expected, not the shape {shape};"
            " from_probs and from_logits make them of (N, C)"
        )
    if shape[1] == 0:
        raise InvalidPredictions(f"at least one posterior sample was expected, not the shape {shape}")
    if shape[2] < 2:
        raise InvalidPredictions(
            f"at least two classes were expected, not the shape {shape};"
            " from_sigmoid makes two of the one column of a sigmoid"
        )


def _rows(xp: Any, log_probs: Array, places: int) -> Iterator[Samples]:
    """The rows of log-probabilities in order, a bounded count at a time; a place of an item is a row."""
    count, draws, classes, *spatial = log_probs.shape
    rows = max(1, room(log_probs, _CPU_BLOCK, _DEVICE_BLOCK) // (draws * classes))
    for items in blocks(count if places else 0, places, rows):
        block = log_probs[items, ...]
        if spatial:
            block = xp.reshape(block, (block.shape[0], draws, classes, places))  # (n, T, C, P)
            block = xp.permute_dims(block, (0, 3, 1, 2))  # (n, P, T, C)
            block = xp.reshape(block, (-1, draws, classes))  # (n·P, T, C)
        for row in range(0, block.shape[0], rows):
            yield _checked(xp, block[row : row + rows, ...], items.start * places + row, tuple(spatial))


def _checked(xp: Any, block: Array, row: int, spatial: tuple[int, ...]) -> Samples:
    """The samples of rows (R, T, C), or an error that names the first row that is not normalised."""
    limit = tolerance(block)
    if _is_half(block):
        # Half precision rounds a row away from 1 by up to the tolerance, so it is normalised again.
        half, block = block, xp.astype(block, xp.float32)
        log_sum = log_sum_exp(xp.clip(block, FLOOR, _CEILING), axis=2)
        _check_sums(xp, xp.exp(log_sum[:, :, 0]), limit, half, row, spatial)
        block = block - log_sum
    log_ratio = xp.astype(xp.clip(block, FLOOR, _CEILING), xp.float64)
    log_first = log_ratio[:, :1, :] + 0.0
    log_ratio -= log_first
    samples = Samples(block, log_ratio, xp.exp(log_ratio), xp.exp(log_first[:, 0, :]))
    sums = xp.matmul(samples.ratio, samples.first[:, :, None])[:, :, 0]  # (R, T)
    _check_sums(xp, sums, limit, block, row, spatial)
    return samples


def _check_sums(xp: Any, sums: Array, limit: float, block: Array, row: int, spatial: tuple[int, ...]) -> None:
    good = xp.abs(sums - 1) <= limit
    if bool(xp.all(good)):
        return
    r, t = (int(i) for i in np.argwhere(~to_numpy(good))[0])
    n, *place = np.unravel_index(row + r, (row + block.shape[0], *spatial))
    values = to_numpy(block[r, t, ...]).astype(np.float64)
    at = f" at {tuple(int(i) for i in place)}" if place else ""
    raise InvalidPredictions(
        f"item {int(n)}, sample {t}{at} is not normalised: {describe(values, np.exp(values.clip(max=700)))}"
        f" (expected log-probabilities that sum to 1 within {limit}; from_logits and from_probs make them)"
    )


def describe(values: NDArray[np.float64], probs: NDArray[np.float64]) -> str:
    """The fault of a row in words, for an error.

    Args:
        values: The row as given, shape (C,).
        probs: Its probabilities, shape (C,).

    Returns:
        Its first values and, if they are numbers, the sum of the probabilities.
    """
    shown = ", ".join(f"{value:.6g}" for value in values[:5]) + (", ..." if len(values) > 5 else "")
    if np.isnan(values).any():
        return f"[{shown}] contains NaN"
    if np.isposinf(values).any():
        return f"[{shown}] contains +inf"
    return f"[{shown}] sums to {probs.sum():.6g}"
