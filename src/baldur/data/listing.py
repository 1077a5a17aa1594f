"""The items of a folder of images or of a manifest, listed before any file is opened."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

from baldur.core.sizes import counted
from baldur.data.copies import EARLIER
from baldur.data.dataset import Quarantined
from baldur.data.folders import Layout, Place, Tree, arranged, subfolders
from baldur.data.images import SUFFIXES
from baldur.data.labels import Rules, label_names
from baldur.data.labels import ordered as ordered
from baldur.data.unsorted import sorted_images
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


def from_folder(
    root: Path,
    layout: Layout | None = None,
    reading: int = EARLIER + 1,
    rules: Rules | None = None,
    kind: Literal["image", "text"] = "image",
) -> Listing:
    """The images, or the texts, in a folder with a subfolder for each class.

    If all subfolders have names of splits (train, test, val, unlabeled, ...), they are the splits, and their
    subfolders the classes. Items below unlabeled have no class. Links to folders are followed.

    Args:
        root: The folder.
        layout: Its subfolders: "classes", or "splits"; None recognises what is plain.
        reading: The rules, as in `load`.
        rules: How labels are read. If people will label, images outside all class folders have no label, and a
            folder needs no class folders.
        kind: What is read: images, or .txt files.

    Returns:
        Its images; images outside all class folders are quarantined.

    Raises:
        InvalidData: There is no class folder, a class folder has no image, or the layout is not plain.
    """
    if rules is not None and rules.labelling is not None:
        return _unsorted(root, layout, rules.given, kind)
    tree = Tree(_READ[kind], kind)
    places, notes = (
        arranged(root, layout, tree) if reading > EARLIER or layout else (_arranged_earlier(root), [])
    )
    tree = Tree(_READ[kind], kind)  # counts each file once
    items = []
    for place in places:
        images = tree.images(place.folder)
        if not images:
            kinds = f" (but {', '.join(sorted(tree.others))} files)" if tree.others else ""
            raise InvalidData(
                f"the folder {place.folder} has no {kind}{kinds}; remove the folder, or put {kind}s into it"
            )
        items += [Item(_id(path, root), path, place.label, place.split, "") for path in images]
    outside = {root, *(place.folder.parent for place in places)} - {place.folder for place in places}
    placed = {place.folder.relative_to(root).parts[0] for place in places}
    outside |= {root / name for name in subfolders(root) if name not in placed}
    stray = {path for part in outside for path in tree.images(part, deep=False)}
    if not items:
        raise InvalidData(
            f"{root} has no subfolder with {kind}s; make one for each class, or write a manifest (path, label)"
        )
    unusable = [(_id(path, root), "lies in no class folder") for path in sorted(stray)]
    return _listing(items, unusable, (*notes, *tree.notes()))


def _unsorted(root: Path, layout: Layout | None, classes: tuple[str, ...] | None, kind: str) -> Listing:
    """The images or texts of a folder that people will label."""
    tree = Tree(_READ[kind], kind)
    images, notes = sorted_images(root, layout, tree, classes)
    if not images:
        kinds = f", but {', '.join(sorted(tree.others))} files" if tree.others else ""
        raise InvalidData(f"{root} has no image{kinds}; give a folder with images or .txt files")
    tree = Tree(_READ[kind], kind)  # counts each file once
    tree.images(root)
    items = [Item(_id(path, root), path, label, split, "") for path, label, split in images]
    return _listing(items, [], (*notes, *tree.notes()))


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


def from_manifest(file: Path, rules: Rules | None = None) -> Listing:
    """The items of a CSV file with a header, or of JSON lines: path, label, and optionally split and group.

    Args:
        file: Ends in .csv, .jsonl or .ndjson. Paths in it are relative to its folder, or absolute.
        rules: How labels are read.

    Returns:
        Its items; the id of an item is its path in the manifest.

    Raises:
        InvalidData: The manifest cannot be read, lacks a column or a cell, names an item twice, leads out of its
            folder, or has an unknown split.
        InvalidLabel: A label is not valid; see `labels.label_names`.
    """
    rules = rules or Rules()
    items: dict[str, Item] = {}
    lines: dict[str, int] = {}
    labels: list[Any] = []
    for line, told in rows_of(file, short_rows=rules.reading <= EARLIER):
        if not lines and isinstance(told, dict):
            rules.columns.check(told, str(file))
        row = rules.columns.renamed(told) if isinstance(told, dict) else told
        _require(file, line, row, ("path",) if rules.labelling else ("path", "label"))
        path, split, group = (_text(row.get(c)) for c in ("path", "split", "group"))
        path = _with_slashes(path, file.parent)
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
        items[id] = Item(id, file.parent / id, "", SPLITS[split.lower()], group)
        lines[id] = line
        labels.append(_text(row["label"]) if rules.reading <= EARLIER else row.get("label"))
    if not items:
        raise InvalidData(f"{file} has no items; give a line for each one")
    at = list(lines.values())
    if all(label is None for label in labels) and rules.labelling:
        return _listing(list(items.values()), [])  # there is no column label
    named = label_names(labels, str(file), rules, lambda i: f"line {at[i]}")
    labelled = [item._replace(label=name) for item, name in zip(items.values(), named.names, strict=True)]
    return _listing(labelled, [], named.notes)


def rows_of(file: Path, short_rows: bool = False) -> Iterator[tuple[int, Any]]:
    """The rows of a CSV file with a header, or of JSON lines.

    Args:
        file: Ends in .csv, .jsonl or .ndjson.
        short_rows: Whether a CSV row may lack its last cells.

    Yields:
        The number of the line where a row ends, and its values by column; or another JSON value.

    Raises:
        InvalidData: The file cannot be read, two columns have one name, or a row has too few or too many cells.
    """
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            if file.suffix.lower() == ".csv":
                yield from _csv_rows(file, csv.reader(lines, strict=not short_rows), short_rows)
            else:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield number, _json(file, number, line)
    except UnicodeDecodeError:
        raise InvalidData(f"{file} is not UTF-8; save it with this encoding") from None
    except csv.Error as error:
        raise InvalidData(f"{file} cannot be read: {error}") from None


def _csv_rows(file: Path, table: Any, short_rows: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    head: list[str] | None = None
    for cells in table:
        line = table.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if head is None:
            head = [name.strip() or f"Unnamed: {i}" for i, name in enumerate(cells)]
            _refuse_head(file, head)
            continue
        extra = [cell for cell in cells[len(head) :] if cell.strip()]
        if extra and not short_rows:
            raise InvalidData(
                f"{file}, line {line} has {counted(len(cells), 'cell')}, but the header has {len(head)}; put "
                f'quotes around a cell with a comma, such as "{cells[len(head) - 1]},{cells[len(head)]}"'
            )
        if len(cells) < len(head) and not short_rows:
            raise InvalidData(
                f"{file}, line {line} has {counted(len(cells), 'cell')}, but the header has {len(head)}: "
                f"{', '.join(head)}; write a comma for each empty cell"
            )
        cells += [""] * (len(head) - len(cells))
        yield line, dict(zip(head, cells, strict=False))


def _refuse_head(file: Path, head: list[str]) -> None:
    twice = [name for name, n in Counter(head).items() if name and n > 1]
    if twice:
        raise InvalidData(f"{file} has {Counter(head)[twice[0]]} columns called {twice[0]}; keep one")
    if len(head) == 1 and (mark := next((m for m in (";", "\t", "|") if m in head[0]), "")):
        raise InvalidData(
            f"{file}: the cells seem to be separated by {mark!r}; write the file with commas between them"
        )


def _json(file: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=partial(_once, file, number))
    except json.JSONDecodeError as error:
        raise InvalidData(
            f"{file}, line {number} cannot be read ({error.msg}, character {error.pos + 1}); write one object a line"
        ) from None


def _once(file: Path, line: int, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose names differ."""
    twice = [name for name, n in Counter(name for name, _ in pairs).items() if n > 1]
    if twice:
        raise InvalidData(f"{file}, line {line} has {twice[0]} twice; keep one")
    return dict(pairs)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


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


