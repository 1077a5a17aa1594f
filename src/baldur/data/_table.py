"""The columns of an Arrow table: which are inputs, and their values as texts and as rows of numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.by_name import NO_NAMES, ByName
from baldur.data.cells import DATE, encoded, texts_of, vocabulary, why_by_names
from baldur.data.copies import EARLIER
from baldur.data.origins import chosen, shown
from baldur.errors import InvalidData, InvalidLabel

OTHER_LENGTH = ", and the first row {}"
_NOT_FINITE = "holds NaN, an infinite or a missing value"


class Facts(NamedTuple):
    """The facts about each row; "" if one is missing. Labels are as they are stored."""

    ids: tuple[str, ...]
    labels: list[Any]
    splits: list[str]
    groups: list[str]


class Inputs(NamedTuple):
    """The input columns.

    Args:
        kind: One column of images, one of lists of numbers, columns of a table, or columns of numbers by the rules
            of the first version.
        names: Of these columns.
        dtype: Of the stored rows.
        width: The number of values in a row; 0 for images, and if all lists are empty.
        nested: Whether an image is the field "bytes" of a struct.
        texts: For each column of a table its different texts; empty for a column of numbers.
        left_out: Columns of a table that are no inputs, each with the reason.
        free: The columns of texts that the user names.
    """

    kind: Literal["image", "list", "table", "numbers"]
    names: tuple[str, ...]
    dtype: np.dtype[Any]
    width: int
    nested: bool = False
    texts: tuple[tuple[str, ...], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    free: tuple[str, ...] = ()

    def __str__(self) -> str:
        images = "structs with bytes" if self.nested else "bytes"
        kinds = {"image": images, "list": f"lists of {self.width} {self.dtype}", "numbers": str(self.dtype)}
        kinds["table"] = "columns of a table"
        return f"{', '.join(self.names)} ({kinds[self.kind]})"


def inputs_of(
    path: Path, file: Any, width: int = 0, reading: int = EARLIER + 1, by_name: ByName = NO_NAMES
) -> Inputs:
    """The input columns of a Parquet file.

    Args:
        path: For the message.
        file: A `pyarrow.parquet.ParquetFile`.
        width: The length of lists without a fixed size; 0 takes the length of the first list that is not empty.
        reading: The rules, as in `load`; early ones take only the numbers of a table.
        by_name: The columns that the user names.

    Returns:
        The input columns.

    Raises:
        InvalidData: There are none, or the choice is ambiguous.
    """
    from pyarrow import types

    fields = _others(file.schema_arrow, by_name)
    pictures = [f for f in fields if _is_image(f.type)]
    lists = [f for f in fields if _is_list(f.type)]
    numbers = [f for f in fields if _is_number(f.type)]
    if reading > EARLIER and not pictures and not lists:
        return _columns(path, file, fields, by_name)
    several = pictures if pictures else [*lists, *numbers] if lists else []
    if len(several) > 1 or not (several or numbers):
        what = f"several columns that could be: {', '.join(f.name for f in several)}" if several else "none"
        has = ", ".join(f"{f.name} ({f.type})" for f in file.schema_arrow)
        raise InvalidData(
            f"{path}: the inputs must be one column of images (bytes), one column of lists of numbers, or columns"
            f" of numbers, but there are {what}; it has {has}"
        )
    if pictures:
        nested = types.is_struct(pictures[0].type)
        return Inputs("image", (pictures[0].name,), np.dtype(np.uint8), 0, nested)
    if not lists:
        return Inputs("numbers", tuple(f.name for f in numbers), np.dtype(np.float32), len(numbers))
    kind = np.dtype(lists[0].type.value_type.to_pandas_dtype())
    dtype = np.dtype(np.float32) if kind.kind in "fb" else kind
    return Inputs("list", (lists[0].name,), dtype, _width(file, lists[0], width))


def image_column(path: Path, file: Any, name: str = "") -> str:
    """The column of images of a Parquet file.

    Args:
        path: For the message.
        file: A `pyarrow.parquet.ParquetFile`.
        name: Of the column, if it is known.

    Returns:
        Its name.

    Raises:
        InvalidData: There is none, or the choice is ambiguous.
    """
    found = [str(field.name) for field in file.schema_arrow if _is_image(field.type)]
    if name in found:
        return name
    if len(found) == 1:
        return found[0]
    what = f"several columns of images: {', '.join(found)}" if found else "no column of images"
    raise InvalidData(
        f"{path} has {what}; it has {', '.join(file.schema_arrow.names)}. Give one column of images"
    )


def number_columns(path: Path, file: Any, names: Sequence[str], shape: Sequence[int]) -> Inputs:
    """The columns of numbers that a model takes.

    Args:
        path: For the message.
        file: A `pyarrow.parquet.ParquetFile`.
        names: Of the columns; empty if they are not known.
        shape: Of an item.

    Returns:
        The columns.

    Raises:
        InvalidData: A column is missing, or is not of numbers.
    """
    if len(shape) != 1:
        raise InvalidData(f"{path} has rows of numbers, but the run has arrays of the shape {tuple(shape)}")
    if not names:
        return inputs_of(path, file, shape[0])
    there = {field.name: field for field in file.schema_arrow}
    if lost := [name for name in names if name not in there]:
        raise InvalidData(f"{path} lacks the columns {', '.join(lost)}; it has {', '.join(there)}")
    kinds = [there[name].type for name in names]
    if len(names) == 1 and _is_list(kinds[0]):
        kind = np.dtype(kinds[0].value_type.to_pandas_dtype())
        return Inputs("list", tuple(names), np.dtype(np.float32) if kind.kind in "fb" else kind, shape[0])
    if strange := next((n for n, kind in zip(names, kinds, strict=True) if not _is_number(kind)), None):
        raise InvalidData(f"{path}: the column {strange} is of the type {there[strange].type}; give numbers")
    return Inputs("numbers", tuple(names), np.dtype(np.float32), len(names))


def _others(schema: Any, by_name: ByName) -> list[Any]:
    """The columns that are neither facts about a row nor left out because others are named."""
    every = [field.name for field in schema]
    gone = {*by_name.facts(every).values(), *by_name.left_out(every)}
    return [f for f in schema if f.name not in gone and not f.name.startswith("__index_level_")]


def _columns(path: Path, file: Any, fields: list[Any], by_name: ByName) -> Inputs:
    """The columns of a table that may be inputs; their texts are found later."""
    from pyarrow import types

    left_out, names = [], []
    no_inputs = why_by_names(field.name for field in fields)
    no_inputs = {name: why for name, why in no_inputs.items() if name not in by_name.named}
    for field in fields:
        kind = field.type
        if types.is_temporal(kind):
            left_out.append((field.name, DATE))
        elif why := no_inputs.get(field.name):
            left_out.append((field.name, why))
        elif types.is_nested(kind):
            left_out.append((field.name, f"{kind}, neither a number nor a category"))
        else:
            names.append(field.name)
    if not names:
        told = "; ".join(f"{name} is {why}" for name, why in left_out)
        has = ", ".join(f"{f.name} ({f.type})" for f in file.schema_arrow)
        raise InvalidData(
            f"{path}: the inputs must be one column of images (bytes), one column of lists of numbers, or the columns"
            f" of a table, but there are none; it has {has}{'. ' + told if told else ''}"
        )
    return Inputs(
        "table",
        tuple(names),
        np.dtype(np.float64),
        len(names),
        left_out=tuple(left_out),
        free=tuple(name for name in by_name.free if name in names),
    )


def with_texts(inputs: Inputs, files: list[Any]) -> Inputs:
    """The columns of a table with the different texts of each category.

    Args:
        inputs: The columns.
        files: All files, of type `pyarrow.parquet.ParquetFile`.

    Returns:
        The columns with their texts.
    """
    found: list[tuple[str, ...]] = []
    for name in inputs.names:
        free = name in inputs.free
        if not free and all(_is_number(file.schema_arrow.field(name).type) for file in files):
            found.append(())
            continue
        distinct: set[str] = set()
        for file in files:
            for batch in file.iter_batches(1 << 16, columns=[name], use_threads=False):
                distinct.update(texts_of(_unpacked(batch.column(0)).unique().to_pylist()))
        found.append(tuple(sorted(distinct)) if free else vocabulary(distinct))
    return inputs._replace(texts=tuple(found))


def _unpacked(column: Any) -> Any:
    """A column without a dictionary."""
    from pyarrow import types

    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def _is_image(kind: Any) -> bool:
    from pyarrow import types

    binary = types.is_binary(kind) or types.is_large_binary(kind)
    return bool(binary or (types.is_struct(kind) and kind.get_field_index("bytes") >= 0))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    some = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return bool(some and _is_number(kind.value_type))


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _width(file: Any, field: Any, width: int) -> int:
    from pyarrow import types

    if types.is_fixed_size_list(field.type):
        return int(field.type.list_size)
    if width:
        return width
    for batch in file.iter_batches(64, columns=[field.name], use_threads=False):
        for values in batch.column(0):
            if values.is_valid and len(values):
                return len(values)
    return 0


def texts(path: Path, name: str, column: Any) -> list[str]:
    """The values of a column as texts; "" for a missing value and for the label -1.

    Args:
        path: For the message.
        name: Of the column.
        column: An Arrow column.

    Returns:
        One text for each row.

    Raises:
        InvalidLabel: A value is neither text nor a whole number.
    """
    from pyarrow import types

    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    values = (column.cast(kind) if types.is_dictionary(column.type) else column).to_pylist()
    if types.is_string(kind) or types.is_large_string(kind) or types.is_boolean(kind) or types.is_null(kind):
        return ["" if value is None else str(value).strip() for value in values]
    if types.is_floating(kind):  # as whole numbers are written where some are missing
        values = [None if value is None or value != value else value for value in values]
    elif not types.is_integer(kind):
        raise InvalidLabel(f"{path}: the column {name} holds {kind}; texts or whole numbers are needed")
    strange = next((value for value in values if value is not None and value % 1), None)
    if strange is not None:
        raise InvalidLabel(f"{path}: the column {name} has {strange}; texts or whole numbers are needed")
    none = (None, -1) if name == "label" else (None,)
    names = {value: "" if value in none else str(int(value)) for value in set(values)}
    return [names[value] for value in values]


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Turn the errors of pyarrow into `InvalidData`.

    Args:
        file: The file that is read.

    Yields:
        Nothing.

    Raises:
        InvalidData: The file cannot be read.
    """
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidData(
            f"{file} cannot be read as Parquet ({error}); write it again, or remove it"
        ) from None


