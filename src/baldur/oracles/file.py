"""An oracle that answers later: questions go out in one file, answers come back in another."""

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from baldur.errors import InvalidLabel


class FileOracle:
    """Writes what is asked to `requests.csv` and reads what is answered from `answers.csv` or `answers.jsonl`.

    Args:
        folder: Where both files are.
        classes: The names that an answer may have.
        path_of: Where a person finds the item (a file, an address); empty where there is no such place.
    """

    annotator = "file"

    def __init__(
        self, folder: Path, classes: Sequence[str], path_of: Callable[[str], str] = lambda _: ""
    ) -> None:
        self.requests = folder / "requests.csv"
        self.answers = (folder / "answers.csv", folder / "answers.jsonl")
        self._classes = frozenset(classes)
        self._path_of = path_of
        self._open: dict[str, None] = {}  # what any trial waits for, in the order asked

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """What is answered by now; what is not is in `requests.csv` when this returns.

        Args:
            ids: Items that are asked for.

        Returns:
            Class names by id.

        Raises:
            InvalidLabel: An answer is no class, or a line cannot be read; the message names file and line.
        """
        wanted = set(ids)
        answered = {i: label for i, label in self._read() if i in wanted}
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
                if label == "":
                    continue
                if label not in self._classes:
                    known = ", ".join(sorted(self._classes)[:20])
                    raise InvalidLabel(
                        f"{path}, line {number}: {label!r} is not a class; the classes are {known}"
                    )
                yield i, label

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
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidLabel(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
    if path.suffix == ".jsonl":
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, _from_json(path, number, line)
        return
    rows = csv.DictReader(lines)
    if not {"id", "label"} <= set(rows.fieldnames or ()):
        raise InvalidLabel(
            f"{path} needs a first line that names the columns id and label, not {rows.fieldnames}"
        )
    for row in rows:
        yield rows.line_num, ((row["id"] or "").strip(), (row["label"] or "").strip())


def _from_json(path: Path, number: int, line: str) -> tuple[str, str]:
    try:
        row = json.loads(line)
        return str(row["id"]), str(row["label"])
    except (ValueError, KeyError, TypeError):
        raise InvalidLabel(
            f'{path}, line {number}: an object such as {{"id": "7", "label": "cat"}} was expected, not {line.strip()!r}'
        ) from None
