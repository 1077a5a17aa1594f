"""The columns of a table as inputs: numbers are standardised, categories become one-hot columns, and texts weights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.cache import Blocks
from baldur.data.cells import (
    DATE,
    NO_VALUE,
    columns_of,
    encoded,
    is_number,
    numbers_of,
    texts_of,
    typed,
    vocabulary,
    why_by_names,
)
from baldur.data.labels import FEW
from baldur.data.texts import Texts, are_free
from baldur.data.texts import fit as fit_texts
from baldur.errors import InvalidArgument, InvalidData
from baldur.protocols import Batch, Positions

LARGEST = float(np.finfo(np.float32).max)
"""Inputs are float32, which holds no larger numbers."""

MOST_VALUES = 100
"""A category has at most so many different values; more are text."""

TEXT = "text or an id"
"""The reason why a column of many different texts is no input."""

WHICH_TEXT = "A column of texts can be the input: name it with --text COLUMN (text='COLUMN')"
"""What to do with columns of texts that are no inputs."""

_ENOUGH = 100_000  # rows that the columns are fitted to
_KEPT = 1 << 26  # numbers that are made of texts and kept in memory, rather than made again


class Number(NamedTuple):
    """A column of numbers, x ↦ (x − mean) / scale.

    Args:
        name: Of the column.
        fill: The value in place of a missing one.
        mean: Of the pool.
        scale: The standard deviation in the pool.
    """

    name: str
    fill: float
    mean: float
    scale: float


class Category(NamedTuple):
    """A column of categories, which becomes one column for each value; an unknown value is zero in all of them.

    Args:
        name: Of the column.
        values: That occur in the pool; "" if one is missing.
    """

    name: str
    values: tuple[str, ...]


class Found(NamedTuple):
    """Columns as read.

    Args:
        names: Of the columns that may be inputs.
        texts: For each the different texts, in order; empty for a column of numbers.
        left_out: Other columns, each with the reason.
        free: The columns of texts that the user names.
    """

    names: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    left_out: tuple[tuple[str, str], ...]
    free: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """The inputs that are made of a table. They were fitted to the pool, and never to test rows.

    Args:
        numbers: The columns of numbers.
        categories: The columns of categories.
        left_out: Columns that are no inputs, each with the reason.
        texts: The columns of texts.
    """

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]
    left_out: tuple[tuple[str, str], ...] = ()
    texts: tuple[Texts, ...] = ()

    @property
    def width(self) -> int:
        """The number of inputs."""
        several = sum(len(c.values) for c in self.categories) + sum(text.width for text in self.texts)
        return len(self.numbers) + several

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns: first numbers, then categories, then texts."""
        others = (*(c.name for c in self.categories), *(text.name for text in self.texts))
        return (*(number.name for number in self.numbers), *others)

    def rows(self, table: Any) -> NDArray[np.float32]:
        """The inputs of the rows of a table. Columns are found by their names; their order does not matter.

        Args:
            table: A data frame, or a mapping from names to values.

        Returns:
            Shape (n, width).

        Raises:
            InvalidArgument: A column is missing, or a column of numbers has another value.
        """
        named = columns_of(table)
        if lost := [name for name in self.names if name not in named]:
            raise InvalidArgument(
                f"the table lacks the columns {', '.join(lost)}; it has {', '.join(map(str, named))}"
            )
        numbers = [numbers_of(n.name, named[n.name]) for n in self.numbers]
        codes = []
        for category in self.categories:
            at = {value: i for i, value in enumerate(category.values)}
            written = texts_of(named[category.name])
            codes.append(np.array([at.get("" if t in NO_VALUE else t, -1) for t in written], np.int64))
        return self.made(numbers, codes, [text.rows(texts_of(named[text.name])) for text in self.texts])

    def made(
        self,
        numbers: Sequence[NDArray[np.float64]],
        codes: Sequence[NDArray[np.int64]],
        texts: Sequence[NDArray[np.float32]] = (),
    ) -> NDArray[np.float32]:
        """Inputs from columns.

        Args:
            numbers: The values of each column of numbers, shape (n,); NaN if missing.
            codes: For each category the positions of its values, shape (n,); -1 if unknown.
            texts: The inputs of each column of texts, shape (n, its width).

        Returns:
            Shape (n, width).
        """
        given: list[NDArray[Any]] = [*numbers, *codes, *texts]
        out = np.zeros((len(given[0]), self.width), np.float32)
        for j, (column, values) in enumerate(zip(self.numbers, numbers, strict=True)):
            filled = np.where(np.abs(values) <= LARGEST, values, column.fill)  # NaN is not below either
            out[:, j] = (filled - column.mean) / column.scale
        start = len(self.numbers)
        for category, code in zip(self.categories, codes, strict=True):
            known = np.flatnonzero(code >= 0)
            out[known, start + code[known]] = 1
            start += len(category.values)
        for rows in texts:
            out[:, start : start + rows.shape[1]] = rows
            start += rows.shape[1]
        return out

    def as_json(self) -> dict[str, Any]:
        """The columns as values that JSON can hold.

        Returns:
            Lists of numbers, categories, texts and left-out columns.
        """
        texts: dict[str, Any] = {"texts": [text.as_json() for text in self.texts]} if self.texts else {}
        return {
            "numbers": [n._asdict() for n in self.numbers],
            "categories": [{"name": c.name, "values": list(c.values)} for c in self.categories],
            "left_out": [list(pair) for pair in self.left_out],
            **texts,
        }


