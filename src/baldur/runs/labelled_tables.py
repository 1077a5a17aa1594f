"""Labels as tables: CSV, JSON lines and Parquet. Only the store is read."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from baldur.errors import Unsupported
from baldur.runs.labelled import LabelledItem, new, unknown_columns

_FIRST = ("id", "label")
_LAST = ("group", "split", "annotator", "time", "round")
_WHERE = ("path", "part", "text")


def write_table(items: Sequence[LabelledItem], place: Path, format: str) -> None:
    """Write a table with a row for each item.

    The columns are id and label; path and part, the text, or the values of the row of a table; and group, split,
    annotator, time and round. The file can be loaded as data again.

    Args:
        items: The items.
        place: The file.
        format: "csv", "jsonl" or "parquet".

    Raises:
        StoreError: There is another file already.
        Unsupported: Parquet needs pyarrow.
    """
    if format == "parquet":
        table = arrow_table(*as_rows(items))
        from pyarrow import parquet

        with new(place) as part:
            parquet.write_table(table, part)
        return
    with new(place) as part, part.open("w", encoding="utf-8", newline="") as file:
        write_lines(items, file, format)


def write_lines(items: Sequence[LabelledItem], file: TextIO, format: str) -> None:
    """Write a line for each item.

    Args:
        items: The items.
        file: Where to write.
        format: "csv" or "jsonl".
    """
    columns, rows = as_rows(items)
    if format == "csv":
        lines = csv.writer(file)
        lines.writerow(columns)
        lines.writerows([row[name] for name in columns] for row in rows)
    else:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_rows(items: Sequence[LabelledItem]) -> tuple[list[str], list[dict[str, Any]]]:
    """The table of some items. A column of a row that has the name of a fact is called `row_NAME`.

    Args:
        items: The items.

    Returns:
        The columns, and the values of each row.
    """
    in_files = any(item.path is not None and item.text is None and item.row is None for item in items)
    where = [
        name
        for name in (_WHERE if in_files else ("text",))
        if any(item._asdict()[name] is not None for item in items)
    ]
    facts = (*_FIRST, *where, *_LAST)
    names = unknown_columns(items, (*_FIRST, *_WHERE, *_LAST))
    rows = []
    for item in items:
        told = item._asdict()
        values = item.row or {}
        row = {name: told[name] for name in (*_FIRST, *where)}
        row |= {new: values.get(old) for old, new in names.items()}
        rows.append(row | {name: told[name] for name in _LAST})
    return [*_FIRST, *where, *names.values(), *facts[len(_FIRST) + len(where) :]], rows


def arrow_table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> Any:
    """A table of Arrow. A column of several types becomes texts.

    Args:
        columns: The columns.
        rows: The values of each row.

    Returns:
        A `pyarrow.Table`.

    Raises:
        Unsupported: pyarrow is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        raise Unsupported(
            "Parquet needs pyarrow: pip install 'baldur[parquet]'; or give --format csv or jsonl"
        ) from None
    texts = {*_FIRST, "path", "text", "group", "split", "annotator", "time"}
    made = {}
    for name in columns:
        values = [row[name] for row in rows]
        if name in texts:
            made[name] = pyarrow.array(values, pyarrow.string())
            continue
        try:
            made[name] = pyarrow.array(values, pyarrow.int64() if name in ("part", "round") else None)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            made[name] = pyarrow.array([None if v is None else str(v) for v in values], pyarrow.string())
    return pyarrow.table(made)
