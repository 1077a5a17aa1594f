"""Data sets of tables in memory: data frames, and CSV or JSONL files with a column for each input."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data import columns
from baldur.data.by_name import FACTS
from baldur.data.cells import columns_of, texts_of
from baldur.data.classes import classified
from baldur.data.columns import TablePool
from baldur.data.copies import sides
from baldur.data.dataset import Dataset, Origin, halves, origins_of
from baldur.data.labels import Rules, label_names, nameless
from baldur.data.listing import SPLITS, rows_of
from baldur.data.origins import chosen, of_stream, of_table, shown
from baldur.data.scanning import first_of
from baldur.errors import InvalidArgument, InvalidData


def is_table(file: Path, rules: Rules) -> bool:
    """Whether a CSV or JSONL file is a table: its first row has a label and other columns, but no path.

    Args:
        file: The file.
        rules: How labels are read. If people will label, a table needs no label.

    Returns:
        True if it is.
    """
    _, row = next(iter(rows_of(file)), (0, {}))
    if not isinstance(row, dict):
        return False
    if rules.columns.named:
        return True
    label = "label" in rules.columns.facts(row)
    return "path" not in row and (bool(row) if rules.labelling else label and len(row) > 1)


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
    called = rules.columns.label or "label"
    for line, row in rows_of(file):
        if not isinstance(row, dict) or (called not in row and rules.labelling is None):
            has = f"; it has {', '.join(row)}" if isinstance(row, dict) else ""
            raise InvalidData(
                f"{file}, line {line}: {called} is missing{has}. Name the column with the classes: --label COLUMN "
                "(label='COLUMN')"
            )
        lines.append(line)
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    rules.columns.check(names, str(file))
    whole = {name: [row.get(name) for row in rows] for name in names}
    table = rules.columns.renamed(whole)
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
            _origins,
            file,
            len(rows),
            [name for name in chosen(dict.fromkeys(table, False)) if name not in FACTS],
        ),
        notes=rules.columns.notes(names),
    )


def _origins(
    file: Path, n: int, names: Sequence[str], text: str | None, positions: NDArray[np.intp]
) -> Iterator[Origin]:
    """Where rows come from, and the values that a page shows."""

    def told() -> Iterator[dict[str, Any]]:
        every = names if text is None else [*names, text]
        return (shown({name: row.get(name) for name in every}, text) for _, row in rows_of(file))

    return of_stream([str(file.absolute())], [n], told, positions)


def from_columns(
    name: str, x: Any, labels: Any, *, test_fraction: float, rules: Rules, standardise: bool
) -> Dataset:
    """A data set of the rows of a table in Python.

    Args:
        name: The name of the data set.
        x: A data frame, a dict of columns, or a Hugging Face `Dataset` or `DatasetDict`.
        labels: The label of each row; None takes the column of labels.
        test_fraction: The share of test items, if the rows name no split.
        rules: How labels and columns are read.
        standardise: Whether numbers are standardised.

    Returns:
        The data set.

    Raises:
        InvalidArgument: There is no column of labels.
        InvalidData: As for `from_table`, or there is no such column.
        InvalidLabel: A label is not valid.
    """
    whole = columns_of(x)
    rules.columns.check(whole, name)
    table = rules.columns.renamed(whole)
    if labels is None:
        if "label" not in table and rules.labelling is None:
            raise InvalidArgument(
                f"the data frame has no column label; it has {', '.join(whole) or 'no columns'}. Name the column with "
                "the classes, label='COLUMN', or give a tuple (data frame, labels)"
            )
        labels = table.pop("label", None)
    return from_table(
        name,
        table,
        labels,
        test_fraction=test_fraction,
        rules=rules,
        standardise=standardise,
        own_ids=rules.columns.id is not None,
        notes=rules.columns.notes(whole),
    )


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
    origins: Callable[[str | None, NDArray[np.intp]], Iterator[Origin]] | None = None,
    notes: Sequence[str] = (),
    quarantined: Sequence[tuple[str, str]] = (),
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
        origins: Reads the origins of some rows, given the column of texts if there is one; by default, they are the
            values of the table.
        notes: Sentences for the user.
        quarantined: Items that cannot be read, with the reason.

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
    found, rows = columns.found_in(inputs, rules.columns.free, rules.columns.inputs or ())
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
    fitted, said = columns.fitted(
        found, rows, np.flatnonzero(split.kept & ~split.test), standardise, name, kept
    )
    text = columns.text_of(fitted)
    read = (
        partial(of_table, {name: v for name, v in inputs.items() if name not in FACTS}, text)
        if origins is None
        else partial(origins, text)
    )
    pool = TablePool(rows, found, fitted, ids, groups)
    own = ["left out: label (the labels are given apart)"] * twice
    told = (*own, *notes, *named.notes, *said, *copies(found, rows, np.where(split.test, -1, y), fitted))
    return Dataset(
        name,
        *halves(pool, y, split.test, split.kept),
        classes,
        columns.preprocessing_of(fitted),
        quarantined=(*quarantined, *split.left_out),
        duplicates=split.duplicates,
        notes=(*told, *split.notes),
        origins=origins_of(read, split.test, split.kept),
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
    for name in fitted.names[: len(fitted.numbers) + len(fitted.categories)]:
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
