"""The labels of a run for other programs: each item with its label, in the formats that these programs read.

The export of a whole run with its models is in `report.export`.
"""

import filecmp
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from uuid import uuid4

from baldur.errors import InvalidArgument, StoreError
from baldur.store import ItemRecord, Store, Trial
from baldur.store.artefacts import room
from baldur.store.events import RESERVE

Format = Literal["csv", "jsonl", "parquet", "imagefolder", "coco", "huggingface"]

_SIDE = 1 << 16  # images are not made smaller

FORMATS: tuple[str, ...] = get_args(Format)
"""The formats. The first three are files, and the others are folders."""


class LabelledItem(NamedTuple):
    """An item of a run with its current label.

    Args:
        id: The item.
        label: The name of its class; None if it has no label.
        path: Its file; None if it is in no file.
        part: Its place in the file, if the file has many items: a row or an index, counted from 0.
        text: Its text; None if it has none.
        row: Its values by column; None if it is no row of a table.
        group: Its group; None if unknown.
        split: "train", or "test" for an item that is not trained on.
        annotator: The annotator of the label.
        time: When the label was given, UTC.
        round: The round that asked for the item; None if none did.
    """

    id: str
    label: str | None
    path: str | None = None
    part: int | None = None
    text: str | None = None
    row: Mapping[str, Any] | None = None
    group: str | None = None
    split: str = "train"
    annotator: str | None = None
    time: str | None = None
    round: int | None = None


def labelled_items(store: Store, trial: Trial, all: bool = False) -> list[LabelledItem]:
    """The items that have a label, in the order of the pool.

    Args:
        store: The run.
        trial: The trial whose labels are meant.
        all: Also the items of the pool without a label.

    Returns:
        The items. Items that are unusable, or were taken out of the pool, are left out, unless they have a label.
    """
    key = (trial.strategy, trial.seed)
    labels = {row.item: row for row in store.labels() if (row.strategy, row.seed) == key}
    records = store.items()
    out = trial.left_out() if all else set()
    found = []
    for i, record in records.items():
        label = labels.get(i)
        pool = record.state == "ok" and record.split != "test" and i not in out
        if label is not None or (all and pool):
            found.append(_item(record, label))
    return found + [_item(ItemRecord(i), label) for i, label in labels.items() if i not in records]


def _item(record: ItemRecord, label: Any) -> LabelledItem:
    shown = record.shown or {}
    split = "test" if record.split in ("test", RESERVE) else "train"
    about = (record.path, record.part, shown.get("text"), shown.get("row"), record.group, split)
    if label is None:
        return LabelledItem(record.id, None, *about)
    return LabelledItem(record.id, label.value, *about, label.annotator, label.time, label.round)


def export_labels(
    store: Store, trial: Trial, place: Path, format: str = "csv", all: bool = False, link: bool = False
) -> Path:
    """Write the labels of a trial for other programs. What is at the place already is never overwritten.

    Args:
        store: The run.
        trial: The trial whose labels are meant.
        place: A file for csv, jsonl and parquet; a new folder for imagefolder, coco and huggingface.
        format: One of `FORMATS`.
        all: Also the items of the pool without a label.
        link: Whether folders hold links to images rather than copies.

    Returns:
        The place.

    Raises:
        InvalidArgument: There is no such format, no item to write, or no image for a format of images.
        StoreError: There is something at the place.
        DiskFull: The disk is full; nothing is left at the place.
    """
    if format not in FORMATS:
        raise InvalidArgument(f"the format must be one of {', '.join(FORMATS)}, not {format!r}")
    items = labelled_items(store, trial, all)
    if not items:
        raise InvalidArgument(
            f"the run in {store.folder} has no label yet; give all=True (--all) for the items without a label"
        )
    if format in ("csv", "jsonl", "parquet"):
        from baldur.runs.labelled_tables import write_table

        write_table(items, place, format)
    else:
        from baldur.runs.labelled_images import write_folder

        write_folder(items, store.classes, place, format, link, _from_data(store))
    return place


def _from_data(store: Store) -> Callable[[LabelledItem], bytes | None] | None:
    """Draws images by reading the data of the run again; None if the data are no images, or were passed in Python."""
    from baldur.data.labelling import IN_MEMORY

    told = store.preprocessing.get("input", store.preprocessing)
    if told.get("kind") != "image" or store.options.get("data") in (None, IN_MEMORY):
        return None

    @cache
    def read() -> tuple[Any, dict[str, int]]:
        from baldur.runs.items import read_data
        from baldur.runs.settings import from_toml

        dataset = read_data(from_toml(store.settings).data)
        return dataset, {i: position for position, i in enumerate(dataset.train.ids)}

    def draw(item: LabelledItem) -> bytes | None:
        from baldur.data.pictures import picture_of

        dataset, positions = read()
        return picture_of(dataset, positions[item.id], _SIDE) if item.id in positions else None

    return draw


@contextmanager
def new(place: Path) -> Iterator[Path]:
    """A temporary path, which becomes the place at the end; nothing is left of it after an error.

    Args:
        place: A file or folder that does not exist. An empty folder will do, and a file that has the same content.

    Yields:
        A path beside the place; nothing is there yet.

    Raises:
        StoreError: There is something at the place, or it may not be written to.
        DiskFull: The disk is full.
    """
    if not place.is_file():
        _refuse(place)
    part = place.parent / f".{place.name}-{uuid4().hex[:12]}.part"
    try:
        with room(place.parent):
            place.parent.mkdir(parents=True, exist_ok=True)
            yield part
            if part.is_dir() or not _same(part, place):
                _refuse(place)
                part.rename(place)
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _same(part: Path, place: Path) -> bool:
    return place.is_file() and filecmp.cmp(part, place, shallow=False)


def _refuse(place: Path) -> None:
    """Refuse a place where something is."""
    if place.is_dir() and not any(place.iterdir()):
        return
    if place.exists() or place.is_symlink():
        raise StoreError(f"{place} exists already, and nothing is overwritten; give another place")


def unknown_columns(rows: Sequence[LabelledItem], names: Sequence[str]) -> dict[str, str]:
    """A name for each column of the rows, which is none of the names of other columns.

    Args:
        rows: The items.
        names: The names of the other columns.

    Returns:
        The new name by the old one.
    """
    columns = dict.fromkeys(name for item in rows for name in item.row or {})
    renamed: dict[str, str] = {}
    for name in columns:
        free = name
        while free in names or free in renamed.values() or (free != name and free in columns):
            free = f"row_{free}"
        renamed[name] = free
    return renamed