def from_json(told: Mapping[str, Any]) -> Columns:
    """Columns from the values that `Columns.as_json` gave.

    Args:
        told: The values.

    Returns:
        The columns.
    """
    numbers = tuple(Number(**number) for number in told["numbers"])
    categories = tuple(Category(c["name"], tuple(c["values"])) for c in told["categories"])
    texts = tuple(
        Texts(t["name"], tuple(t["terms"]), tuple(t["idf"]), t["directions"]) for t in told.get("texts", ())
    )
    return Columns(numbers, categories, tuple((name, why) for name, why in told["left_out"]), texts)


def found_in(
    table: Mapping[str, Any], free: Sequence[str] = (), named: Sequence[str] = ()
) -> tuple[Found, NDArray[np.float64]]:
    """The columns of a table in memory that may be inputs, and their values as numbers.

    Args:
        table: Values by name.
        free: The columns of texts that the user names.
        named: Other columns that the user names, whatever their names say.

    Returns:
        The columns, and shape (n, columns): numbers, NaN if missing; or positions in the texts of a category.
    """
    names, texts, left_out, rows = [], [], [], []
    no_inputs = why_by_names(table)
    for name, values in table.items():
        if name in free:
            written = texts_of(values)
            some: tuple[str, ...] = tuple(sorted(set(written)))
            names.append(name)
            texts.append(some)
            rows.append(encoded(written, some))
            continue
        array = values if isinstance(values, np.ndarray) else typed(values)
        if (why := no_inputs.get(name)) and name not in named:
            left_out.append((name, why))
            continue
        if array.dtype.kind in "biuf":
            some = ()
            numbers = array.astype(np.float64)
        elif array.dtype.kind in "mM":
            left_out.append((name, DATE))
            continue
        else:
            written = texts_of(array)
            some = vocabulary(set(written))
            numbers = encoded(written, some)
        names.append(name)
        texts.append(some)
        rows.append(numbers)
    made = np.stack(rows, 1) if rows else np.zeros((len(next(iter(table.values()), ())), 0))
    return Found(tuple(names), tuple(texts), tuple(left_out), tuple(free)), made


