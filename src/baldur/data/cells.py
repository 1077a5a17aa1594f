"""The values of the columns of a table: as texts, as numbers, and as categories."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.folders import split_named
from baldur.data.labels import LIKE_MISSING, MISSING
from baldur.errors import InvalidArgument

NO_VALUE = frozenset({*MISSING, *LIKE_MISSING})
"""The texts that mean a missing value of an input."""

_ID = re.compile(
    r"^(index|idx|id|uuid|guid|row_?(id|no|number|names?)?|__index_level_\d+__)$"
    r"|[_\s.-](id|idx|uuid|guid)$",
    re.IGNORECASE,
)
_UNNAMED = re.compile(r"^(unnamed(:? ?\d+)?)?$", re.IGNORECASE)
_CAMEL = re.compile(r"[a-z](ID|Id)$")


def columns_of(table: Any) -> dict[str, Any]:
    """The columns of a data frame or a mapping, by name.

    Args:
        table: A table that `is_frame` knows, several of them by the names of splits, or a mapping from names to values.

    Returns:
        An array or list for each column.

    Raises:
        InvalidArgument: It is no table with names, or two columns have one name.
    """
    if is_split(table):
        return _joined({str(name): columns_of(part) for name, part in table.items()})
    if isinstance(table, Mapping):
        return {str(name): values for name, values in table.items()}
    if not is_frame(table):
        raise InvalidArgument(
            f"expected a data frame, or a dict from column names to values, not {type(table).__name__}"
        )
    if _of_the_hub(table):
        return {str(name): _decoded(table, name) for name in table.column_names}
    names = [str(name) for name in table.columns]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidArgument(f"the table has two columns called {twice}; keep one")
    return {name: _plain(table[own]) for name, own in zip(names, table.columns, strict=True)}


def is_frame(table: Any) -> bool:
    """Whether an object is a data frame of pandas or polars, or a Hugging Face `Dataset` of numbers and texts.

    Args:
        table: Any object.

    Returns:
        True if it is.
    """
    return (type(table).__name__ == "DataFrame" and hasattr(table, "columns")) or _of_the_hub(table)


def is_split(tables: Any) -> bool:
    """Whether an object has a table for each split, such as a Hugging Face `DatasetDict`.

    Args:
        tables: Any object.

    Returns:
        True if it is a dict of tables.
    """
    return isinstance(tables, dict) and bool(tables) and all(is_frame(table) for table in tables.values())


def _of_the_hub(table: Any) -> bool:
    """Whether an object is a `datasets.Dataset` of plain values, by its attributes: it may not be installed."""
    if type(table).__name__ != "Dataset" or not (
        hasattr(table, "column_names") and hasattr(table, "features")
    ):
        return False
    return all(type(feature).__name__ in ("Value", "ClassLabel") for feature in table.features.values())


def _decoded(table: Any, name: str) -> list[Any]:
    """A column of a `datasets.Dataset`; classes have their names, and -1 is missing."""
    feature, values = table.features[name], list(table[name])
    if type(feature).__name__ != "ClassLabel":
        return values
    names = feature.names
    return [None if value is None or value < 0 else names[value] for value in values]


def _joined(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One table of those of several splits, with the column split."""
    names = dict.fromkeys(name for part in parts.values() for name in part)
    whole: dict[str, list[Any]] = {name: [] for name in names}
    splits: list[str] = []
    for split, part in parts.items():
        n = len(next(iter(part.values()), ()))
        for name in names:
            values = part.get(name, [None] * n)
            whole[name] += values.tolist() if isinstance(values, np.ndarray) else list(values)
        meaning = split_named(split)
        splits += ["train" if meaning == "unlabelled" else meaning or split] * n
    return whole | {"split": splits}


def is_columns(x: Any) -> bool:
    """Whether a dict has columns of a table, and not inputs with several axes or tensors.

    Args:
        x: Any object.

    Returns:
        True if it is a dict from names to sequences.
    """
    return (
        isinstance(x, dict)
        and bool(x)
        and all(not hasattr(v, "detach") and np.ndim(v) == 1 for v in x.values())
    )


