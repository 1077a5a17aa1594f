"""An oracle that answers later: requests are in one file, and answers in another."""

import csv
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from baldur.errors import InvalidLabel


class FileOracle:
    """Writes requests to `requests.csv` and reads answers from `answers.csv` or `answers.jsonl`.

    Args:
        folder: The folder of both files.
        classes: The names that an answer may have.
        path_of: Gives the file or address where a person finds the item; empty if there is none.
        ids: The ids of all items; an answer for another id gives a warning. None if they are not known.
    """

    annotator = "file"

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        path_of: Callable[[str], str] = lambda _: "",
        ids: Iterable[str] | None = None,
    ) -> None:
        self.requests = folder / "requests.csv"
        self.answers = (folder / "answers.csv", folder / "answers.jsonl")
        self._classes = frozenset(classes)
        self._path_of = path_of
        self._ids = None if ids is None else frozenset(ids)
        self._warned = False
        self._open: dict[str, None] = {}  # the items that any trial waits for, in the order asked

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The answers so far; items without an answer are in `requests.csv` when this returns.

        An id or label is taken as it is written. If that is unknown, it is taken without the spaces around it.

        Args:
            ids: Items that are asked for.

        Returns:
            Class names by id.

        Raises:
            InvalidLabel: An answer is not a class, or a line cannot be read; the message names file and line.
        """
        wanted = set(ids)
        known = wanted if self._ids is None else self._ids
        given = [(i if i in known else i.strip(), label) for i, label in self._read()]
        self._warn_of(i for i, _ in given)
        answered = {i: label for i, label in given if i in wanted}
        self._open |= dict.fromkeys(i for i in ids if i not in answered)
        for i in answered:
            self._open.pop(i, None)
        self._write(list(self._open))
        return answered

    def _read(self) -> Iterator[tuple[str, str]]:
        for path in self.answers:
            if not path.exists():
                continue
            for number, (i, label) in _rows(path):
                label = label if label in self._classes else label.strip()
                if label == "":
                    continue
                if label not in self._classes:
                    known = ", ".join(sorted(self._classes)[:20])
                    raise InvalidLabel(
                        f"{path}, line {number}: {label!r} is not a class; the classes are {known}"
                    )
                yield i, label

    def _warn_of(self, answered: Iterable[str]) -> None:
        """Warn once of answers for unknown items."""
        if self._ids is None or self._warned:
            return
        unknown = [i for i in answered if i not in self._ids]
        if unknown:
            self._warned = True
            warnings.warn(
                f"{len(unknown)} of the answers in {self.requests.parent} are for unknown items,"
                f" the first for {unknown[0]!r}; give the ids as they stand in {self.requests.name}",
                stacklevel=3,
            )

    def _write(self, ids: Sequence[str]) -> None:
        part = self.requests.with_name(self.requests.name + ".part")
        with part.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("id", "path", "label"))
            rows.writerows((i, self._path_of(i), "") for i in ids)
        os.replace(part, self.requests)


def _rows(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """(line, (id, label)) of every line of an answers file."""
    try:
        # Lines end at "\n" or "\r" only; a text may contain other line ends of Unicode.
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from (_from_json if path.suffix == ".jsonl" else _from_csv)(path, file)
    except UnicodeDecodeError as error:
        raise InvalidLabel(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None


def _from_csv(path: Path, file: Iterable[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    rows = csv.DictReader(file)
    if not {"id", "label"} <= set(rows.fieldnames or ()):
        raise InvalidLabel(
            f"{path} needs a first line that names the columns id and label, not {rows.fieldnames}"
        )
    for row in rows:
        yield rows.line_num, (row["id"] or "", row["label"] or "")


def _from_json(path: Path, file: Iterable[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield number, (str(row["id"]), str(row["label"]))
        except (ValueError, KeyError, TypeError):
            raise InvalidLabel(
                f'{path}, line {number}: an object such as {{"id": "7", "label": "cat"}} was expected,'
                f" not {line.strip()!r}"
            ) from None
