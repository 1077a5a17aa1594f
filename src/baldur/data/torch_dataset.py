"""A pool over a map-style PyTorch data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import class_indices, from_arrays
from baldur.errors import InvalidArgument
from baldur.protocols import Batch, Pool, Positions


@dataclass(frozen=True)
class DatasetPool:
    """Items that a map-style data set of pairs (x, y) reads one by one; ids are positions.

    Args:
        source: Has a length and gives pairs by position.
        ids: Unique.
        groups: What no split may divide.
    """

    source: Any
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time.

        Args:
            positions: Where they stand in this pool, shape (n,).
            size: Items in a batch.

        Yields:
            The positions read, and their inputs, collated as a PyTorch loader does.

        Raises:
            InvalidArgument: `size` is not positive.
        """
        from torch.utils.data import default_collate

        from baldur._modules import map_tree

        if size < 1:
            raise InvalidArgument(f"a batch holds at least 1 item, not {size}")
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            yield part, map_tree(_single, default_collate([self.source[int(i)][0] for i in part]))


def _single(leaf: Any) -> Any:
    """Numbers as networks have their weights; codes stay integers."""
    return leaf.float() if leaf.is_floating_point() else leaf


def from_dataset(dataset: Any) -> tuple[Pool, NDArray[np.int64]]:
    """A pool of the inputs of a map-style PyTorch data set, and its labels.

    The labels are found by reading every item once, except for a `TensorDataset`.

    Args:
        dataset: A `torch.utils.data.Dataset` with a length, which gives pairs (x, y), y a class index.

    Returns:
        The pool, with positions as ids, and the class of each item, shape (N,).

    Raises:
        InvalidArgument: It has no length, or its items are no pairs.
        InvalidLabel: A label is not an integer of at least -1.
    """
    from torch.utils.data import TensorDataset

    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InvalidArgument(f"a data set with a length and items is needed, not {type(dataset).__name__}")
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        x, y = dataset.tensors
        pool: Pool = from_arrays(x)
        return pool, class_indices(y)
    labels = class_indices([_label(dataset[i], i) for i in range(len(dataset))])
    return DatasetPool(dataset, tuple(map(str, range(len(labels))))), labels


def _label(item: Any, position: int) -> Any:
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InvalidArgument(f"item {position} is no pair (x, y), but {type(item).__name__}")
    return item[1].item() if hasattr(item[1], "item") else item[1]