def texts_of(values: Any) -> list[str]:
    """Values as texts, "" for missing ones.

    Args:
        values: A sequence or an array.

    Returns:
        One text for each value; a whole number is written without a decimal point.
    """
    return [_text(value) for value in (values.tolist() if isinstance(values, np.ndarray) else values)]


DATE = "a date; give numbers, such as the days since the first"


def why_by_name(name: str) -> str:
    """The reason why the name of a column says that it is no input; "" if it does not.

    Args:
        name: Of the column.

    Returns:
        The reason.
    """
    if _UNNAMED.match(name):
        return "a column without a name; give it one"
    return "an id, by its name" if _ID.search(name) or _CAMEL.search(name) else ""


ABOUT_LABELS = frozenset({"annotator", "time", "round"})
"""Columns of exported labels beside id and label. In a table that has all three, none is an input."""


def why_by_names(names: Iterable[str]) -> dict[str, str]:
    """The columns of a table that are no inputs by their names, each with the reason.

    Args:
        names: Of all columns.

    Returns:
        The reasons by name.
    """
    every = list(names)
    found = {name: why for name in every if (why := why_by_name(name))}
    if set(every) >= ABOUT_LABELS:
        found |= dict.fromkeys(sorted(ABOUT_LABELS), "a fact about the label, by its name")
    return found


def vocabulary(distinct: set[str]) -> tuple[str, ...]:
    """The texts of a category in order; empty if all of them are numbers.

    Args:
        distinct: The different texts of a column.

    Returns:
        The texts.
    """
    known = distinct - NO_VALUE
    if known and all(is_number(text) for text in known):
        return ()
    return tuple(sorted(known)) + (("",) if distinct & NO_VALUE else ())


def encoded(written: Sequence[str], texts: tuple[str, ...]) -> NDArray[np.float64]:
    """Texts as numbers: their own values, or their positions in the texts of a category.

    Args:
        written: Texts of a column.
        texts: From `vocabulary`.

    Returns:
        Shape (n,); NaN if missing.
    """
    if not texts:
        return np.array([np.nan if text in NO_VALUE else float(text) for text in written], np.float64)
    at = {text: i for i, text in enumerate(texts)}
    return np.array([at[text] if text in at else at[""] for text in written], np.float64)


def _plain(column: Any) -> Any:
    """A column of a data frame as an array: numbers with NaN, or objects."""
    array = np.asarray(column)
    kind = getattr(getattr(column, "dtype", None), "kind", "O")
    if array.dtype.kind == "O" and kind in "biuf":  # numbers of pandas with its own missing value
        return np.array([np.nan if _text(value) == "" else float(value) for value in array], np.float64)
    return array


def typed(values: Any) -> NDArray[Any]:
    """A list of values as an array of numbers, or of objects.

    Args:
        values: A sequence.

    Returns:
        Shape (n,).
    """
    listed = list(values)
    if all(value is None or isinstance(value, int | float | np.number) for value in listed):
        return np.array([np.nan if value is None else float(value) for value in listed], np.float64)
    made = np.empty(len(listed), object)
    made[:] = listed
    return made


def _text(value: Any) -> str:
    if value is None or value is np.nan or str(value) in ("<NA>", "NaT", "nan"):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def is_number(text: str) -> bool:
    """Whether a text is a finite number.

    Args:
        text: Any text.

    Returns:
        True if it is.
    """
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def numbers_of(name: str, values: Any) -> NDArray[np.float64]:
    """The values of a column of numbers.

    Args:
        name: Of the column, for the message.
        values: A sequence or an array.

    Returns:
        Shape (n,); NaN if missing.

    Raises:
        InvalidArgument: A value is no number.
    """
    array = values if isinstance(values, np.ndarray) else typed(values)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    written = texts_of(array)
    if strange := next((text for text in written if text not in NO_VALUE and not is_number(text)), None):
        raise InvalidArgument(f"the column {name} was learned as numbers, but it has {strange!r}")
    return encoded(written, ())