def fit(
    found: Found, rows: Any, positions: Positions, standardise: bool, source: str
) -> tuple[Columns, tuple[str, ...]]:
    """Fit the inputs to the rows of the pool.

    Args:
        found: The columns.
        rows: Their values, see `found_in`: an array, or `cache.Blocks`.
        positions: The rows of the pool, shape (n,).
        standardise: Whether numbers are standardised.
        source: The name of the data, for messages.

    Returns:
        The columns, and sentences for the user.

    Raises:
        InvalidData: No column can be an input.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    chosen = positions[_spread(len(positions))]
    x = _taken(rows, chosen)
    extreme = np.abs(_taken(rows, _spread(len(rows)))) > LARGEST
    counts = dict(zip(found.names, extreme.sum(0).tolist(), strict=True))
    x = np.where(np.abs(x) > LARGEST, np.nan, x)
    why = [
        "" if name in found.free else _why_by_values(x[:, j], chosen, texts)
        for j, (name, texts) in enumerate(zip(found.names, found.texts, strict=True))
    ]
    free = [j for j, name in enumerate(found.names) if name in found.free] or _plainly_text(found, x, why)
    for j in free:
        why[j] = ""
    left_out = found.left_out + tuple(
        (name, reason) for name, reason in zip(found.names, why, strict=True) if reason
    )
    used = [j for j, reason in enumerate(why) if not reason]
    if not used:
        told = "; ".join(f"{name} is {reason}" for name, reason in left_out)
        advice = f". {WHICH_TEXT}" if any(reason.startswith(TEXT) for _, reason in left_out) else ""
        raise InvalidData(
            f"no column of {source} can be an input: {told or 'there is none beside the label'}{advice}"
        )
    numbers = [j for j in used if not found.texts[j]]
    categories = [j for j in used if found.texts[j] and j not in free]
    texts = [
        fit_texts(found.names[j], [found.texts[j][code] for code in x[:, j].astype(np.intp).tolist()])
        for j in free
    ]
    scaler = StandardScaler(with_mean=standardise, with_std=standardise)
    transformer = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median"), scaler), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
    ).fit(x)
    parts = transformer.named_transformers_
    made, values = [], []
    if numbers:
        imputer, scaler = parts["numbers"][0], parts["numbers"][1]
        means = scaler.mean_ if standardise else np.zeros(len(numbers))
        scales = scaler.scale_ if standardise else np.ones(len(numbers))
        for j, fill, mean, scale in zip(numbers, imputer.statistics_, means, scales, strict=True):
            made.append(Number(found.names[j], float(fill), float(mean), float(scale)))
    if categories:
        for j, codes in zip(categories, parts["categories"].categories_, strict=True):
            values.append(Category(found.names[j], tuple(found.texts[j][int(code)] for code in codes)))
    columns = Columns(tuple(made), tuple(values), left_out, tuple(texts))
    lost = np.isnan(x[:, numbers])
    notes = [*_sentences(left_out)]
    notes += [f"{WHICH_TEXT}"] if not free and any(reason.startswith(TEXT) for _, reason in left_out) else []
    notes += [
        f"{count} infinite or too large {'value' if count == 1 else 'values'} of the column {name} "
        f"{'counts' if count == 1 else 'count'} as missing"
        for name, count in counts.items()
        if count
    ]
    if lost.any():
        names = [found.names[numbers[j]] for j in np.unique(np.nonzero(lost)[1]).tolist()]
        several = "1 missing number" if lost.sum() == 1 else f"{lost.sum()} missing numbers"
        verb = "is" if lost.sum() == 1 else "are"
        notes.append(f"{several} of the pool ({_some(names)}) {verb} filled with the median")
    return columns, tuple(notes)


def fitted(
    found: Found,
    rows: Any,
    positions: Positions,
    standardise: bool,
    source: str,
    kept: Mapping[str, Any] | None,
) -> tuple[Columns, tuple[str, ...]]:
    """The inputs of an earlier reading, or inputs that are fitted now.

    Args:
        found: The columns.
        rows: Their values, see `found_in`.
        positions: The rows of the pool, shape (n,).
        standardise: Whether numbers are standardised.
        source: The name of the data, for messages.
        kept: The preprocessing of the earlier reading; None fits the inputs now.

    Returns:
        The columns, and sentences for the user.

    Raises:
        InvalidData: No column can be an input, or a column is missing or has other values than before.
    """
    if kept is None:
        return fit(found, rows, positions, standardise, source)
    columns = from_json(kept["columns"])
    if lost := [name for name in columns.names if name not in found.names]:
        raise InvalidData(f"{source} lacks the columns {_some(lost)}, which the run has as inputs; add them")
    texts = dict(zip(found.names, found.texts, strict=True))
    if strange := [number.name for number in columns.numbers if texts[number.name]]:
        shown = next(text for text in texts[strange[0]] if not is_number(text))
        raise InvalidData(
            f"{source}: the run has the column {strange[0]} as numbers, but it has {shown!r}; correct it"
        )
    notes = []
    for category in columns.categories:
        if new := [text for text in texts[category.name] if text not in category.values and text]:
            notes.append(
                f"the column {category.name} has new values, which count as no known value: {_some(new)}"
            )
    return columns, tuple(notes)


@dataclass(frozen=True)
class TablePool:
    """A pool of the rows of a table.

    Args:
        stored: The values of all columns, see `found_in`: an array, or `cache.Blocks`.
        found: These columns.
        columns: The inputs that are made of them.
        ids: Unique.
        groups: The group of each item; a split never divides a group.
    """

    stored: Any
    found: Found
    columns: Columns
    ids: tuple[str, ...]
    groups: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _lookups(self) -> list[tuple[int, NDArray[np.int64]]]:
        """For each category its column, and the position of each of its texts among the inputs."""
        made = []
        for category in self.columns.categories:
            j = self.found.names.index(category.name)
            at = {value: i for i, value in enumerate(category.values)}
            made.append((j, np.array([at.get(text, -1) for text in self.found.texts[j]], np.int64)))
        return made

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time.

        Args:
            positions: Positions in this pool, shape (n,).
            size: The number of items in a batch.

        Yields:
            The positions of a batch, and their inputs, float32, shape (n, width).

        Raises:
            InvalidArgument: `size` is not positive.
        """
        import torch

        if size < 1:
            raise InvalidArgument(f"a batch holds at least 1 item, not {size}")
        at = [self.found.names.index(number.name) for number in self.columns.numbers]
        free = [self.found.names.index(text.name) for text in self.columns.texts]
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            x = self.stored.take(part) if isinstance(self.stored, Blocks) else self.stored[part]
            codes = [lookup[x[:, j].astype(np.intp)] for j, lookup in self._lookups]
            texts = [self._texts(number, x[:, j].astype(np.intp)) for number, j in enumerate(free)]
            yield part, torch.from_numpy(self.columns.made([x[:, j] for j in at], codes, texts))

    def _texts(self, number: int, codes: NDArray[np.intp]) -> NDArray[np.float32]:
        """The inputs of a column of texts."""
        column = self.columns.texts[number]
        known = self.found.texts[self.found.names.index(column.name)]
        if len(known) * column.width > _KEPT:
            return column.rows([known[code] for code in codes.tolist()])
        return self._rows_of_texts[number][codes]

    @cached_property
    def _rows_of_texts(self) -> list[NDArray[np.float32]]:
        """The inputs of all different texts of each column."""
        at = self.found.names.index
        return [column.rows(self.found.texts[at(column.name)]) for column in self.columns.texts]