def _require(file: Path, line: int, row: Any, needed: tuple[str, ...]) -> None:
    if isinstance(row, dict) and (deep := [c for c in _COLUMNS if isinstance(row.get(c), list | dict)]):
        raise InvalidData(f"{file}, line {line}: {deep[0]} must be one text or number, not {row[deep[0]]!r}")
    missing = [c for c in needed if not isinstance(row, dict) or c not in row]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        has = ", ".join(map(str, row)) if isinstance(row, dict) else repr(row)[:40]
        raise InvalidData(
            f"{file}, line {line}: {' and '.join(missing)} {verb} missing; it has {has}. A list of files needs the "
            "columns path and label, and a table needs the column label; name it with --label COLUMN (label='COLUMN')"
        )


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def is_text(name: str) -> bool:
    """Whether a file with this name has a text.

    Args:
        name: Of the file.

    Returns:
        True if it ends in .txt.
    """
    return PurePosixPath(name).suffix.lower() == ".txt"


_READ: Mapping[str, Callable[[str], bool]] = {"image": _is_image, "text": is_text}


def _with_slashes(path: str, root: Path) -> str:
    """A path that was written on Windows, unless there is a file whose name has backslashes."""
    if "\\" not in path or (root / path).exists():
        return path
    return path.replace("\\", "/")


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
