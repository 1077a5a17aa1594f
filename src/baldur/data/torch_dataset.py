"""A pool over a map-style PyTorch data set."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import class_indices, from_arrays
from baldur.data.scanning import digest_of
from baldur.errors import InvalidArgument, UnreadableItems
from baldur.protocols import Batch, Pool, Positions


@dataclass(frozen=True)
class DatasetPool:
    """A pool over a map-style data set of pairs (x, y), which reads items one by one; ids are positions.

    Args:
        source: A data set with a length, which returns pairs by position.
        ids: Unique.
        groups: The group of each item; a split never divides a group.
        ahead: Whether a thread reads the next batch while the last one is used.
        content: A digest of each item as it was first read, to find equal ones; None where there is none.
    """

    source: Any
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    ahead: bool = True
    content: tuple[bytes | None, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time.

        Args:
            positions: Positions in this pool, shape (n,).
            size: The number of items in a batch.

        Yields:
            The positions of a batch, and their inputs, collated as in a PyTorch loader.

        Raises:
            InvalidArgument: `size` is not positive.
            UnreadableItems: The data set fails on an item.
        """
        if size < 1:
            raise InvalidArgument(f"a batch holds at least 1 item, not {size}")
        read = self._read(positions, size)
        yield from _ahead(read) if self.ahead and len(positions) > size else read

    def _read(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        from baldur.core.trees import map_tree

        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            yield part, map_tree(_single, _collated(self._items(part)))

    def _items(self, positions: Positions) -> list[Any]:
        """The inputs of a batch; an error names all unreadable items of the batch."""
        items, reasons = [], {}
        for i in positions:
            try:
                items.append(self.source[int(i)][0])
            except MemoryError:
                raise
            except Exception as error:  # somebody else's code reads it
                reasons[self.ids[int(i)]] = f"{type(error).__name__}: {error}"
        if reasons:
            raise UnreadableItems(reasons)
        return items


def _collated(items: list[Any]) -> Batch:
    """Items as one batch: of dicts, such as those of a tokenizer, each part; others as in a PyTorch loader."""
    import torch
    from torch.utils.data import default_collate

    from baldur.core.trees import join

    plain = (torch.Tensor, np.ndarray, list, int, float)
    if isinstance(items[0], Mapping) and all(isinstance(part, plain) for part in items[0].values()):
        return join([{key: torch.as_tensor(part)[None] for key, part in item.items()} for item in items])
    shapes = {tuple(np.shape(item)) for item in items if not isinstance(item, tuple | list)}
    if len(shapes) > 1:
        shown = " and ".join(map(str, sorted(shapes)[:3]))
        raise InvalidArgument(
            f"items of the data set have different shapes, {shown}; resize them in the data set, or give sequences as "
            "dicts with an attention_mask, which are padded"
        )
    return default_collate(items)


def _ahead(batches: Iterator[tuple[Positions, Batch]]) -> Iterator[tuple[Positions, Batch]]:
    """The same batches; a thread reads the next one while the last one is used."""
    with ThreadPoolExecutor(1, "reading") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _single(leaf: Any) -> Any:
    """Floating-point numbers as float32; integers stay as they are."""
    return leaf.float() if leaf.is_floating_point() else leaf


def from_dataset(dataset: Any, ahead: bool = True) -> tuple[Pool, NDArray[np.int64]]:
    """A pool of the inputs of a map-style PyTorch data set, and its labels.

    To find the labels, every item is read once, except in a `TensorDataset`.

    Args:
        dataset: A `torch.utils.data.Dataset` with a length, which returns pairs (x, y) with a class index y.
        ahead: Whether a thread reads the next batch while the last one is used. Give False if items must be read
            in the thread that made the data set.

    Returns:
        The pool, with positions as ids, and the class of each item, shape (N,).

    Raises:
        InvalidArgument: It has no length, or its items are not pairs.
        InvalidLabel: A label is not an integer of at least -1.
        UnreadableItems: The data set fails on an item.
    """
    from torch.utils.data import TensorDataset

    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InvalidArgument(f"expected a data set with a length and items, not {type(dataset).__name__}")
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) == 2:
        x, y = dataset.tensors
        pool: Pool = from_arrays(x)
        return pool, class_indices(y)
    read = [_read(dataset, i) for i in range(len(dataset))]
    labels = class_indices([label for label, _ in read])
    content = tuple(digest for _, digest in read)
    return DatasetPool(dataset, tuple(map(str, range(len(labels)))), ahead=ahead, content=content), labels


def _read(dataset: Any, position: int) -> tuple[Any, bytes | None]:
    """The label of an item, and a digest of its input."""
    try:
        item = dataset[position]
    except MemoryError:
        raise
    except Exception as error:  # somebody else's code reads it
        why = f"{type(error).__name__}: {error}; correct it, or leave it out with torch.utils.data.Subset"
        raise UnreadableItems({str(position): why}) from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise InvalidArgument(
            f"item {position} is not a pair (x, y), but {type(item).__name__}; give arrays as a tuple (x, y)"
        )
    return item[1].item() if hasattr(item[1], "item") else item[1], digest_of(item[0])
