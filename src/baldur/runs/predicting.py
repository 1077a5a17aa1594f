"""Writes the predictions of a fitted model for raw data to a file."""

import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from baldur.data.download import Progress
from baldur.errors import InvalidArgument, RunNotFound, Unsupported
from baldur.runs.exported import Model, columns, load_model, model_of, predicted
from baldur.runs.opened import only
from baldur.store import Store
from baldur.store.artefacts import room

SUFFIXES = (".csv", ".parquet", ".jsonl")
"""The suffixes of files of predictions."""

Write = Callable[[Mapping[str, Sequence[Any]]], None]


@dataclass(frozen=True)
class Written:
    """What was predicted.

    Args:
        items: The number of predictions.
        classes: How many items were predicted to be of each class.
        unreadable: The other items, each with the reason.
    """

    items: int
    classes: Mapping[str, int]
    unreadable: Sequence[tuple[str, str]]


def model_in(folder: Path, strategy: str | None = None, seed: int | None = None) -> Model:
    """The newest model of a run, or a model that was exported.

    Args:
        folder: The folder of a run, or of an exported model.
        strategy: The strategy of the trial; None if the run has only one.
        seed: The seed of the trial; None if the run has only one.

    Returns:
        The model.

    Raises:
        RunNotFound: The folder holds neither.
        InvalidArgument: No trial or several trials match, or the trial has no model yet.
    """
    if (folder / "model.json").is_file():
        return load_model(folder)
    if not folder.exists():
        raise RunNotFound(f"there is no folder {folder}; give the folder of a run, or of an exported model")
    with Store.open(folder) as store:
        return model_of(store, only(store.trials(), strategy, seed))


def write(
    model: Model, data: Any, out: Path | None, file: TextIO | None = None, progress: Progress | None = None
) -> Written:
    """Write a line for each item: id, path (of items in files), prediction, probability, and each class.

    Args:
        model: The model.
        data: Raw data; see `Model.predict_proba`.
        out: A file that ends in .csv, .parquet or .jsonl, and is replaced whole; None writes CSV to `file`.
        file: See `out`; None for standard output.
        progress: Called with what is done, and the numbers of finished items and of all items.

    Returns:
        What was predicted.

    Raises:
        InvalidArgument: The file has another suffix, or is the data.
        InvalidData: The data cannot be used, or no item can be read.
    """
    counts, unreadable = Counter[str](), list[tuple[str, str]]()
    with _to(out, data) if out is not None else nullcontext(_lines(file or sys.stdout, "csv")) as add:
        in_files: bool | None = None
        for part in predicted(model, data, progress=progress):
            told = columns(model.classes, part)
            if in_files is None:
                in_files = any(path is not None for path in part.paths)
            if not in_files:
                del told["path"]
            counts.update(told["prediction"])
            unreadable += [(part.ids[i], why) for i, why in part.unreadable.items()]
            add(told)
    return Written(counts.total(), {name: counts[name] for name in model.classes}, tuple(unreadable))


def check_out(out: Path, data: Any = None) -> None:
    """Refuse a file that predictions cannot be written to, before anything is read.

    Args:
        out: The file.
        data: The data that are read.

    Raises:
        InvalidArgument: The file has another suffix, or is the data.
        Unsupported: pyarrow is not installed.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidArgument(
            f"predictions are written to a file that ends in .csv, .parquet or .jsonl, not to {out}"
        )
    if suffix == ".parquet" and not find_spec("pyarrow"):
        raise Unsupported(
            "Parquet needs pyarrow: pip install 'baldur[parquet]'; or write a .csv or .jsonl file"
        )
    places = data if isinstance(data, list | tuple) else [data]
    if any(isinstance(place, str | Path) and Path(place).absolute() == out.absolute() for place in places):
        raise InvalidArgument(f"{out} is the data; write the predictions to another file")
    if out.is_dir():
        raise InvalidArgument(f"{out} is a folder; give a file, such as {out / 'predictions.csv'}")


@contextmanager
def _to(out: Path, data: Any) -> Iterator[Write]:
    """Write to a file, which is there once everything is written."""
    check_out(out, data)
    part = out.with_name(f".{out.name}.part")
    with room(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            if out.suffix.lower() == ".parquet":
                with closing(_Parquet(part)) as table:
                    yield table.add
            else:
                with part.open("w", encoding="utf-8", newline="") as file:
                    yield _lines(file, out.suffix.lower()[1:])
            os.replace(part, out)
        finally:
            part.unlink(missing_ok=True)


def _lines(file: TextIO, format: str) -> Write:
    """Writes lines of CSV or JSON; those of CSV begin with the names of the columns."""
    rows, begun = csv.writer(file, lineterminator="\n"), list[bool]()

    def add(columns: Mapping[str, Sequence[Any]]) -> None:
        values = zip(*columns.values(), strict=True)
        if format == "jsonl":
            file.writelines(
                json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n" for row in values
            )
            return
        if not begun:
            rows.writerow(columns)
        begun.append(True)
        rows.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in row] for row in values)

    return add


class _Parquet:
    """A Parquet file that grows by batches of rows.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None

    def add(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Write some rows.

        Args:
            columns: Values by column.
        """
        import pyarrow
        from pyarrow import parquet

        texts = {"id", "path", "prediction"}
        table = pyarrow.table(
            {
                n: pyarrow.array(v, pyarrow.string() if n in texts else pyarrow.float64())
                for n, v in columns.items()
            }
        )
        if self.writer is None:
            self.writer = parquet.ParquetWriter(self.path, table.schema)
        self.writer.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        if self.writer is not None:
            self.writer.close()
