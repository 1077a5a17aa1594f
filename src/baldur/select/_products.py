"""Inner products of one vector with every row, bounded before they are computed; and blocks of rows."""

from collections.abc import Iterator

import array_api_compat
import numpy as np
from jaxtyping import Float, Int

from baldur.core.arrays import Array, namespace
from baldur.core.blocks import blocks

BLOCK = 2**20
"""How many numbers a temporary array of rows may hold: 8 MiB in float64."""

SKETCH = 32
"""How many directions the coarse bound looks at."""


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of 0..n, so that each block of rows holds at most `BLOCK` numbers.

    Args:
        n: How many rows there are.
        width: How many numbers a row has.

    Returns:
        The slices in order.
    """
    return blocks(n, width, BLOCK)


def squared_distances(
    x: Float[Array, "N D"], rows: Int[Array, " R"], point: Float[Array, " D"]
) -> Float[Array, " R"]:
    """‖x_r - point‖² of some rows, by differences in float64: exactly 0 for a duplicate.

    Args:
        x: Features, shape (N, D).
        rows: Positions of rows, shape (R,).
        point: A float64 vector, shape (D,).

    Returns:
        float64, shape (R,).
    """
    xp = namespace(x)
    result = xp.empty(rows.shape[0], dtype=xp.float64, device=array_api_compat.device(x))
    for part in row_blocks(rows.shape[0], x.shape[1]):
        difference = xp.astype(xp.take(x, rows[part], axis=0), xp.float64) - point
        result[part] = xp.vecdot(difference, difference)
    return result


class Products:
    """Intervals of inner products (x_r - mean) · v of rows with one vector: a cheap wide one, then a narrow one.

    The wide interval projects on an orthonormal basis of the directions in which the rows differ most. By
    Cauchy-Schwarz x · v lies within ‖x⊥‖ ‖v⊥‖ of the product of the projections. The narrow interval is a product in
    the precision of the rows, with its rounding error. Both hold for any basis, so an item that they exclude is
    excluded exactly.

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
            sums = xp.stack([xp.sum(rows, axis=0) for rows in self._double()])  # (blocks, D)
            self.mean = xp.sum(sums, axis=0) / n
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
        for part in row_blocks(*self.x.shape):
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
            # A little of the basis itself keeps its rank where all rows are the same.
            basis = xp.matmul(sample.T, xp.matmul(sample, basis)) + 1e-30 * basis  # (D, m)
        return xp.linalg.qr(basis)[0]

    def _project(self, rows: Float[Array, "R D"]) -> tuple[Float[Array, "R m"], Float[Array, " R"]]:
        """Projections on the basis, and the length of the rest."""
        xp = self.xp
        inside = xp.matmul(rows, self._basis)
        left = xp.vecdot(rows, rows) - xp.vecdot(inside, inside)
        return inside, xp.sqrt(xp.clip(left, min=0.0))

    def coarse(
        self, rows: Int[Array, " R"], vector: Float[Array, " D"]
    ) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
        """An interval of each product from the projections alone; the narrow one where rows are short anyway.

        Args:
            rows: Positions of rows, shape (R,).
            vector: A float64 vector, shape (D,).

        Returns:
            Middle and half width, shape (R,) each.
        """
        if self._sketch is None:
            return self.fine(rows, vector)
        xp = self.xp
        inside, left = self._project(vector[None, :])  # (1, m) and (1,)
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
            rows: Positions of rows, shape (R,).
            vector: A float64 vector, shape (D,).

        Returns:
            Middle and half width, shape (R,) each.
        """
        xp = self.xp
        rounded = xp.astype(vector, self.x.dtype)
        middle = xp.astype(self._multiply(self.x, rows, rounded), xp.float64) - xp.vecdot(self.mean, vector)
        return middle, self._rounding(rounded, self.x.shape[1], self._lengths, rows, vector)

    def _rounding(self, kind: Array, terms: int, lengths: Array, rows: Array, vector: Array) -> Array:
        """The rounding error of a sum of so many products in the precision of `kind`, at most."""
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
            for part in row_blocks(rows.shape[0], table.shape[1])
        ]
        return xp.concat(parts) if parts else xp.matmul(table[:0, :], vector)