def shown_columns(schema: Any, by_name: ByName) -> list[str]:
    """The columns that people see: those of a table, or those beside images and lists of numbers.

    Args:
        schema: Of Arrow.
        by_name: The columns that the user names.

    Returns:
        Names.
    """
    from pyarrow import types

    columns = {
        field.name: _is_number(field.type)
        for field in _others(schema, by_name)
        if not (types.is_nested(field.type) or _is_image(field.type))
    }
    return chosen(columns)


def shown_rows(paths: Sequence[Path], names: Sequence[str], text: str | None) -> Iterator[dict[str, Any]]:
    """The values that people see, row by row.

    Args:
        paths: Parquet files.
        names: Of the columns.
        text: The column of texts; None if there is none. Then a single column of texts is one text.

    Yields:
        {"text": ...} or {"row": {column: value}}, or both.
    """
    from pyarrow import parquet, types

    names = [*names, *([text] if text is not None and text not in names else [])]
    for path in paths:
        file = parquet.ParquetFile(path)
        kinds = [file.schema_arrow.field(name).type for name in names]
        alone = len(names) == 1 and (types.is_string(kinds[0]) or types.is_large_string(kinds[0]))
        for batch in file.iter_batches(4096, columns=list(names), use_threads=False):
            for row in batch.to_pylist():
                yield shown(row, names[0] if alone else text)


