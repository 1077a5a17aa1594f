"""Features and counts as they arrive, and inner products with every row that are bounded before they are computed."""

import operator
from collections.abc import Iterator
from typing import SupportsIndex

import array_api_compat
import numpy as np
from jaxtyping import Float, Int, Shaped

from baldur.core.arrays import Array, map_samples, namespace, to_numpy
from baldur.errors import InvalidArgument, InvalidPredictions

LARGEST = 1e18
"""What a feature may be at most: sums of squares of larger ones are not finite in float32."""

BLOCK = 2**20
"""How many numbers a temporary array of rows may hold: 8 MiB in float64."""

SKETCH = 32
"""How many directions the coarse bound looks at."""


def count(k: SupportsIndex, n: int) -> int:
    """How many to choose of n items.

    Args:
        k: What was asked for.
        n: How many there are.

    Returns:
        k, or n where k is larger.

    Raises:
        InvalidArgument: k is negative or not a whole number.
    """
    try:
        size = operator.index(k)
    except TypeError:
        size = -1
    if size < 0:
        raise InvalidArgument(f"k is a whole number that is not negative, not {k!r}")
    return min(size, n)


def blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of 0..n, each of so many rows of `width` numbers as a temporary array may hold.

    Args:
        n: How many rows there are.
        width: How many numbers a row has.

    Yields:
        The slices in order.
    """
    step = max(1, BLOCK // max(1, width))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def check_features(
    features: Shaped[Array, "..."], name: str = "features", width: int | None = None
) -> Float[Array, "N D"]:
    """The features as float32 or float64, in NumPy unless they lie on a device of torch.

    Args:
        features: What was given.
        name: What the error calls them.
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
    if str(array_api_compat.device(features)) == "cpu":
        features = to_numpy(features)
        xp = namespace(features)
    elif hasattr(features, "detach"):
        features = features.detach()
    if not xp.isdtype(features.dtype, "real floating"):
        features = xp.astype(features, xp.float64)
    elif features.dtype.itemsize == 2:
        features = xp.astype(features, xp.float32)
    for part in blocks(*features.shape):
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
        features: What was given.
        name: What the error calls them.
        width: How many columns there must be, where that is known.

    Returns:
        The features, shape (N, D).

    Raises:
        InvalidArgument: They do not have the two axes (N, D), or a row is not finite.
    """
    return to_numpy(check_features(features, name, width)).astype(np.float64, copy=False)


def mean_probabilities(log_probs: Shaped[Array, "..."]) -> Float[Array, "N C"]:
    """The mean of the probabilities over the samples; without gradient.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C).

    Returns:
        float64, shape (N, C), in the caller's namespace and on its device.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
    """
    namespace(log_probs)
    if log_probs.ndim != 3:
        raise InvalidPredictions(
            f"log-probabilities (N, T, C) were expected, not the shape {tuple(log_probs.shape)};"
            " from_probs and from_logits make them of (N, C)"
        )
    if hasattr(log_probs, "detach"):
        log_probs = log_probs.detach()
    return map_samples(log_probs, lambda s: s.mean, axes=1)


def same_length(n: int, name: str, other: int, what: str) -> None:
    """Refuse two arrays that do not speak of the same items.

    Args:
        n: The length of the first.
        name: What the error calls it.
        other: The length of the second.
        what: What the error calls that one.

    Raises:
        InvalidArgument: The lengths differ.
    """
    if n != other:
        raise InvalidArgument(
            f"{name} are of {n} items and {what} of {other}; they must be of the same items"
        )


def same_device(a: Shaped[Array, "..."], name: str, b: Shaped[Array, "..."], what: str) -> None:
    """Refuse two arrays that are on different devices.

    Args:
        a: The first.
        name: What the error calls it.
        b: The second.
        what: What the error calls that one.

    Raises:
        InvalidArgument: The devices differ.
    """
    for x in (a, b):
        namespace(x)  # an array, or an error that says what it is
    here, there = (str(array_api_compat.device(x)) for x in (a, b))
    if here != there:
        raise InvalidArgument(f"the {name} are on {here} and the {what} on {there}; move one of them")


def squared_distances(
    x: Float[Array, "N D"], rows: Int[Array, " R"], point: Float[Array, " D"]
) -> Float[Array, " R"]:
    """‖x_r - point‖² of some rows by differences in float64: exactly 0 for a duplicate.

    Args:
        x: Features, shape (N, D).
        rows: Which of them, shape (R,).
        point: A float64 vector, shape (D,).

    Returns:
        float64, shape (R,).
    """
    xp = namespace(x)
    result = xp.empty(rows.shape[0], dtype=xp.float64, device=array_api_compat.device(x))
    for part in blocks(rows.shape[0], x.shape[1]):
        difference = xp.astype(xp.take(x, rows[part], axis=0), xp.float64) - point
        result[part] = xp.vecdot(difference, difference)
    return result


class Products:
    """Inner products (x_r - mean) · v of rows with one vector: an interval first, cheaply, then a narrow one.

    With an orthonormal basis of the directions in which the rows differ most, x · v lies within ‖x⊥‖ ‖v⊥‖ of the
    product of the projections (Cauchy-Schwarz); a product in the rows' own precision lies within its rounding
    error. Both intervals hold whatever the basis is, so what they exclude is excluded exactly.

    Args:
        x: Features, float32 or float64, shape (N, D).
        centred: Whether the mean is subtracted; else it is 0.
        sketch: Whether projections are kept, for `coarse`.
    """

    def __init__(self, x: Float[Array, "N D"], centred: bool, sketch: bool = True) -> None:
        xp = self.xp = namespace(x)
        self.x = x
        self.device = array_api_compat.device(x)
        n, width = x.shape
        self.mean = xp.zeros(width, dtype=xp.float64, device=self.device)
        if centred and n:
            self.mean = xp.sum(xp.stack([xp.sum(r, axis=0) for r in self._double()]), axis=0) / n
        self._basis = self._directions() if sketch and width > 2 * SKETCH else None
        lengths, squares, sketches, left = [], [], [], []
        for rows in self._double():
            lengths.append(xp.sqrt(xp.vecdot(rows, rows)))
            rows = rows - self.mean
            squares.append(xp.vecdot(rows, rows))
            if self._basis is not None:
                inside, beside = self._project(rows)
                sketches.append(xp.astype(inside, xp.float32))
                left.append(beside)
        self.squares = xp.concat(squares) if n else xp.zeros(0, dtype=xp.float64, device=self.device)
        self._lengths = xp.concat(lengths) if n else self.squares
        self._radii = xp.sqrt(self.squares)
        self._sketch = xp.concat(sketches) if sketches else None
        self._left = xp.concat(left) if left else None

    def _double(self) -> Iterator[Array]:
        for part in blocks(*self.x.shape):
            yield self.xp.astype(self.x[part, :], self.xp.float64)

    def _directions(self) -> Float[Array, "D m"]:
        """An orthonormal basis near the leading principal directions, by two steps of subspace iteration."""
        xp = self.xp
        n, width = self.x.shape
        sample = xp.astype(self.x[:: max(1, n // 2048), :], xp.float64) - self.mean
        start = np.random.default_rng(0).normal(size=(width, SKETCH))
        basis = xp.asarray(start, dtype=xp.float64, device=self.device)
        for _ in range(3):
            basis = xp.linalg.qr(basis)[0]
            basis = xp.matmul(sample.T, xp.matmul(sample, basis)) + 1e-30 * basis
        return xp.linalg.qr(basis)[0]

    def _project(self, rows: Float[Array, "R D"]) -> tuple[Float[Array, "R m"], Float[Array, " R"]]:
        """Projections on the basis, and the length of what is left."""
        xp = self.xp
        inside = xp.matmul(rows, self._basis)
        left = xp.vecdot(rows, rows) - xp.vecdot(inside, inside)
        return inside, xp.sqrt(xp.clip(left, min=0.0))

    def coarse(
        self, rows: Int[Array, " R"], vector: Float[Array, " D"]
    ) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
        """An interval of each product from the projections alone; the narrow one where the rows are short anyway.

        Args:
            rows: Which rows, shape (R,).
            vector: A float64 vector, shape (D,).

        Returns:
            Middle and half width, shape (R,) each.
        """
        if self._sketch is None:
            return self.fine(rows, vector)
        xp = self.xp
        inside, left = self._project(vector[None, :])
        middle = self._multiply(self._sketch, rows, xp.astype(inside[0, :], xp.float32))
        width = xp.take(self._left, rows) * left[0]
        return xp.astype(middle, xp.float64), width + self._rounding(
            middle, SKETCH, self._radii, rows, vector
        )

    def fine(
        self, rows: Int[Array, " R"], vector: Float[Array, " D"]
    ) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
        """An interval of each product from all columns, in the precision of the rows.

        Args:
            rows: Which rows, shape (R,).
            vector: A float64 vector, shape (D,).

        Returns:
            Middle and half width, shape (R,) each.
        """
        xp = self.xp
        rounded = xp.astype(vector, self.x.dtype)
        middle = xp.astype(self._multiply(self.x, rows, rounded), xp.float64) - xp.vecdot(self.mean, vector)
        return middle, self._rounding(rounded, self.x.shape[1], self._lengths, rows, vector)

    def _rounding(self, kind: Array, terms: int, lengths: Array, rows: Array, vector: Array) -> Array:
        """How far a sum of so many products, in the precision of `kind`, may be from the exact one."""
        xp = self.xp
        info = xp.finfo(kind.dtype)
        size = float(info.eps) * float(xp.linalg.vector_norm(vector))
        return (terms + 8) * (size * xp.take(lengths, rows) + float(info.smallest_normal))

    def _multiply(self, table: Array, rows: Array, vector: Array) -> Array:
        xp = self.xp
        if 2 * rows.shape[0] > table.shape[0]:
            return xp.take(xp.matmul(table, vector), rows, axis=0)
        parts = [
            xp.matmul(xp.take(table, rows[part], axis=0), vector)
            for part in blocks(rows.shape[0], table.shape[1])
        ]
        return xp.concat(parts) if parts else xp.matmul(table[:0, :], vector)
