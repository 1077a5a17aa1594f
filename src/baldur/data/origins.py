"""Where the items of a data set come from: what a page needs to show them, read only when it is asked for."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.dataset import Dataset, Origin, Record

_MOST_COLUMNS = 50  # of a row that a page shows
_MOST_VALUES = 20  # of a vector that a page shows
_BLOCK = 4096  # rows that are read at a time
_STREAMS = 8  # times that a file may be read from its beginning, rather than keep its rows in memory


def records_of(dataset: Dataset) -> Iterator[Record]:
    """The facts about each item, in the order of the pool, and then of the test items.

    Args:
        dataset: The data set.

    Yields:
        One record at a time, so that a million of them need no memory.
    """
    n = len(dataset.train) + len(dataset.test)
    told = None if dataset.origins is None else dataset.origins(np.arange(n))
    files = {record.id: record for record in dataset.records} if told is None else {}
    for split, pool in (("train", dataset.train), ("test", dataset.test)):
        ids, groups = pool.ids, pool.groups
        for i, id in enumerate(ids):
            if told is None and id in files:  # of a data set that was made without origins
                yield files[id]
                continue
            origin = Origin() if told is None else next(told)
            yield Record(id, origin.path, split, None if groups is None else groups[i], *origin[1:])


def short(digest: str) -> bytes:
    """A digest that takes less memory.

    Args:
        digest: In hexadecimal.

    Returns:
        Its first 16 bytes.
    """
    return bytes.fromhex(digest)[:16]


def of_files(rows: Sequence[Record], positions: NDArray[np.intp]) -> Iterator[Origin]:
    """The origins of files.

    Args:
        rows: The facts about all files.
        positions: Some of them.

    Yields:
        Their origins.
    """
    for i in positions:
        r = rows[i]
        yield Origin(r.path, r.sha256, r.size, r.mtime_ns)


def of_array(
    path: str | None, x: NDArray[Any] | None, parts: Sequence[int], positions: NDArray[np.intp]
) -> Iterator[Origin]:
    """The origins of the rows of an array.

    Args:
        path: The file of the array; None if it is in memory.
        x: The array, whose rows are shown if they are short vectors; None shows nothing.
        parts: The numbers of rows in each array of the file.
        positions: Some rows, counted over all arrays.

    Yields:
        Their origins.
    """
    starts = np.cumsum([0, *parts])
    part = positions - starts[np.searchsorted(starts, positions, side="right") - 1]
    rows = (
        itertools.repeat(None)
        if x is None or x.ndim != 2 or x.shape[1] > _MOST_VALUES
        else _rows(x, positions)
    )
    for at, shown in zip(part.tolist(), rows, strict=False):
        yield Origin(path, part=None if path is None else at, shown=shown)


def _rows(x: NDArray[Any], positions: NDArray[np.intp]) -> Iterator[dict[str, Any]]:
    names = [str(j) for j in range(x.shape[1])]
    for start in range(0, len(positions), _BLOCK):
        some = x[positions[start : start + _BLOCK]]
        told = some.tolist()
        if some.dtype.kind == "f" and not np.isfinite(some).all():
            told = [[plain(value) for value in row] for row in told]
        for row in told:
            yield {"row": dict(zip(names, row, strict=True))}


def of_table(table: Mapping[str, Any], text: str | None, positions: NDArray[np.intp]) -> Iterator[Origin]:
    """The origins of the rows of a table in memory.

    Args:
        table: Values by the name of the column.
        text: The column of texts; None if there is none.
        positions: Some rows.

    Yields:
        Their origins.
    """
    names = chosen({name: np.asarray(values).dtype.kind in "biuf" for name, values in table.items()})
    if text is not None and text not in names:
        names.append(text)
    for i in positions.tolist():
        yield Origin(shown=shown({name: table[name][i] for name in names}, text))


def of_stream(
    paths: Sequence[str],
    parts: Sequence[int],
    stream: Callable[[], Iterable[Mapping[str, Any] | None]] | None,
    positions: NDArray[np.intp],
) -> Iterator[Origin]:
    """The origins of the rows of files that are read from the beginning.

    Args:
        paths: The files.
        parts: The number of rows in each file.
        stream: Reads what is shown of each row of all files, in order; None if nothing is shown.
        positions: Some rows, counted over all files.

    Yields:
        Their origins.
    """
    starts = np.cumsum([0, *parts])
    files = np.searchsorted(starts, positions, side="right") - 1
    told = itertools.repeat(None) if stream is None else _picked(stream, positions)
    for at, file, shown in zip(positions.tolist(), files.tolist(), told, strict=False):
        yield Origin(paths[file], part=at - int(starts[file]), shown=shown)


def _picked(stream: Callable[[], Iterable[Any]], positions: NDArray[np.intp]) -> Iterator[Any]:
    """Some values of a stream, in the order of the positions."""
    breaks = [0, *(np.flatnonzero(np.diff(positions) <= 0) + 1).tolist(), len(positions)]
    if len(breaks) > _STREAMS:
        wanted = set(positions.tolist())
        kept = {i: value for i, value in enumerate(stream()) if i in wanted}
        yield from (kept[i] for i in positions.tolist())
        return
    for start, end in itertools.pairwise(breaks):
        values = iter(stream())
        at = -1
        for position in positions[start:end].tolist():
            yield next(itertools.islice(values, position - at - 1, None))
            at = position


def shown(row: Mapping[str, Any], text: str | None) -> dict[str, Any]:
    """The values of a row that a page shows.

    Args:
        row: Values by column.
        text: The column of texts; None if there is none.

    Returns:
        {"text": ...} if there is one, and {"row": {column: value}} of the other columns.
    """
    values = {name: plain(value) for name, value in row.items() if name != text}
    if text is None:
        return {"row": values}
    value = plain(row.get(text))
    return {"text": "" if value is None else str(value)} | ({"row": values} if values else {})


def chosen(columns: Mapping[str, bool]) -> list[str]:
    """The columns of a row that a page shows: at most 50, texts and categories before numbers.

    Args:
        columns: For each column whether it has numbers.

    Returns:
        Names in the order of the table.
    """
    if len(columns) <= _MOST_COLUMNS:
        return list(columns)
    best = set(sorted(columns, key=lambda name: columns[name])[:_MOST_COLUMNS])
    return [name for name in columns if name in best]


def plain(value: Any) -> Any:
    """A value as JSON can hold it: None if it is missing, and a text if it is of another type.

    Args:
        value: A cell of a table.

    Returns:
        None, a truth value, a number or a text.
    """
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return None if str(value) in ("NaT", "<NA>") else str(value)