def image_bytes(path: Path, column: str, row: int) -> bytes:
    """One image of a Parquet file.

    Args:
        path: The file.
        column: Of the images.
        row: Counted over the whole file.

    Returns:
        The content of the image.
    """
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    ends = np.cumsum([file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)])
    group = int(np.searchsorted(ends, row, side="right"))
    row -= int(ends[group - 1]) if group else 0
    for batch in file.iter_batches(64, row_groups=[group], columns=[column], use_threads=False):
        if row < len(batch):
            value = batch.column(0)[row].as_py()
            return bytes(value["bytes"] if isinstance(value, dict) else value)
        row -= len(batch)
    raise ValueError(f"{path} has no row {row}")


def batches_of(path: Path, file: Any, columns: Sequence[str], size: int) -> Iterator[Any]:
    """Some columns of a Parquet file, a batch of rows at a time.

    Args:
        path: For the message.
        file: A `pyarrow.parquet.ParquetFile`.
        columns: Names.
        size: The number of rows in a batch.

    Yields:
        Record batches.

    Raises:
        InvalidData: The file cannot be read.
    """
    rows = file.iter_batches(size, columns=list(columns), use_threads=False)
    while True:
        with explained(path):
            batch = next(rows, None)
        if batch is None:
            return
        yield batch


