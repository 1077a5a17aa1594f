"""Data sets of tables in memory: data frames, and CSV or JSONL files with a column for each input."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data import columns
from baldur.data.cells import texts_of
from baldur.data.classes import classified
from baldur.data.columns import TablePool
from baldur.data.copies import sides
from baldur.data.dataset import Dataset, Origin, halves, origins_of
from baldur.data.labels import Rules, label_names, nameless
from baldur.data.listing import SPLITS, rows_of
from baldur.data.origins import chosen, of_stream, of_table, plain
from baldur.data.scanning import first_of
from baldur.errors import InvalidArgument, InvalidData

_FACTS = ("id", "split", "group", "label")


def is_table(file: Path, rules: Rules) -> bool:
    """Whether a CSV or JSONL file is a table: its first row has a label and other columns, but no path.

    Args:
        file: The file.
        rules: How labels are read. If people will label, a table needs no label.

    Returns:
        True if it is.
    """
    _, row = next(iter(rows_of(file)), (0, {}))
    if not isinstance(row, dict) or "path" in row:
        return False
    return bool(row) if rules.labelling else "label" in row and len(row) > 1


def from_rows(file: Path, *, test_fraction: float, seed: int, rules: Rules, standardise: bool) -> Dataset:
    """A data set of the rows of a CSV or JSONL file: label, optionally id, split and group, and the inputs.

    Args:
        file: The file.
        test_fraction: The share of test items, if the rows name no split.
        seed: Of that split.
        rules: How labels are read.
        standardise: Whether numbers are standardised.

    Returns:
        The data set.

    Raises:
        InvalidData: The file cannot be read, or no column can be an input.
        InvalidLabel: A label is not valid.
    """
    lines, rows = [], []
    for line, row in rows_of(file):
        if not isinstance(row, dict) or ("label" not in row and rules.labelling is None):
            raise InvalidData(f"{file}, line {line}: label is missing")
        lines.append(line)
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    table = {name: [row.get(name) for row in rows] for name in names}
    labels = table.pop("label", None)
    return from_table(
        str(file),
        table,
        labels,
        test_fraction=test_fraction,
        seed=seed,
        rules=rules,
        standardise=standardise,
        where=[f"line {line}" for line in lines],
        own_ids="id" in table,
        origins=partial(
            of_stream,
            [str(file.absolute())],
            [len(rows)],
            partial(_shown, file, chosen(dict.fromkeys(table, False))),
        ),
    )


def _shown(file: Path, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The values of each row that a page shows."""
    names = [name for name in names if name not in _FACTS]
    for _, row in rows_of(file):
        yield {"row": {name: plain(row.get(name)) for name in names}}


