"""Checks of the arguments of every function of this folder. Arrays of NumPy and of torch come out as NumPy."""

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import is_torch_array as is_torch
from jaxtyping import Float, Integer
from numpy.typing import NDArray

from baldur.core.arrays import Array, predictive, to_numpy
from baldur.errors import InvalidArgument, InvalidLabel, InvalidPredictions

LogProbs: TypeAlias = Float[Array, "N C"]
Labels: TypeAlias = Integer[Array, " N"]


def checked(log_probs: Any, labels: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Mean predictions and their labels, as NumPy.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of NumPy or torch.
        labels: Class indices, shape (N,), of NumPy or torch.

    Returns:
        The log-probabilities in float64 and the labels.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: The labels are not integers, or a label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    # An array of torch stays one here, since half precision has a tolerance of its own.
    p = (
        log_probs
        if not isinstance(log_probs, np.ndarray) and is_torch(log_probs)
        else as_array("log_probs", log_probs)
    )
    shape = tuple(p.shape)
    if len(shape) != 2 or shape[1] < 2:
        hints = {3: "; evaluate.predictive averages the samples of (N, T, C)"}
        hints[2] = "; from_sigmoid makes two classes of the one column of a sigmoid"
        raise InvalidPredictions(
            f"mean log-probabilities (N, C) of at least two classes were expected, not the shape {shape}"
            + hints.get(len(shape), "")
        )
    known = checked_labels(labels, shape)
    return to_numpy(predictive(p[:, None, :])), known  # (N, C), (N,)


def checked_labels(labels: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Labels that fit the predictions, as NumPy.

    Args:
        labels: Class indices, shape (N,), of NumPy or torch.
        shape: The shape of the predictions, (N, ..., C).

    Returns:
        The labels.

    Raises:
        InvalidLabel: The labels are not integers, or a label is not one of the classes.
        InvalidArgument: There are no items, or not one label for each.
    """
    count, classes = shape[0], shape[-1]
    given = as_array("labels", labels)
    known = indices("labels", given, 1) if given.size else np.zeros(0, np.int64)
    if count == 0:
        raise InvalidArgument("there are no items to measure on; give at least one prediction with its label")
    if len(known) != count:
        raise InvalidArgument(f"{count} labels were expected, one for each prediction, not {len(known)}")
    bad = (known < 0) | (known >= classes)
    if bad.any():
        first = int(np.argmax(bad))
        raise InvalidLabel(f"the label of item {first} is {known[first]}; expected 0 to {classes - 1}")
    return known


def indices(name: str, values: Any, axes: int) -> NDArray[np.int64]:
    """Class indices as NumPy.

    Args:
        name: The name of the argument.
        values: Whole numbers of an integer type, of NumPy or torch.
        axes: How many axes there must be.

    Returns:
        The indices.

    Raises:
        InvalidLabel: They are not of an integer type.
        InvalidArgument: The number of axes differs.
    """
    x = as_array(name, values)
    if x.ndim != axes:
        one_hot = "; argmax(axis=1) makes classes of one-hot rows" if axes == 1 and x.ndim == 2 else ""
        raise InvalidArgument(f"{name} must have {_axes(axes)}, not the shape {x.shape}{one_hot}")
    if not np.issubdtype(x.dtype, np.integer):
        raise InvalidLabel(
            f"{name} must be class indices of an integer type, not {x.dtype}; convert them with astype(int)"
        )
    return x.astype(np.int64)


def numbers(name: str, values: Any, axes: int, finite: bool = True) -> NDArray[np.float64]:
    """Numbers as NumPy.

    Args:
        name: The name of the argument.
        values: Numbers, of NumPy or torch, or a list.
        axes: How many axes there must be.
        finite: Whether infinity is refused, too; NaN always is.

    Returns:
        The numbers in float64.

    Raises:
        InvalidArgument: They are no numbers, one is NaN or infinite, or the number of axes differs.
    """
    x = real(name, values)
    if x.ndim != axes:
        raise InvalidArgument(f"{name} must have {_axes(axes)}, not the shape {x.shape}")
    bad = ~np.isfinite(x) if finite else np.isnan(x)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        where = first[0] if len(first) == 1 else first
        allowed = "finite numbers" if finite else "numbers without NaN"
        raise InvalidArgument(f"{name} must be {allowed}; the value at {where} is {x[first]:g}")
    return x


def real(name: str, values: Any) -> NDArray[np.float64]:
    """Real numbers as NumPy; they may be NaN or infinite.

    Args:
        name: The name of the argument.
        values: Numbers, of NumPy or torch, or a list.

    Returns:
        The numbers in float64.

    Raises:
        InvalidArgument: They are no real numbers.
    """
    x = as_array(name, values)
    if x.dtype.kind not in "biuf":
        raise InvalidArgument(f"{name} must be real numbers, not of the type {x.dtype}: {_start(values)}")
    return x.astype(np.float64)


def number(name: str, value: object, low: float, high: float = math.inf, *, inside: bool = False) -> float:
    """A number within bounds.

    Args:
        name: The name of the argument.
        value: Its value.
        low: The least value.
        high: The largest value.
        inside: Whether the bounds themselves are refused.

    Returns:
        The number.

    Raises:
        InvalidArgument: It is no number, or out of bounds.
    """
    x = math.nan  # lies within no bounds
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        x = float(value)
    if not (low < x < high if inside else low <= x <= high) or math.isinf(x):
        bounds = f"between {low:g} and {high:g}" if math.isfinite(high) else f"at least {low:g}"
        bounds = "greater than 0" if inside and math.isinf(high) else bounds
        bounds = "that is finite" if math.isinf(low) else bounds
        raise InvalidArgument(f"{name} must be a number {bounds}, not {value!r}")
    return x


def whole(name: str, value: object, low: int) -> int:
    """A whole number of at least `low`.

    Args:
        name: The name of the argument.
        value: Its value.
        low: The least value.

    Returns:
        The number.

    Raises:
        InvalidArgument: It is no whole number, or too small.
    """
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
        raise InvalidArgument(f"{name} must be a whole number of at least {low}, not {value!r}")
    return int(value)


def as_array(name: str, values: Any) -> NDArray[Any]:
    """An array of torch as NumPy, and anything else as NumPy makes it.

    Args:
        name: The name of the argument.
        values: An array, or a list.

    Returns:
        The array.

    Raises:
        InvalidArgument: It cannot be an array.
    """
    if not isinstance(values, np.ndarray | Sequence) and is_torch(values):
        return to_numpy(values)
    if np.ma.is_masked(values):
        raise InvalidArgument(
            f"{name} has masked values, whose mask would be lost; leave them out, or fill them"
        )
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise InvalidArgument(
            f"{name} must be an array of NumPy or torch, not {type(values).__name__}"
        ) from None


def _start(values: Any) -> str:
    """The beginning of some values, for a message."""
    told = " ".join(repr(values).split())
    return told if len(told) <= 60 else f"{told[:60]}..."


def _axes(axes: int) -> str:
    return "one axis" if axes == 1 else f"{axes} axes"
