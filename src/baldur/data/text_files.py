"""Data sets of texts: folders of .txt files, and lists of texts in Python."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.by_name import NO_NAMES
from baldur.data.cells import is_frame
from baldur.data.dataset import Dataset, Origin
from baldur.data.folders import Layout
from baldur.data.images import SUFFIXES
from baldur.data.labels import Rules
from baldur.data.listing import Item, from_folder, is_text
from baldur.data.tables import from_table
from baldur.errors import InvalidData

COLUMN = "text"
"""The name of the column of texts that come without a table."""


def has_texts(folder: Path) -> bool:
    """Whether a folder has .txt files, and no image.

    Args:
        folder: The folder.

    Returns:
        True if it does.
    """
    found = False
    for _, _, names in os.walk(folder, followlinks=False):
        if any(Path(name).suffix.lower() in SUFFIXES for name in names):
            return False
        found = found or any(is_text(name) and not name.startswith(".") for name in names)
    return found


def from_texts(
    root: Path,
    layout: Layout | None,
    *,
    test_fraction: float,
    seed: int,
    rules: Rules,
    standardise: bool,
) -> Dataset:
    """A data set of the .txt files in a folder with a subfolder for each class.

    Args:
        root: The folder. Its subfolders are understood as those of a folder of images.
        layout: Its subfolders: "classes", or "splits" with class folders inside; None recognises what is plain.
        test_fraction: The share of test items, if no subfolder is the test split.
        seed: Of that split.
        rules: How labels are read. If people will label, loose files have no label.
        standardise: Whether numbers are standardised.

    Returns:
        The data set; the id of an item is its path below the folder.

    Raises:
        InvalidData: There is no class folder, the layout is not plain, or no text has a word.
    """
    listing = from_folder(root, layout, rules.reading, rules, "text")
    items, texts, unread = [], [], list(listing.quarantined)
    for item in listing.items:
        try:
            texts.append(item.path.read_text(encoding="utf-8-sig"))
            items.append(item)
        except UnicodeDecodeError:
            unread.append((item.id, "is not UTF-8; save it with this encoding"))
        except OSError as error:
            unread.append((item.id, f"cannot be read: {error.strerror}"))
    if not items:
        raise InvalidData(f"no text of {root} can be read; the first is {unread[0][0]}: {unread[0][1]}")
    table: dict[str, Any] = {COLUMN: texts, "id": [item.id for item in items]}
    table["split"] = [item.split for item in items]
    named = [item.label for item in items]
    return from_table(
        str(root),
        table,
        named if any(named) or rules.labelling is None else None,
        test_fraction=test_fraction,
        seed=seed,
        rules=_of_texts(rules),
        standardise=standardise,
        where=[item.id for item in items],
        own_ids=True,
        origins=partial(_origins, items, texts),
        notes=listing.notes,
        quarantined=unread,
    )


def _origins(
    items: Sequence[Item], texts: Sequence[str], text: str | None, positions: NDArray[np.intp]
) -> Iterator[Origin]:
    for i in positions.tolist():
        yield Origin(str(items[i].path.absolute()), shown={"text": texts[i]})


def from_list(
    name: str, texts: Any, labels: Any, *, test_fraction: float, rules: Rules, standardise: bool = True
) -> Dataset:
    """A data set of texts in memory.

    Args:
        name: The name of the data set.
        texts: A sequence of texts.
        labels: The label of each; None if people will label, and no label is known.
        test_fraction: The share of test items.
        rules: How labels are read.
        standardise: Whether numbers are standardised.

    Returns:
        The data set.

    Raises:
        InvalidArgument: The number of labels differs.
        InvalidData: No text has a word.
    """
    table: Mapping[str, Any] = {COLUMN: list_of(texts)}
    return from_table(
        name, table, labels, test_fraction=test_fraction, rules=_of_texts(rules), standardise=standardise
    )


def are_texts(x: Any) -> bool:
    """Whether an object is a list, an array or a series of texts.

    Args:
        x: Any object.

    Returns:
        True if it is; missing values may be among the texts.
    """
    if is_frame(x) or isinstance(x, str | Mapping):
        return False
    if isinstance(x, np.ndarray) and (x.ndim != 1 or x.dtype.kind not in "OUT"):
        return False
    if not (isinstance(x, list | tuple | np.ndarray) or hasattr(x, "to_list")):
        return False
    missing = [value is None or (isinstance(value, float) and value != value) for value in list_of(x)]
    some = [value for value, gone in zip(list_of(x), missing, strict=True) if not gone]
    return bool(some) and all(isinstance(value, str) for value in some)


def list_of(x: Any) -> list[Any]:
    """The values of a list, an array or a series.

    Args:
        x: The values.

    Returns:
        A list.
    """
    if hasattr(x, "to_list"):  # a series of pandas or polars
        x = x.to_list()
    return list(x.tolist() if isinstance(x, np.ndarray) else x)


def _of_texts(rules: Rules) -> Rules:
    return replace(rules, columns=NO_NAMES._replace(text=COLUMN))