def matrix(batch: Any, inputs: Inputs) -> tuple[NDArray[Any], list[str]]:
    """The numbers of some rows.

    Args:
        batch: An Arrow record batch of the columns of the inputs.
        inputs: The input columns.

    Returns:
        Numbers of shape (n, width), zeros in unusable rows; and for each row the reason, "" if it is usable.
    """
    import pyarrow

    if inputs.kind == "table":
        told = [_as_numbers(column, some) for column, some in zip(batch.columns, inputs.texts, strict=True)]
        return np.ascontiguousarray(np.stack(told, 1)), [""] * len(batch)
    if inputs.kind == "numbers":
        with np.errstate(over="ignore"):
            columns = [
                column.cast(pyarrow.float32(), safe=False).to_numpy(zero_copy_only=False)
                for column in batch.columns
            ]
        rows, reasons = np.stack(columns, 1).astype(np.float32), [""] * len(batch)
    else:
        rows, reasons = _lists(batch.column(0), inputs)
    for row in np.flatnonzero(~np.isfinite(rows).all(1)):
        reasons[row] = reasons[row] or _NOT_FINITE
    rows[np.array([bool(reason) for reason in reasons], np.bool_)] = 0
    return np.ascontiguousarray(rows), reasons


def _as_numbers(column: Any, texts: tuple[str, ...]) -> NDArray[np.float64]:
    """A column of a table as numbers, NaN if missing; or as positions in its texts."""
    import pyarrow

    if texts or not _is_number(column.type):
        return encoded(texts_of(_unpacked(column).to_pylist()), texts)
    values: NDArray[np.float64] = column.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False)
    return values.astype(np.float64)


def _lists(column: Any, inputs: Inputs) -> tuple[NDArray[Any], list[str]]:
    values = column.flatten()  # of lists that are there
    lengths = np.array(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    rows, reasons = np.zeros((len(column), inputs.width), inputs.dtype), [""] * len(column)
    if (lengths == inputs.width).all() and values.null_count == 0:
        flat = values.to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            rows[:] = flat.reshape(rows.shape).astype(inputs.dtype)
        return rows, reasons
    for i, told in enumerate(column.to_pylist()):
        if told is None or len(told) != inputs.width:
            count = 0 if told is None else len(told)
            reasons[i] = f"has {count} number{'s' * (count != 1)}" + OTHER_LENGTH.format(inputs.width)
        elif None in told:
            reasons[i] = _NOT_FINITE
        else:
            with np.errstate(over="ignore"):
                rows[i] = np.array(told).astype(inputs.dtype)
    return rows, reasons