def from_table(
    name: str,
    table: Mapping[str, Any],
    labels: Any,
    *,
    test_fraction: float,
    seed: int = 0,
    rules: Rules,
    standardise: bool = True,
    where: Sequence[str] | None = None,
    own_ids: bool = False,
    origins: Callable[[NDArray[np.intp]], Iterator[Origin]] | None = None,
) -> Dataset:
    """A data set of the rows of a table in memory.

    Args:
        name: The name of the data set.
        table: Values by the name of the column; split and group are facts about a row, all others may be inputs.
        labels: The label of each row; None if people will label, and no label is known.
        test_fraction: The share of test items, if the rows name no split.
        seed: Of that split.
        rules: How labels are read.
        standardise: Whether numbers are standardised.
        where: Names the place of each row; by default its position.
        own_ids: Whether the column id has the ids; otherwise they are positions.
        origins: Reads the origins of some rows; by default, they are the values of the table.

    Returns:
        The data set.

    Raises:
        InvalidArgument: The number of labels differs.
        InvalidData: A fact about a row is not valid, or no column can be an input.
        InvalidLabel: A label is not valid.
    """
    inputs = dict(table)
    twice = inputs.pop("label", None) is not None
    if not inputs:
        raise InvalidArgument(f"{name} has no column beside label; give a column for each input")
    n = len(next(iter(inputs.values()), ())) if labels is None else len(labels)
    if wrong := next((key for key, values in inputs.items() if len(values) != n), None):
        raise InvalidArgument(f"the column {wrong} has {len(inputs[wrong])} rows, but there are {n} labels")
    if not n:
        raise InvalidArgument(f"{name} has no rows; give at least two")
    places = where or [f"position {i}" for i in range(n)]
    facts = {key: texts_of(inputs.pop(key)) for key in ("split", "group") if key in inputs}
    ids = tuple(texts_of(inputs.pop("id"))) if own_ids else tuple(map(str, range(n)))
    _check_ids(name, ids, places)
    splits = facts.get("split", [""] * n)
    strange = next((i for i, split in enumerate(splits) if split.lower() not in SPLITS), None)
    if strange is not None:
        raise InvalidData(
            f"{name}, {places[strange]}: the split must be train, test, val or empty, not {splits[strange]!r}"
        )
    known = [SPLITS.get(split.lower(), "") for split in splits]
    val = "train" if "test" in known else "test"
    named = nameless(n) if labels is None else label_names(labels, name, rules, lambda i: places[i])
    y, classes = classified(named.names, name, rules)
    given = facts.get("group", [])
    groups = tuple(g or f"item {i}" for i, g in enumerate(given)) if any(given) else None
    origins = origins or partial(
        of_table, {name: values for name, values in inputs.items() if name not in _FACTS}
    )
    found, rows = columns.found_in(inputs)
    named_test = np.array([(val if split == "val" else split) == "test" for split in known], np.bool_)
    split = sides(
        ids,
        y,
        first_of(_digests(rows)),
        test_fraction,
        seed,
        classes=classes,
        named=named_test,
        groups=groups,
        rows=True,
        reading=rules.reading,
        old=rules.old,
    )
    kept = rules.kept(name, "table")
    fitted, notes = columns.fitted(
        found, rows, np.flatnonzero(split.kept & ~split.test), standardise, name, kept
    )
    pool = TablePool(rows, found, fitted, ids, groups)
    own = ["left out: label (the labels are given apart)"] * twice
    told = (*own, *named.notes, *notes, *copies(found, rows, np.where(split.test, -1, y), fitted))
    return Dataset(
        name,
        *halves(pool, y, split.test, split.kept),
        classes,
        columns.preprocessing_of(fitted),
        quarantined=split.left_out,
        duplicates=split.duplicates,
        notes=(*told, *split.notes),
        origins=origins_of(origins, split.test, split.kept),
    )


def copies(
    found: columns.Found, rows: NDArray[np.float64], y: NDArray[np.int64], fitted: columns.Columns
) -> list[str]:
    """A warning for each input that is the label under other names.

    Args:
        found: The columns.
        rows: Their values.
        y: The class of each row, -1 if unknown.
        fitted: The inputs.

    Returns:
        Sentences.
    """
    known = y >= 0
    classes = len(np.unique(y[known]))
    said = []
    for name in fitted.names:
        values = rows[known, found.names.index(name)]
        pairs = set(zip(values.tolist(), y[known].tolist(), strict=True))
        if len(pairs) == classes == len({a for a, _ in pairs}) and known.sum() > 2 * classes:
            said.append(
                f"the column {name} has one value for each class; remove it if it was made from the label"
            )
    return said


def _check_ids(name: str, ids: Sequence[str], places: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for i, id in enumerate(ids):
        if not id:
            raise InvalidData(f"{name}, {places[i]}: the column id has no value; give every row an id")
        if first.setdefault(id, i) != i:
            raise InvalidData(
                f"{name}: the id {id!r} occurs twice ({places[first[id]]} and {places[i]}); every row needs its own"
            )


def _digests(rows: NDArray[np.float64]) -> list[bytes]:
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in np.ascontiguousarray(rows)]