def text_of(columns: Columns) -> str | None:
    """The name of the column of texts, if there is one.

    Args:
        columns: The inputs.

    Returns:
        The name of the first; None if there is none.
    """
    return columns.texts[0].name if columns.texts else None


def preprocessing_of(columns: Columns) -> dict[str, Any]:
    """The preprocessing of a table, as values that JSON can hold.

    Args:
        columns: The inputs.

    Returns:
        The `preprocessing` of a data set.
    """
    return {"kind": "table", "shape": [columns.width], "dtype": "float32", "columns": columns.as_json()}


def _plainly_text(found: Found, x: NDArray[np.float64], why: Sequence[str]) -> list[int]:
    """The only column of free texts, if no column can be another input."""
    if not all(why):
        return []
    free = [j for j, reason in enumerate(why) if reason.startswith(TEXT) and are_free(found.texts[j])]
    return free if len(free) == 1 else []


def _spread(n: int) -> NDArray[np.intp]:
    """All of n positions, or some evenly among many."""
    return np.unique(np.linspace(0, n - 1, min(n, _ENOUGH)).astype(np.intp))


def _taken(rows: Any, positions: NDArray[np.intp]) -> NDArray[np.float64]:
    taken: NDArray[np.float64] = rows.take(positions) if isinstance(rows, Blocks) else rows[positions]
    return taken


def _why_by_values(x: NDArray[np.float64], positions: Positions, texts: tuple[str, ...]) -> str:
    """The reason why a column is no input; "" if it is one."""
    if texts:
        occur = [texts[int(code)] for code in np.unique(x)]
        n = len(occur)
        if n == 1:
            return "a column with one value only" if occur[0] else "a column without values"
        if not (n > FEW and (n > MOST_VALUES or 2 * n > len(x))) and not n == len(x) > 2:
            return ""
        strange = [text for text in texts if text and not is_number(text)]  # perhaps of test rows alone
        if 2 * len(strange) < len(texts):
            return f"numbers, but also {strange[0]!r}; correct or empty such cells"
        if all(text.startswith(("[", "(", "{")) for text in occur if text):
            return "lists; give a column for each number, or the lists alone in an .npz or Parquet file"
        return f"{TEXT}: {n} different values in {len(x)} rows"
    known = x[~np.isnan(x)]
    if not len(known):
        return "a column without values"
    if len(known) == len(x) and (known == known[0]).all():
        return "a column with one value only"
    if len(known) == len(x) > 2 and len(np.unique(x - positions)) == 1:
        return "the number of the row"
    return ""


def _sentences(left_out: Sequence[tuple[str, str]]) -> Iterator[str]:
    """One sentence for each reason."""
    by_reason: dict[str, list[str]] = {}
    for name, why in left_out:
        by_reason.setdefault(why, []).append(name)
    for why, names in by_reason.items():
        yield f"left out: {_some(names, 20)} ({why})"


def _some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
