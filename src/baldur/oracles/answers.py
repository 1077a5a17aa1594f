"""Files with answers of people: CSV as editors and spreadsheets write it, and JSON lines."""

import csv
import io
import json
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from pathlib import Path

from baldur.core.sizes import counted
from baldur.errors import InvalidLabel

_HEADER = ["id", "path", "label"]


@dataclass(frozen=True)
class Answer:
    """An answer in a file.

    Args:
        id: The item.
        label: The name of a class.
        where: The file and the line.
    """

    id: str
    label: str
    where: str

    def as_known(self, ids: Set[str], classes: Set[str]) -> "Answer":
        """The answer without the spaces around id and label, where only that is known.

        Args:
            ids: The known items.
            classes: The known classes.

        Returns:
            The answer.
        """
        return replace(
            self,
            id=self.id if self.id in ids else self.id.strip(),
            label=self.label if self.label in classes else self.label.strip(),
        )


def read_answers(path: Path) -> tuple[list[Answer], list[str]]:
    """Read the answers in a file. Lines with an empty label are no answers.

    Args:
        path: A file .jsonl, or CSV with a first line that names the columns id and label.

    Returns:
        The answers, and in words the lines that cannot be read.

    Raises:
        InvalidLabel: The file as a whole cannot be read.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidLabel(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
    return (_from_json if path.suffix == ".jsonl" else _from_csv)(path, text)


def blank(requests: Iterable[tuple[str, str]]) -> str:
    """The text of a file of requests without labels.

    Args:
        requests: The id of each item, and the place where a person finds it.

    Returns:
        CSV with the columns id, path and label.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(_HEADER)
    rows.writerows((i, path, "") for i, path in requests)
    return text.getvalue()


def is_blank(path: Path) -> bool:
    """Whether a file is what `blank` writes, so that nobody has filled it in.

    Args:
        path: A file of requests.

    Returns:
        True if so.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error):
        return False
    return header == _HEADER and all(len(row) == 3 and not row[2] for row in rows)


def _from_csv(path: Path, text: str) -> tuple[list[Answer], list[str]]:
    # Lines end at "\n" or "\r" only; a text may contain other line ends of Unicode.
    lines = io.StringIO(text, newline="")
    first = lines.readline()
    for mark in ",;\t":  # spreadsheets also write semicolons and tabs
        names = [name.strip().lower() for name in next(csv.reader([first], delimiter=mark), [])]
        if names.count("id") == names.count("label") == 1:
            break
    else:
        raise InvalidLabel(
            f"{path} needs a first line that names the columns id and label, each once, not {first.strip()!r}"
        )
    answers, faults = [], []
    rows = csv.reader(lines, delimiter=mark)
    try:
        for row in rows:
            where = f"{path}, line {rows.line_num + 1}"
            if not any(cell.strip() for cell in row):
                continue
            if len(row) < len(names) or any(cell.strip() for cell in row[len(names) :]):
                faults.append(
                    f"{where} has {counted(len(row), 'cell')}, but the first line names {len(names)} columns; put a "
                    f"text with {mark!r} in it into quotes, and write an empty label as {mark!r} and nothing"
                )
                continue
            i, label = row[names.index("id")], row[names.index("label")]
            if not label.strip():
                continue
            if not i:
                faults.append(f"{where}: the label {label!r} has no id")
            else:
                answers.append(Answer(i, label, where))
    except csv.Error as error:
        raise InvalidLabel(f"{path}, line {rows.line_num + 1} cannot be read: {error}") from None
    return answers, faults


def _from_json(path: Path, text: str) -> tuple[list[Answer], list[str]]:
    answers, faults = [], []
    for number, line in enumerate(io.StringIO(text, newline=None), 1):
        where = f"{path}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            i, label = row["id"], row["label"]
            if not isinstance(i, str | int) or not isinstance(label, str | int | float | None):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            faults.append(
                f'{where}: an object such as {{"id": "7", "label": "cat"}} was expected, not {line.strip()!r}'
            )
            continue
        if label is not None and label != "":
            whole = isinstance(label, float) and label.is_integer()
            answers.append(Answer(str(i), str(int(label)) if whole else str(label), where))
    return answers, faults
