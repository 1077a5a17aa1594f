"""The results of loading: a data set, and the facts about each of its files."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.protocols import Pool, View

KnownRecord = tuple[str | None, int, int]
"""The recorded facts of a file: sha256 of its content, size in bytes, mtime in ns."""

Quarantined = tuple[tuple[str, str], ...]
"""The id of each unusable item, and the reason."""


@dataclass(frozen=True)
class Record:
    """The facts about one item.

    Args:
        id: Its id in the pools.
        path: The absolute path of its file; None if it is in no file.
        split: "train" or "test".
        group: Its group (patient, track, ...), which a split never divides; None if unknown.
        sha256: Of the content of the file, in hexadecimal. This and the next two are None if the file has many items.
        size: Of the file, in bytes.
        mtime_ns: The modification time of the file, in nanoseconds since the epoch.
        part: Its place in the file, if the file has many items: a row, counted from 0.
        shown: The values that a page shows: {"text": ...} or {"row": {column: value}}; None if there are none.
    """

    id: str
    path: str | None
    split: str
    group: str | None
    sha256: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    part: int | None = None
    shown: Mapping[str, Any] | None = None


class Origin(NamedTuple):
    """Where one item comes from; see `Record`."""

    path: str | None = None
    sha256: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    part: int | None = None
    shown: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Origins:
    """Where the items of a data set come from. Nothing is read before it is asked for.

    Args:
        rows: For each item of the pool, and then for each test item, its row in the source, shape (N + M,).
        read: Reads the origins of some rows, in their order.
        content: For each row a digest of its content, to find equal items; None if it was not computed.
    """

    rows: NDArray[np.intp]
    read: Callable[[NDArray[np.intp]], Iterator[Origin]]
    content: Sequence[Hashable] | None = None

    def __call__(self, positions: NDArray[np.intp]) -> Iterator[Origin]:
        """The origins of some items.

        Args:
            positions: Positions in the pool; those of test items follow.

        Returns:
            Their origins, one at a time.
        """
        return self.read(self.rows[positions])


@dataclass(frozen=True)
class Dataset:
    """A pool to label and a test set.

    Args:
        name: The name or path that was loaded.
        train: The items that can be labelled.
        labels: The true class of each, shape (N,); -1 if unknown.
        test: The test items.
        test_labels: The true class of each, shape (M,); -1 if unknown.
        classes: The class names; a label is a position in them.
        preprocessing: The steps from raw items to inputs, as values that JSON can hold. They are enough to
            prepare a new item.
        records: The facts about each file; empty if the items are not files.
        quarantined: The id of each item that cannot be read, or was left out because of its copies, and the reason;
            these items are in neither pool.
        duplicates: Groups of ids with equal content, over both pools; at most 1,000 groups.
        notes: How the data were understood, and what was left out and why; one sentence each, for the user.
        origins: Where the items come from, for a page that shows them; None if they can only be read as inputs.
        moved: The ids of files of a run that have another name now, and were found by their content.
    """

    name: str
    train: Pool
    labels: NDArray[np.int64]
    test: Pool
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    preprocessing: dict[str, Any]
    records: tuple[Record, ...] = ()
    quarantined: Quarantined = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    origins: Origins | None = None
    moved: tuple[str, ...] = ()


def halves(
    whole: Pool, labels: NDArray[np.int64], test: NDArray[np.bool_], usable: NDArray[np.bool_]
) -> tuple[Pool, NDArray[np.int64], Pool, NDArray[np.int64]]:
    """The two sides of a split of the usable items of a pool, each with its labels.

    Args:
        whole: The items.
        labels: The class of each, shape (N,).
        test: True for test items, shape (N,).
        usable: True for the items that are used at all, shape (N,).

    Returns:
        The first four values of a data set: train, its labels, test, its labels.
    """
    train_at, test_at = np.flatnonzero(usable & ~test), np.flatnonzero(usable & test)
    return View(whole, train_at), labels[train_at], View(whole, test_at), labels[test_at]


def origins_of(
    read: Callable[[NDArray[np.intp]], Iterator[Origin]],
    test: NDArray[np.bool_],
    usable: NDArray[np.bool_],
    content: Sequence[Hashable] | None = None,
) -> Origins:
    """The origins of the two sides of a split; see `halves`.

    Args:
        read: Reads the origins of some rows of the whole.
        test: True for test items, shape (N,).
        usable: True for the items that are used at all, shape (N,).
        content: For each row a digest of its content.

    Returns:
        The origins.
    """
    rows = np.concatenate([np.flatnonzero(usable & ~test), np.flatnonzero(usable & test)])
    return Origins(rows, read, content)


def equal_content(
    ids: Sequence[str], digests: Sequence[Hashable], most: int = 1000
) -> tuple[tuple[str, ...], ...]:
    """Groups of ids that have the same digest.

    Args:
        ids: The items.
        digests: A digest of the content of each.
        most: The largest number of groups.

    Returns:
        Groups of two ids or more, in order of their first item.
    """
    first: dict[Hashable, int] = {}
    alike: dict[int, list[int]] = {}  # of those that repeat only: a pool may have millions that do not
    for i, digest in enumerate(digests):
        if (one := first.setdefault(digest, i)) != i:
            alike.setdefault(one, [one]).append(i)
    return tuple(tuple(ids[i] for i in alike[one]) for one in sorted(alike)[:most])
