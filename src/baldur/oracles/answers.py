"""Files with answers of people: CSV as editors and spreadsheets write it, JSON, and JSON lines."""

import codecs
import csv
import io
import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from baldur.core.sizes import counted
from baldur.errors import InvalidLabel

KINDS = ("label", "correction", "withdrawal", "skip", "unlabelable", "note")
"""The kinds of lines; a line that names none is a label."""

_HEADER = ["id", "path", "label"]
_WITHOUT_LABEL = ("withdrawal", "skip", "unlabelable")
_HALF = " is half written: the file ends within it; finish the line"
_END = "\0end\0"  # no text file has it
_UNCHANGED, _TRIES = 0.05, 20  # seconds between two reads of a file that should be the same


@dataclass(frozen=True)
class Answer:
    """An answer in a file.

    Args:
        id: The item.
        label: The name of a class; the text of a note.
        where: The file and the line.
        kind: One of `KINDS`.
        annotator: The name of the annotator; empty if the line names none.
        event: The client's id of the event; empty if the line has none.
        time: When the answer was given; empty if the line does not say it.
        cut: The column in which the file ends without a line end, so that the text may be half written: "id", "label"
            or "".
    """

    id: str
    label: str
    where: str
    kind: str = "label"
    annotator: str = ""
    event: str = ""
    time: str = ""
    cut: str = ""

    def as_known(self, ids: Set[str] | None, classes: Set[str]) -> "Answer":
        """The answer with id and label as they are known: without spaces around them, and 1.0 as 1.

        Args:
            ids: The known items; None if they are not known.
            classes: The known classes.

        Returns:
            The answer; an id or label that is known as it stands is unchanged.
        """
        id = self.id if ids is None or self.id in ids else self.id.strip()
        if self.kind == "note" or self.label in classes:
            return replace(self, id=id)
        label = self.label.strip()
        return replace(self, id=id, label=_whole(label) if _whole(label) in classes else label)


@dataclass(frozen=True)
class Fault:
    """A line that cannot be read.

    Args:
        where: The file and the line.
        why: The reason, in words.
        text: What was read of the line.
    """

    where: str
    why: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.where}{self.why}"


@dataclass(frozen=True)
class Answers:
    """What a file says.

    Args:
        answers: In the order of the file.
        faults: The lines that cannot be read.
        notes: Sentences for the user about the file as a whole.
    """

    answers: list[Answer]
    faults: list[Fault]
    notes: tuple[str, ...] = ()


def read_answers(path: Path) -> Answers:
    """Read the answers in a file. Lines with an empty label are no answers.

    Args:
        path: CSV with a first line that names the columns id and label, a JSON list of objects, a JSON object
            that gives a label for each id, or an object in each line. If the suffix does not tell, the content does.

    Returns:
        The answers, and the lines that cannot be read.

    Raises:
        InvalidLabel: The file as a whole cannot be read, or is being written.
    """
    content = _settled(path)
    if b"\0" in content and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InvalidLabel(f"{path} is no text file; give CSV, JSON or JSON lines")
    text, notes = _decoded(path, content)
    suffix, start = path.suffix.lower(), text.lstrip()[:1]
    if suffix in (".jsonl", ".ndjson") or (suffix not in (".csv", ".tsv") and start in ("{", "[")):
        read = _from_json(path, text, whole=suffix not in (".jsonl", ".ndjson"))
    elif suffix == ".json":
        raise InvalidLabel(f"{path} holds no JSON: a list of objects or an object was expected")
    else:
        read = _from_csv(path, text)
    return replace(read, notes=notes)


def _settled(path: Path) -> bytes:
    """The content of a file, as soon as two reads give the same."""
    before = path.read_bytes()
    for _ in range(_TRIES):
        now = path.read_bytes()
        if now == before:
            return now
        before = now
        time.sleep(_UNCHANGED)
    raise InvalidLabel(f"{path} is being written now; wait until that is done, and read it again")


def _decoded(path: Path, content: bytes) -> tuple[str, tuple[str, ...]]:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return content.decode("utf-16"), ()
        except UnicodeDecodeError as error:
            raise InvalidLabel(f"{path} begins as UTF-16, but is not ({error}); save it as UTF-8") from None
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        try:  # ids and labels are compared with the known ones, so a wrong guess is found
            text = content.decode("cp1252")
        except UnicodeDecodeError:
            raise InvalidLabel(f"{path} is not UTF-8 ({error}); save it as UTF-8") from None
        return text, (f"{path} is not UTF-8, so it was read as Windows-1252",)


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


