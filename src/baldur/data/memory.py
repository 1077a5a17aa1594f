"""A data set from a pool and labels in memory."""

from typing import Any

import numpy as np

from baldur.data.arrays import ArrayPool, class_indices, digests
from baldur.data.dataset import Dataset, equal_content, halves
from baldur.data.splitting import split
from baldur.data.stored_arrays import classes_of
from baldur.errors import InvalidArgument, InvalidLabel
from baldur.protocols import Pool


def in_memory(
    pool: Pool, labels: Any, *, test_fraction: float, seed: int = 0, classes: tuple[str, ...] | None = None
) -> Dataset:
    """A data set from your own items; a part of them becomes the test set.

    Args:
        pool: The items; its groups are not divided.
        labels: The class of each, integers of shape (N,), -1 for unknown.
        test_fraction: The share of test items, the same for each class.
        seed: Of the split.
        classes: The class names; by default "0", "1", ...

    Returns:
        The data set.

    Raises:
        InvalidArgument: There are no items, or the number of labels differs.
        InvalidLabel: A label is not one of the classes.
        InvalidData: An input is not finite.
    """
    y = class_indices(labels)
    if len(y) != len(pool) or not len(pool):
        raise InvalidArgument(
            f"there are {len(pool)} items, but {len(y)} labels; give a label for each item, and at least one item"
        )
    names = classes or classes_of("the data", [y])
    if y.max() >= len(names):
        raise InvalidLabel(f"label {y.max()} at position {y.argmax()}, but there are {len(names)} classes")
    test = split(y, test_fraction, seed, pool.groups)
    first = next(iter(pool.batches(np.zeros(1, np.intp), 1)))[1]
    preprocessing: dict[str, Any] = {"kind": "tree"}
    equal: tuple[tuple[str, ...], ...] = ()
    if hasattr(first, "shape"):
        dtype = str(first.dtype).removeprefix("torch.")
        preprocessing = {"kind": "array", "shape": list(first.shape[1:]), "dtype": dtype}
        equal = _equal(pool) if isinstance(pool, ArrayPool) else ()
    sides = halves(pool, y, test, np.ones(len(y), np.bool_))
    return Dataset("in memory", *sides, names, preprocessing, duplicates=equal)


def _equal(pool: Pool) -> tuple[tuple[str, ...], ...]:
    batches = pool.batches(np.arange(len(pool)), 4096)
    return equal_content(pool.ids, [digest for _, x in batches for digest in digests(x.cpu().numpy())])
