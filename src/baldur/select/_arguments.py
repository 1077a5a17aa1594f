"""Checks of arguments: counts, scores, features and predictions."""

import operator
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.acquire.pointwise import check_items, finite
from baldur.core.arrays import Array, detached, mean_probs, namespace, to_numpy
from baldur.core.blocks import on_cpu
from baldur.errors import InvalidArgument
from baldur.select._products import row_blocks

LARGEST = 1e18
"""The largest absolute value of a feature: sums of squares of larger ones are not finite in float32."""


def as_size(value: Any, name: str = "k") -> int:
    """A count, checked.

    Args:
        value: The count.
        name: The name of the argument.

    Returns:
        The count as an int.

    Raises:
        InvalidArgument: It is negative or not a whole number.
    """
    try:
        size = operator.index(value)
    except TypeError:
        size = -1
    if size < 0:
        raise InvalidArgument(f"{name} is a whole number that is not negative, not {value!r}")
    return size


def count(k: Any, n: int, name: str = "k") -> int:
    """How many to choose of n items.

    Args:
        k: The count that was asked for.
        n: How many items there are.
        name: The name of the argument.

    Returns:
        k, or n where k is larger.

    Raises:
        InvalidArgument: k is negative or not a whole number.
    """
    return min(as_size(k, name), n)


def shortlist(candidates: Any, size: int, factor: int, n: int) -> int:
    """How many of n items a batch is chosen among.

    Args:
        candidates: The count that was asked for, or None.
        size: How many items the batch has.
        factor: How many times the batch there are candidates where the count is not given.
        n: How many items there are.

    Returns:
        The count, at most n.

    Raises:
        InvalidArgument: The count is less than the batch, negative or not a whole number.
    """
    wide = count(factor * size if candidates is None else candidates, n, "candidates")
    if wide < size:
        raise InvalidArgument(f"{wide} candidates are too few to choose {size} of")
    return wide


def as_most(value: Any) -> int | None:
    """The largest number of configurations, checked.

    Args:
        value: The number, or "auto".

    Returns:
        The number; None for "auto".

    Raises:
        InvalidArgument: It is neither "auto" nor a positive whole number.
    """
    if value == "auto":
        return None
    try:
        most = operator.index(value)
    except TypeError:
        most = 0
    if most < 1:
        raise InvalidArgument(f"max_configurations is 'auto' or a positive whole number, not {value!r}")
    return most


def as_scores(scores: Shaped[Array, "..."]) -> NDArray[np.float64]:
    """Scores as NumPy, checked.

    Args:
        scores: The scores.

    Returns:
        The scores, float64, shape (N,).

    Raises:
        InvalidArgument: They are not one-dimensional, or not real numbers.
        NonFiniteScore: A score is NaN or infinite.
    """
    given = to_numpy(scores)
    if given.ndim != 1 or given.dtype.kind not in "fiub":
        raise InvalidArgument(f"scores (N,) were expected, not {given.dtype} of the shape {given.shape}")
    values: NDArray[np.float64] = finite(given.astype(np.float64, copy=False))
    return values


def check_features(
    features: Shaped[Array, "..."], name: str = "features", width: int | None = None
) -> Float[Array, "N D"]:
    """The features as float32 or float64, in NumPy unless they lie on a device of torch.

    Args:
        features: The features.
        name: Their name in an error.
        width: How many columns there must be, where that is known.

    Returns:
        The same array where type and place allow it.

    Raises:
        InvalidArgument: They do not have the two axes (N, D), or a row is not finite.
    """
    xp = namespace(features)
    if features.ndim != 2 or features.shape[1] == 0:
        raise InvalidArgument(f"{name} (N, D) were expected, not the shape {tuple(features.shape)}")
    if width is not None and features.shape[1] != width:
        raise InvalidArgument(f"{name} have {features.shape[1]} columns, {width} were expected")
    if not xp.isdtype(features.dtype, ("real floating", "integral")):
        raise InvalidArgument(f"{name} are of the type {features.dtype}, numbers were expected")
    features = to_numpy(features) if on_cpu(features) else detached(features)
    xp = namespace(features)
    if not xp.isdtype(features.dtype, "real floating"):
        features = xp.astype(features, xp.float64)
    elif features.dtype.itemsize == 2:
        features = xp.astype(features, xp.float32)
    for part in row_blocks(*features.shape):
        good = xp.all(xp.abs(features[part, :]) <= LARGEST, axis=1)  # NaN fails, too
        if not bool(xp.all(good)):
            row = part.start + int(np.argmin(to_numpy(good)))
            raise InvalidArgument(f"{name}: row {row} contains NaN, infinity or a number beyond {LARGEST:g}")
    return features


def host_features(
    features: Shaped[Array, "..."], name: str = "features", width: int | None = None
) -> Float[np.ndarray, "N D"]:
    """Checked features as float64 of NumPy.

    Args:
        features: The features.
        name: Their name in an error.
        width: How many columns there must be, where that is known.

    Returns:
        The features, shape (N, D).

    Raises:
        InvalidArgument: They do not have the two axes (N, D), or a row is not finite.
    """
    return to_numpy(check_features(features, name, width)).astype(np.float64, copy=False)


def labelled_features(
    labelled: Shaped[Array, "..."] | None, features: Float[np.ndarray, "N D"]
) -> Float[np.ndarray, "M D"]:
    """Checked features of the labelled items, as float64 of NumPy.

    Args:
        labelled: The features, or None where nothing is labelled.
        features: The features of the pool, whose columns must be the same.

    Returns:
        The features, shape (M, D).

    Raises:
        InvalidArgument: They do not fit those of the pool, or a row is not finite.
    """
    if labelled is None:
        return features[:0]
    return host_features(labelled, "labelled features", features.shape[1])


def mean_probabilities(log_probs: Shaped[Array, "..."]) -> Float[Array, "N C"]:
    """The mean of the probabilities of items over the samples; without gradient.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).

    Returns:
        float64, shape (N, C), in the caller's namespace and on its device.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    check_items(log_probs)
    return mean_probs(detached(log_probs))


def same_length(n: int, name: str, other: int, what: str) -> None:
    """Refuse two arrays of different items.

    Args:
        n: The length of the first.
        name: The name of the first in the error.
        other: The length of the second.
        what: The name of the second in the error.

    Raises:
        InvalidArgument: The lengths differ.
    """
    if n != other:
        raise InvalidArgument(
            f"{name} are of {n} items and {what} of {other}; they must be of the same items"
        )
