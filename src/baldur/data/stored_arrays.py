"""Data sets of arrays in .npz or .npy files."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.array_images import Understood, as_before, understood
from baldur.data.arrays import ArrayPool, Divide, Normalise, as_float, image_preprocessing
from baldur.data.classes import coded, none_known, recoded
from baldur.data.copies import EARLIER, sides
from baldur.data.dataset import Dataset, halves, origins_of
from baldur.data.labels import Rules
from baldur.data.origins import of_array
from baldur.data.scanning import Scan, scan
from baldur.errors import DataNotFound, InvalidData
from baldur.protocols import View

_NAMES = frozenset({"x_train", "y_train", "x_test", "y_test", "x", "y", "classes"})


class Part(NamedTuple):
    """Inputs and their labels.

    Args:
        x: The first axis is the item.
        y: A class for each item: a name or a number; None if no label is known.
    """

    x: NDArray[Any]
    y: NDArray[Any] | None


def from_npz(file: Path, test_fraction: float, seed: int, rules: Rules) -> Dataset:
    """A data set from an .npz file: x_train, y_train, x_test and y_test, or x and y; optionally classes (the names).

    Args:
        file: The file.
        test_fraction: The share of test items, the same for each class, if there is no x_test.
        seed: Of that split.
        rules: How labels are read.

    Returns:
        The data set.

    Raises:
        InvalidData: An array is missing, or cannot be used.
        InvalidLabel: A label is not one of the classes.
    """
    with open(file, "rb") as content:
        if content.read(4) != b"PK\x03\x04":
            raise InvalidData(f"{file} is no .npz file; write it with numpy.savez")
    with _explained(file), open(file, "rb") as content, np.load(content, allow_pickle=False) as stored:
        arrays = {name.lower(): stored[name] for name in stored.files if name.lower() in _NAMES}
    classes = tuple(map(str, arrays["classes"].tolist())) if "classes" in arrays else None
    for names in (("x_train", "y_train", "x_test", "y_test"), ("x", "y")):
        if set(names) <= arrays.keys():
            parts = [Part(arrays[a], arrays[b]) for a, b in zip(names[::2], names[1::2], strict=True)]
            return _from_parts(file, parts, classes, test_fraction, seed, rules)
    if rules.labelling is not None and "x" in arrays:
        return _from_parts(file, [Part(arrays["x"], None)], classes, test_fraction, seed, rules)
    raise InvalidData(
        f"{file} has {', '.join(arrays) or 'no such arrays'};"
        " x and y, or x_train, y_train, x_test and y_test are needed"
    )


def from_npy(file: Path, test_fraction: float, seed: int, rules: Rules) -> Dataset:
    """A data set from NAME.npy and its labels NAME_labels.npy, or from x.npy and y.npy in a folder.

    The inputs are memory-mapped, so they may be larger than memory.

    Args:
        file: The inputs, or the folder.
        test_fraction: The share of test items, the same for each class.
        seed: Of that split.
        rules: How labels are read.

    Returns:
        The data set.

    Raises:
        DataNotFound: The labels are missing.
        InvalidData: An array cannot be used.
        InvalidLabel: A label is not one of the classes.
    """
    if file.is_dir():
        inputs, beside = file / "x.npy", file / "y.npy"
    elif file.name == "x.npy":
        inputs, beside = file, file.with_name("y.npy")
    else:
        inputs, beside = file, file.with_name(f"{file.stem}_labels.npy")
    if not beside.is_file() and rules.labelling is None:
        raise DataNotFound(
            f"the labels of {inputs} are missing; save them as {beside}, one label for each item"
        )
    with _explained(inputs):
        x = np.load(inputs, mmap_mode="r", allow_pickle=False)
    y = None
    if beside.is_file():
        with _explained(beside):
            y = np.load(beside, allow_pickle=False)
    return _from_parts(file, [Part(x, y)], None, test_fraction, seed, rules)


def inputs_in(path: Path) -> list[tuple[str, NDArray[Any]]]:
    """The inputs in an .npz or .npy file, or in x.npy in a folder; labels are not looked at.

    Args:
        path: The file or the folder.

    Returns:
        Each array with the prefix of the ids of its items.

    Raises:
        InvalidData: The file cannot be read, or has no inputs.
    """
    file = path / "x.npy" if path.is_dir() else path
    with _explained(file):
        stored = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return [("", stored)]
        with stored:
            names = {name.lower(): name for name in stored.files}
            if "x" in names or len(names) == 1:
                return [("", stored[names.get("x", stored.files[0])])]
            if parts := [part for part in ("train", "test") if f"x_{part}" in names]:
                return [(f"{part}/", stored[names[f"x_{part}"]]) for part in parts]
    raise InvalidData(f"{file} has {', '.join(names) or 'no arrays'}; x, or x_train and x_test are needed")


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "pickle" in str(error):
            raise InvalidData(
                f"{file} holds pickled Python objects, which could run any code; save plain arrays instead"
            ) from None
        raise InvalidData(f"{file} cannot be read: {error}") from None


def _from_parts(
    file: Path,
    parts: list[Part],
    names: tuple[str, ...] | None,
    test_fraction: float,
    seed: int,
    rules: Rules,
) -> Dataset:
    """A data set of one part, which is split, or of two parts, train and test."""
    for part in parts:
        _refuse_strange(file, part.x)
    if len({part.x.shape[1:] for part in parts}) > 1:
        shapes = " and ".join(str(part.x.shape[1:]) for part in parts)
        raise InvalidData(f"in {file} training and test items differ in shape: {shapes}")
    for part in parts:
        if part.y is not None and not np.ndim(part.y):
            raise InvalidData(
                f"in {file} the labels have the shape (); give one for each item, shape (items,)"
            )
        known = len(part.x) if part.y is None else len(part.y)
        if len(part.x) != known or not len(part.x):
            raise InvalidData(f"{file} has {len(part.x)} items, but {known} labels; give one for each item")
    labels, classes, notes = coded(
        [none_known(len(part.x)) if part.y is None else part.y for part in parts], str(file), rules, names
    )
    if names is not None and rules.labelling is not None:
        sizes = np.cumsum([len(y) for y in labels])[:-1]
        codes, classes = recoded(np.concatenate(labels), names, str(file), rules)
        labels = np.split(codes, sizes)
    if rules.labelling is not None and len(parts) > 1 and not (labels[1] >= 0).any():
        raise InvalidData(
            f"{file}: y_test has no label, so the test items are of no use; add labels, or write x only"
        )
    prefixes = ("",) if len(parts) == 1 else ("train/", "test/")
    found = scan([part.x for part in parts], prefixes=prefixes)
    read = _earlier(parts[0].x) if rules.reading <= EARLIER else _understood(file, parts[0].x, found)
    kept = rules.kept(str(file), "image", "array")
    if kept is not None:
        read = as_before(str(file), read, parts[0].x, found.high, kept)
    pools = [
        ArrayPool(
            read.upright(part.x),
            tuple(f"{prefix}{i}" for i in range(len(y))),
            labels=y,
            transform=read.transform,
        )
        for prefix, part, y in zip(prefixes, parts, labels, strict=True)
    ]
    split = sides(
        [id for pool in pools for id in pool.ids],
        np.concatenate(labels),
        found.first,
        test_fraction,
        seed,
        classes=classes,
        named=np.repeat([side == "test/" for side in prefixes], [len(y) for y in labels]),
        rows=read.channels < 0,
        reading=rules.reading,
        old=rules.old,
    )
    if len(parts) == 1:
        halved = halves(pools[0], labels[0], split.test, split.kept)
    else:
        left = np.flatnonzero(split.kept[: len(labels[0])])
        whole = len(left) == len(labels[0])
        halved = pools[0] if whole else View(pools[0], left), labels[0][left], pools[1], labels[1]
    x = parts[0].x if len(parts) == 1 else None
    origins = partial(of_array, str(file.absolute()), x, [len(part.x) for part in parts])
    preprocessing = _preprocessing(pools[0].x, read.transform) if kept is None else dict(kept)
    return Dataset(
        str(file),
        *halved,
        classes,
        preprocessing,
        quarantined=split.left_out,
        duplicates=split.duplicates,
        notes=(*read.notes, *notes, *split.notes),
        origins=origins_of(origins, split.test, split.kept),
    )


def _understood(file: Path, x: NDArray[Any], found: Scan) -> Understood:
    return understood(str(file), x.shape, x.dtype, found.low, found.high)


def _earlier(x: NDArray[Any]) -> Understood:
    """How earlier versions read an array."""
    channels = -1
    if x.ndim == 4:
        channels = 3 if x.shape[3] in (1, 3) and x.shape[1] not in (1, 3) else 1
    elif x.ndim == 3 and x.dtype == np.uint8:
        channels = 0
    if x.dtype != np.uint8:
        return Understood(channels, None)
    count = 1 if channels == 0 else x.shape[channels]
    return Understood(channels, Normalise((0.0,) * count, (1.0,) * count) if channels >= 0 else as_float)


def _refuse_strange(file: Path, x: NDArray[Any]) -> None:
    if x.dtype.kind not in "biuf" or x.ndim < 2 or 0 in x.shape[1:]:
        raise InvalidData(
            f"in {file} x is {x.dtype} of shape {x.shape}; numbers of shape (items, ...) are needed"
            + (", such as x.reshape(-1, 1) for one column" if x.ndim == 1 and x.dtype.kind in "biuf" else "")
        )


def _preprocessing(x: NDArray[Any], transform: Any) -> dict[str, Any]:
    if isinstance(transform, Normalise):
        return image_preprocessing(x.shape[1:], transform)
    dtype = "float32" if transform or x.dtype.kind == "f" else str(x.dtype)
    about = {"kind": "array", "shape": list(x.shape[1:]), "dtype": dtype}
    return about | ({"scale": transform.scale} if isinstance(transform, Divide) else {})
