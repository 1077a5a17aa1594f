"""Log-probabilities that are read on demand, for a pool that does not fit in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.errors import InvalidArgument

Read = Callable[[NDArray[np.intp]], NDArray[Any]]
"""From ascending positions to log-probabilities (n, T, C)."""


class Contenders:
    """The log-probabilities of the items that were asked for, as far as there is room for them.

    Args:
        read: Gives the log-probabilities of some items.
        shape: (N, T, C).
        room: How many items are kept; when it is full, all are dropped and read again on demand.
    """

    def __init__(self, read: Read, shape: Sequence[int], room: int) -> None:
        self.shape = tuple(shape)
        self.room = max(1, room)
        self.reads = 0
        self.seen = np.zeros(self.shape[0], np.bool_)
        self._read = read
        self._place = np.full(self.shape[0], -1, np.intp)
        self._kept: NDArray[Any] = np.empty((0, *self.shape[1:]), np.float32)
        self._count = 0

    @property
    def like(self) -> Float[np.ndarray, "0 T C"]:
        """An empty array of the library and type of the log-probabilities."""
        return self._kept[:0]

    def want(self, items: NDArray[np.intp]) -> None:
        """Read the missing ones of some items at once; they may not be more than there is room for.

        Args:
            items: Positions.

        Raises:
            InvalidArgument: The reader gave an array of another shape.
        """
        new = np.unique(items[self._place[items] < 0])
        if self._count + len(new) > self.room:
            self._place[:] = -1
            self._count = 0
            new = np.unique(items)
        if not len(new):
            return
        rows = self._read(new)
        if tuple(rows.shape) != (len(new), *self.shape[1:]):
            raise InvalidArgument(
                f"log-probabilities of {len(new)} items, {(len(new), *self.shape[1:])}, were expected, not {rows.shape}"
            )
        end = self._count + len(new)
        if end > len(self._kept):
            larger = np.empty((min(self.room, max(end, 2 * self._count)), *self.shape[1:]), rows.dtype)
            larger[: self._count] = self._kept[: self._count]
            self._kept = larger
        self._kept[self._count : end] = rows
        self.seen[new] = True
        self._place[new] = np.arange(self._count, end)
        self._count = end
        self.reads += len(new)

    def take(self, items: NDArray[np.intp]) -> Float[np.ndarray, "n T C"]:
        """The log-probabilities of some items.

        Args:
            items: Positions.

        Returns:
            Log-probabilities in this order, shape (n, T, C).
        """
        if (self._place[items] < 0).any():
            self.want(items)
        return self._kept[self._place[items]]
