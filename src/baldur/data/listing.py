"""The items of a folder of images or of a manifest, listed before any file is opened."""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from baldur.data.copies import EARLIER
from baldur.data.dataset import Quarantined
from baldur.data.folders import Layout, Place, Tree, arranged, subfolders
from baldur.data.images import SUFFIXES
from baldur.errors import InvalidData

MANIFESTS = (".csv", ".jsonl", ".ndjson")
"""The suffixes of manifests, in lower case."""

_COLUMNS = ("path", "label", "split", "group")
SPLITS = {"": "", "train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
"""The accepted names of a split, and their meaning."""


class Item(NamedTuple):
    """One file in a folder or a manifest.

    Args:
        id: Its path below the folder, with "/"; or its path in the manifest.
        path: Its path on disk.
        label: The name of its class; "" if unknown.
        split: "train", "test", or "" if not given.
        group: Its group, which a split never divides; "" if it has none.
    """

    id: str
    path: Path
    label: str
    split: str
    group: str


class Listing(NamedTuple):
    """All items, sorted by id.

    Args:
        items: The usable files.
        quarantined: The unusable files, with the reason.
        notes: How a folder was understood, in sentences.
    """

    items: list[Item]
    quarantined: Quarantined
    notes: tuple[str, ...] = ()


def from_folder(root: Path, layout: Layout | None = None, reading: int = EARLIER + 1) -> Listing:
    """The images in a folder with a subfolder for each class.

    If all subfolders have names of splits (train, test, val, unlabeled, ...), they are the splits, and their
    subfolders the classes. Items below unlabeled have no class. Links to folders are followed.

    Args:
        root: The folder.
        layout: Its subfolders: "classes", or "splits"; None recognises what is plain.
        reading: The rules, as in `load`.

    Returns:
        Its images; images outside all class folders are quarantined.

    Raises:
        InvalidData: There is no class folder, a class folder has no image, or the layout is not plain.
    """
    tree = Tree(_is_image)
    places, notes = (
        arranged(root, layout, tree) if reading > EARLIER or layout else (_arranged_earlier(root), [])
    )
    tree = Tree(_is_image)  # counts each file once
    items = []
    for place in places:
        images = tree.images(place.folder)
        if not images:
            kinds = f" (but {', '.join(sorted(tree.others))} files)" if tree.others else ""
            raise InvalidData(
                f"the folder {place.folder} has no image{kinds}; remove the folder, or put images into it"
            )
        items += [Item(_id(path, root), path, place.label, place.split, "") for path in images]
    outside = {root, *(place.folder.parent for place in places)} - {place.folder for place in places}
    placed = {place.folder.relative_to(root).parts[0] for place in places}
    outside |= {root / name for name in subfolders(root) if name not in placed}
    stray = {path for part in outside for path in tree.images(part, deep=False)}
    if not items:
        raise InvalidData(
            f"{root} has no subfolder with images; make one for each class, or write a manifest (path, label)"
        )
    unusable = [(_id(path, root), "lies in no class folder") for path in sorted(stray)]
    return _listing(items, unusable, (*notes, *tree.notes()))


def _arranged_earlier(root: Path) -> list[Place]:
    """The places as earlier versions saw them: all subfolders are splits, or all are classes."""
    inside = subfolders(root)
    named = {name: SPLITS.get(name.lower(), "") for name in inside}
    if inside and all(named.values()):
        return [
            Place(root / part / label, label, split)
            for part, split in named.items()
            for label in subfolders(root / part)
        ]
    return [Place(root / label, label, "") for label in inside]


def from_manifest(file: Path) -> Listing:
    """The items of a CSV file with a header, or of JSON lines: path, label, and optionally split and group.

    Args:
        file: Ends in .csv, .jsonl or .ndjson. Paths in it are relative to its folder, or absolute.

    Returns:
        Its items; the id of an item is its path in the manifest.

    Raises:
        InvalidData: The manifest cannot be read, lacks a column, names an item twice, leads out of its folder,
            or has an unknown split.
    """
    items: dict[str, Item] = {}
    lines: dict[str, int] = {}
    for line, row in _rows(file):
        path, label, split, group = (str(row.get(c, "")).strip() for c in _COLUMNS)
        id = PurePosixPath(os.path.normpath(path)).as_posix()
        if not path or id == "." or id.split("/")[0] == "..":
            raise InvalidData(
                f"{file}, line {line}: the path {path!r} must lead to a file below {file.parent}"
            )
        if id in items:
            raise InvalidData(f"{file} has {id} twice, in lines {lines[id]} and {line}; keep one")
        if split.lower() not in SPLITS:
            raise InvalidData(
                f"{file}, line {line}: the split must be train, test, val or empty, not {split!r}"
            )
        items[id] = Item(id, file.parent / id, label, SPLITS[split.lower()], group)
        lines[id] = line
    if not items:
        raise InvalidData(f"{file} has no items; give a line for each file")
    return _listing(list(items.values()), [])


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: by number if all are whole numbers, otherwise by name.

    Args:
        names: In any order; they may repeat.

    Returns:
        Each name once.
    """
    once = set(names)
    numbers = all(name.isascii() and name.isdigit() for name in once)
    return tuple(sorted(once, key=(lambda name: (int(name), name)) if numbers else (lambda name: (0, name))))


def _listing(items: list[Item], quarantined: list[tuple[str, str]], notes: tuple[str, ...] = ()) -> Listing:
    """The sorted items; "val" counts as the test split if there is no other, else as part of train."""
    val = "train" if any(item.split == "test" for item in items) else "test"
    settled = []
    for item in sorted(items):
        try:
            item.id.encode()
        except UnicodeEncodeError:
            quarantined.append((ascii(item.id), "its name is not UTF-8"))
        else:
            settled.append(item._replace(split=val if item.split == "val" else item.split))
    return Listing(settled, tuple(quarantined), notes)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a manifest, with the number of the line where each ends."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            if file.suffix.lower() == ".csv":
                table = csv.DictReader(lines)
                for row in table:
                    _require(file, table.line_num, row)
                    yield table.line_num, {k: v or "" for k, v in row.items() if k}
            else:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        record = json.loads(line)
                        _require(file, number, record)
                        yield number, {k: "" if v is None else v for k, v in record.items()}
    except UnicodeDecodeError:
        raise InvalidData(f"{file} is not UTF-8; save it with this encoding") from None
    except (csv.Error, json.JSONDecodeError) as error:
        raise InvalidData(f"{file} cannot be read: {error}") from None


def _require(file: Path, line: int, row: Any) -> None:
    if isinstance(row, dict) and (deep := [c for c in _COLUMNS if isinstance(row.get(c), list | dict)]):
        raise InvalidData(f"{file}, line {line}: {deep[0]} must be one text or number, not {row[deep[0]]!r}")
    missing = [c for c in ("path", "label") if not isinstance(row, dict) or c not in row]
    if missing:
        has = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)[:40]
        raise InvalidData(f"{file}, line {line}: {' and '.join(missing)} is missing; it has {has}")


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
