"""A data set from a pool and labels in memory."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.array_images import as_before, understood
from baldur.data.arrays import ArrayPool, Divide, Normalise, image_preprocessing
from baldur.data.classes import coded
from baldur.data.copies import EARLIER, sides
from baldur.data.dataset import Dataset, halves, origins_of
from baldur.data.labels import Labelling, Rules, rules_of
from baldur.data.near import with_near_copies
from baldur.data.origins import of_array
from baldur.data.scanning import Scan, as_numpy, first_of, scan
from baldur.data.torch_dataset import DatasetPool
from baldur.errors import InvalidArgument
from baldur.protocols import Pool, View


def in_memory(
    pool: Pool,
    labels: Any,
    *,
    test_fraction: float,
    seed: int = 0,
    classes: tuple[str, ...] | None = None,
    images: bool = False,
    reading: int = EARLIER + 1,
    missing: Any = None,
    task: str = "auto",
    labelling: Labelling | None = None,
) -> Dataset:
    """A data set from your own items; a part of them becomes the test set.

    Args:
        pool: The items; its groups are not divided.
        labels: The class of each: names or numbers of shape (N,), or one-hot rows. NaN, None and the texts of
            `labels.MISSING` are missing. If `classes` are given: positions in them, -1 for unknown, or names.
        test_fraction: The share of test items, the same for each class.
        seed: Of the split.
        classes: The class names; by default the values that occur.
        images: Whether to look for images in a pool of one plain array. Their channels are then put before height and
            width, and whole numbers are scaled, as in an .npz file.
        reading: The rules, as in `load`.
        missing: One value that means a missing label, or several, instead of these texts.
        task: "auto" refuses labels that look like amounts; "classification" takes each value as a class.
        labelling: The rules of data that people will label; then `classes` are in these rules.

    Returns:
        The data set.

    Raises:
        InvalidArgument: There are no items, or the number of labels differs.
        InvalidLabel: A label is not one of the classes; or it must be decided whether -1, or a number at all, is
            a class.
        InvalidData: An input is not finite.
    """
    rules = rules_of(missing, task, reading, labelling)
    (y,), names, said = coded([labels], "the data", rules, classes)
    if len(y) != len(pool) or not len(pool):
        raise InvalidArgument(
            f"there are {len(pool)} items, but {len(y)} labels; give a label for each item, and at least one item"
        )
    found = _scanned(pool)
    notes = pool.notes if isinstance(pool, DatasetPool) else ()
    if images and reading > EARLIER and isinstance(pool, ArrayPool):
        pool, notes = _as_images(pool, found, rules)
    preprocessing = _preprocessing(pool)
    if (kept := rules.kept("the data", preprocessing["kind"])) is not None:
        if preprocessing.get("shape") != kept.get("shape"):
            raise InvalidArgument(
                f"the data have items of shape {tuple(preprocessing['shape'])}, and the run items of"
                f" {tuple(kept['shape'])}; give items of one shape"
            )
        preprocessing = dict(kept)
    split = sides(
        pool.ids,
        y,
        found.first,
        test_fraction,
        seed,
        classes=names,
        groups=pool.groups,
        rows=preprocessing["kind"] == "array" and len(preprocessing["shape"]) == 1,
        reading=reading,
        old=rules.old,
    )
    loaded = Dataset(
        "in memory",
        *halves(pool, y, split.test, split.kept),
        names,
        preprocessing,
        quarantined=split.left_out,
        duplicates=split.duplicates,
        notes=(*notes, *said, *split.notes),
        origins=origins_of(
            partial(of_array, None, _vectors(pool), [len(pool)]),
            split.test,
            split.kept,
            pool.content if isinstance(pool, DatasetPool) else None,
        ),
    )
    held = isinstance(pool, ArrayPool) and reading > EARLIER  # others may read from disk
    return with_near_copies(loaded) if held else loaded


def _vectors(pool: Pool) -> NDArray[Any] | None:
    """The rows of a pool of one plain array."""
    held = _held(pool)
    if len(held) != 1:
        return None
    return held[0] if isinstance(held[0], np.ndarray) else as_numpy(held[0])


def _preprocessing(pool: Pool) -> dict[str, Any]:
    first = next(iter(pool.batches(np.zeros(1, np.intp), 1)))[1]
    if not hasattr(first, "shape"):
        return {"kind": "tree"}
    if isinstance(pool, ArrayPool) and isinstance(pool.transform, Normalise) and first.ndim == 4:
        return image_preprocessing(tuple(first.shape[1:]), pool.transform)
    dtype = str(first.dtype).removeprefix("torch.")
    about: dict[str, Any] = {"kind": "array", "shape": list(first.shape[1:]), "dtype": dtype}
    if isinstance(pool, ArrayPool) and isinstance(pool.transform, Divide):
        about["scale"] = pool.transform.scale
    return about


def _scanned(pool: Pool) -> Scan:
    """The equal items of a pool that holds its items or their digests; others are not read."""
    if isinstance(pool, DatasetPool) and pool.content:
        return Scan(first_of(pool.content), 0, 0)
    if isinstance(pool, View):
        whole = _scanned(pool.whole)
        return whole._replace(first=first_of(whole.first[pool.positions].tolist()))
    arrays = [x if isinstance(x, np.ndarray) else as_numpy(x) for x in _held(pool)]
    each = [scan([x], finite=len(arrays) == 1) for x in arrays]
    if not each:
        return Scan(np.arange(len(pool)), 0, 0)
    first = first_of(zip(*(one.first.tolist() for one in each), strict=True))
    return each[0] if len(each) == 1 else Scan(first, 0, 0)


def _held(pool: Pool) -> list[Any]:
    """The arrays and tensors of a pool; none if it reads its items from elsewhere."""
    from torch import Tensor

    from baldur.core.trees import leaves

    found = leaves(pool.x) if isinstance(pool, ArrayPool) else []
    return found if all(isinstance(x, np.ndarray | Tensor) for x in found) else []


def _as_images(pool: ArrayPool, found: Scan, rules: Rules) -> tuple[Pool, tuple[str, ...]]:
    """A pool whose images have their channels before height and width, and scaled values."""
    from torch import Tensor

    x = pool.x
    if pool.transform is not None or not isinstance(x, np.ndarray | Tensor):
        return pool, ()
    values = x if isinstance(x, np.ndarray) else as_numpy(x)
    read = understood("the data", values.shape, values.dtype, found.low, found.high)
    if (kept := rules.kept("the data", "image", "array", "tree")) is not None and kept["kind"] != "tree":
        read = as_before("the data", read, values, found.high, kept)
    if read.transform is None and read.channels in (-1, 1):
        return pool, read.notes
    return replace(pool, x=read.upright(values), transform=read.transform), read.notes
