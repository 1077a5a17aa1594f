"""Log-probabilities that are read when somebody asks for them: of a pool that is never there as a whole."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.errors import InvalidArgument

Read = Callable[[NDArray[np.intp]], NDArray[Any]]
"""Positions, ascending, to log-probabilities (n, T, C)."""


class Contenders:
    """The log-probabilities of the items that were asked for, as many as there is room for.

    Args:
        read: Gives the log-probabilities of some items.
        shape: (N, T, C).
        room: Of how many items they are kept; when it is full, all are forgotten, to be read again.
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
        """No items, in the library and of the type in which they come."""
        return self._kept[:0]

    def want(self, items: NDArray[np.intp]) -> None:
        """Read, in one go, what is missing of some items: no more than there is room for.

        Args:
            items: Positions.

        Raises:
            InvalidArgument: What was read is not of the shape that was promised.
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
            Those, in this order.
        """
        if (self._place[items] < 0).any():
            self.want(items)
        return self._kept[self._place[items]]