def unanswered(path: Path) -> int:
    """The number of requests in a file that have no label yet.

    Args:
        path: A file of requests.

    Returns:
        The number; 0 if the file is not there or cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return sum(not (row.get("label") or "").strip() for row in csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return 0


def _from_csv(path: Path, text: str) -> Answers:
    finished = text.endswith(("\n", "\r"))
    # Lines end at "\n" or "\r" only; a text may contain other line ends of Unicode. If the last row is not the mark of
    # the end, a quote was never closed.
    lines = io.StringIO(text + "\n" * (not finished) + _END, newline="")
    at, first = 1, lines.readline()
    if first.lower().startswith("sep=") and len(first.strip()) <= 5:  # as Excel writes
        at, first = 2, lines.readline()
    for mark in ",;\t|":  # spreadsheets also write semicolons and tabs
        names = [name.strip().lower() for name in _cells(first, mark)]
        if names.count("id") == names.count("label") == 1:
            break
    else:
        raise InvalidLabel(
            f"{path} needs a first line that names the columns id and label, each once, not {first.strip()[:200]!r}"
        )
    answers: list[Answer] = []
    faults: list[Fault] = []
    begun = at + 1
    body = text.removesuffix("\n").removesuffix("\r")
    last = max(body.count("\n"), body.count("\r")) + 1
    for line, row in _rows(lines, mark):
        where = f"{path}, line {at + line}"
        if row is None or (row and row[-1].endswith(_END) and row != [_END]):
            why = " opens a quote that is never closed, so nothing from there on was read; close it"
            faults.append(Fault(f"{path}, line {begun}", why))
            break
        begun = at + line + 1
        if row == [_END] or not any(cell.strip() for cell in row):
            continue
        cut_short = not finished and at + line >= last
        if len(row) < len(names) or any(cell.strip() for cell in row[len(names) :]):
            why = (
                f" has {counted(len(row), 'cell')}, but the first line names {counted(len(names), 'column')}; put a "
                f"text with "
                f"{mark!r} in it into quotes, and write an empty label as {mark!r} and nothing"
            )
            faults.append(Fault(where, _HALF if cut_short else why, mark.join(row)))
            continue
        fields = {name: cell for name, cell in zip(names, row, strict=False) if name}
        _take(fields, where, names[-1] if cut_short else "", answers, faults, mark.join(row))
    return Answers(answers, faults)


def _rows(lines: io.StringIO, mark: str) -> Iterator[tuple[int, list[str] | None]]:
    """The rows of CSV and the numbers of their last lines; None instead of a row that cannot be read."""
    rows = csv.reader(lines, delimiter=mark)
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error:  # a cell is larger than csv allows, as after a quote that is never closed
        yield rows.line_num, None


def _cells(line: str, mark: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return []


def _take(
    fields: Mapping[str, str],
    where: str,
    cut: str,
    answers: list[Answer],
    faults: list[Fault],
    text: str,
) -> None:
    """Append an answer, or the fault of its line."""
    i, label = fields["id"], fields.get("label", "")
    kind = fields.get("kind", "").strip().lower() or "label"
    if kind not in KINDS:
        faults.append(Fault(where, f": there is no kind {kind!r}; the kinds are {', '.join(KINDS)}", text))
        return
    label = (fields.get("note", "").strip() or label) if kind == "note" else label
    if kind in _WITHOUT_LABEL:
        label = ""
    elif not label.strip():
        return
    if not i:
        faults.append(Fault(where, f": the label {label!r} has no id", text))
        return
    more = {name: fields.get(name, "").strip() for name in ("annotator", "event", "time")}
    answers.append(Answer(i, label, where, kind, **more, cut=cut))


def _from_json(path: Path, text: str, whole: bool) -> Answers:
    rows, faults = list[tuple[str, Any, str]](), list[Fault]()
    try:
        value = json.loads(text, object_pairs_hook=_Pairs) if whole else None
    except ValueError:
        value = None  # an object in each line, perhaps
    except RecursionError:
        raise InvalidLabel(f"{path} is nested too deeply; a list of objects was expected") from None
    if isinstance(value, list) and not isinstance(value, _Pairs):
        rows = [(f"{path}, entry {n}", row, "") for n, row in enumerate(value, 1)]
    elif isinstance(value, _Pairs) and not {"id"} <= set(value.names):
        rows = [
            (
                f"{path}, {i!r}",
                _Pairs([("id", i), *label])
                if isinstance(label, _Pairs)
                else _Pairs([("id", i), ("label", label)]),
                "",
            )
            for i, label in value
        ]
    else:
        rows, faults = _json_lines(path, text)
    answers: list[Answer] = []
    for where, row, line in rows:
        try:
            fields = _plain(row)
        except (KeyError, TypeError, ValueError):
            said = line or json.dumps(row, ensure_ascii=False, default=str)
            why = f': an object such as {{"id": "7", "label": "cat"}} was expected, not {said[:200]}'
            faults.append(Fault(where, why, said))
            continue
        _take(fields, where, "", answers, faults, line or json.dumps(dict(fields), ensure_ascii=False))
    return Answers(answers, faults)


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as pairs, since a name may stand in it twice."""

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self]


def _json_lines(path: Path, text: str) -> tuple[list[tuple[str, Any, str]], list[Fault]]:
    rows, faults = [], []
    for number, whole_line in enumerate(io.StringIO(text, newline=None), 1):
        line, where = whole_line.strip(), f"{path}, line {number}"
        if not line:
            continue
        try:
            rows.append((where, json.loads(line, object_pairs_hook=_Pairs), line))
        except (ValueError, RecursionError):
            why = f': an object such as {{"id": "7", "label": "cat"}} was expected, not {line[:200]!r}'
            faults.append(Fault(where, why if whole_line.endswith("\n") else _HALF, line))
    return rows, faults


def _plain(row: Any) -> dict[str, str]:
    """The fields of a JSON object as texts.

    Raises:
        TypeError: It is no object, or a field has a value of another type.
        KeyError: There is no id or no label.
        ValueError: A field stands in it twice.
    """
    if not isinstance(row, _Pairs):
        raise TypeError
    known = ("id", "label", "kind", "annotator", "event", "time", "note")
    told = [(name, value) for name, value in row if name in known]
    if any(n > 1 for n in Counter(name for name, _ in told).values()):
        raise ValueError
    values = dict(told)
    if isinstance(values["id"], bool) or values["id"] is None:
        raise TypeError
    if "label" not in values and values.get("kind", "label") in ("label", "correction"):
        raise KeyError
    return {name: _text(value) for name, value in values.items()}


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str | int | float):
        raise TypeError
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _whole(label: str) -> str:
    """1.0 as 1, as programs write whole numbers in a column where some are missing."""
    head, point, tail = label.partition(".")
    return head if point and head.lstrip("-").isdigit() and tail.strip("0") == "" else label
