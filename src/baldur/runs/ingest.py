"""Takes labels from files into a run. What cannot be believed is named and kept apart, and the rest is taken."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid5

from baldur.errors import DataNotFound, InvalidArgument
from baldur.oracles import FileOracle
from baldur.oracles.answers import Answer, read_answers
from baldur.runs.asking import user
from baldur.store import Event, LedgerRow, Store, Trial
from baldur.store.classes import Classes

_EVENTS = UUID("0f5bd30c-8f0e-57c7-b2a3-7d4d52f9a4c1")
"""The namespace of the ids of events that have none."""

_AT_ONCE = 500  # events in one transaction
_LABELS = ("label", "correction")
_COLUMNS = ("id", "label", "kind", "annotator", "event", "time", "reason", "where", "line")


@dataclass(frozen=True)
class Refused:
    """A line that was not taken.

    Args:
        answer: What the line says; None if it cannot be read.
        reason: The reason, with the file and the line.
        where: The file and the line.
        text: The line, if it cannot be read.
    """

    answer: Answer | None
    reason: str
    where: str
    text: str = ""


@dataclass(frozen=True)
class Ingested:
    """What became of the lines of files.

    Args:
        taken: The number of new events of each kind.
        there: The number of lines that say what the run knows already.
        refused: The lines that were not taken.
        kept: The file with the refused lines; None if there are none.
        notes: Sentences about the files.
    """

    taken: Mapping[str, int]
    there: int
    refused: Sequence[Refused]
    kept: Path | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        corrected = self.taken.get("correction", 0)
        labels = self.taken.get("label", 0) + corrected
        parts = [f"{_count(labels, 'label')} taken" + (f" ({corrected} corrected)" if corrected else "")]
        parts += [f"{_count(n, k)} taken" for k, n in self.taken.items() if k not in _LABELS]
        parts.append(f"{self.there} {'was' if self.there == 1 else 'were'} there already")
        parts.append(f"{len(self.refused)} refused")
        return ", ".join(parts)


def only_trial(store: Store) -> Trial:
    """The trial that takes labels from files: the only one of the run.

    Args:
        store: The run.

    Returns:
        The trial.

    Raises:
        InvalidArgument: The run has several trials or none, or knows its labels.
    """
    trials = store.trials()
    simulated = store.seed is None and store.options.get("oracle") == "simulated"
    if len(trials) == 1 and not simulated:
        return trials[0]
    if not trials:
        raise InvalidArgument(f"the run in {store.folder} has not begun: baldur run --out {store.folder}")
    if store.options.get("oracle") == "file":
        raise InvalidArgument(
            f"the run in {store.folder} compares {len(trials)} trials, which share their answers. Write the labels to "
            f"{store.folder / 'answers.csv'} (columns id, label), and go on with: baldur run --out {store.folder}"
        )
    raise InvalidArgument(
        f"the run in {store.folder} compares strategies on labels that it knows, so it takes no others. To label data, "
        "begin a run with one strategy, --seeds 1 and --oracle file"
    )


def ingest(store: Store, paths: Iterable[Path], by: str | None = None) -> Ingested:
    """Take the labels, corrections, withdrawals, skips and notes in files, file by file.

    Items are found by their ids. A line with another answer of the same annotator is a correction. Lines that say what
    the run knows already add nothing, so a file may be given again. Refused lines are kept in `refused-N.csv` in the
    run's folder.

    Args:
        store: The run.
        paths: Files that `read_answers` reads.
        by: The annotator of lines that name none; by default, the user of this computer, or "file" in a run with
            `--oracle file`.

    Returns:
        What became of the lines.

    Raises:
        InvalidLabel: A file as a whole cannot be read; nothing is taken from it.
        InvalidArgument: The run has several trials, or `by` is empty.
        DataNotFound: There is no such file.
    """
    if by is None:
        by = FileOracle.annotator if store.options.get("oracle") == "file" else user()
    if not by.strip():
        raise InvalidArgument("the name of the annotator is empty; give a name, such as --by ann")
    trial = only_trial(store)
    read = []
    for path in paths:
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise DataNotFound(f"{path} {what}; give a file with the columns id and label")
        read.append(read_answers(path))
    items = _items(store)
    taken, there, refused = Counter[str](), 0, list[Refused]()
    for one in read:
        refused += [Refused(None, str(fault), fault.where, fault.text) for fault in one.faults]
        plan = _Plan(trial.id, trial.classes(), [row for row in store.ledger() if _of(row, trial)])
        answers = [replace(a, annotator=a.annotator or by.strip()) for a in one.answers]
        plan.take([a.as_known(items.keys(), set(store.classes)) for a in answers], items)
        there += plan.there
        refused += plan.refused
        for start in range(0, len(plan.events), _AT_ONCE):
            some = plan.events[start : start + _AT_ONCE]
            told = trial.tell([event for event, _ in some])
            new = set(told.accepted)
            for event, answer in some:
                if event.id in new:
                    new.discard(event.id)  # the same event may be in the file twice
                    taken[event.kind] += 1
                elif reason := told.refused.get(event.id):
                    refused.append(Refused(answer, f"{answer.where}: {reason}", answer.where))
                else:
                    there += 1
    notes = tuple(note for one in read for note in one.notes)
    return Ingested(taken, there, refused, _keep(store.folder, refused), notes)


def _of(row: LedgerRow, trial: Trial) -> bool:
    return (row.strategy, row.seed) == (trial.strategy, trial.seed) and row.source != "vote"


def _items(store: Store) -> dict[str, str]:
    """The items of a run, each with the reason to refuse its label; the reason is empty if there is none.

    Runs of earlier versions know only the items that they asked for, if these are no files.
    """
    items = {}
    for i, record in store.items().items():
        items[i] = ""
        if record.state == "quarantined":
            items[i] = f"the run left out {i!r}: {record.reason}"
        elif record.split == "test":
            items[i] = f"{i!r} is a test item, and the run knows its label"
    if len(items) < store.preprocessing.get("facts", {}).get("pool", 0):
        for row in store.requests():
            items.setdefault(row.item, "")
    return items


class _Said(NamedTuple):
    """An event about an item: the act is "label" for corrections, too."""

    act: str
    value: str
    event: str
    annotator: str


@dataclass
class _Plan:
    """The events that a file adds to a ledger."""

    trial: int
    classes: Classes
    ledger: Sequence[LedgerRow]
    events: list[tuple[Event, Answer]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    there: int = 0

    def __post_init__(self) -> None:
        self._own: dict[tuple[str, str], list[_Said]] = {}  # by item and annotator
        self._current: dict[str, _Said] = {}
        self._kinds = {row.event: row for row in self.ledger}
        self._times = {(row.item, row.annotator, _act(row.kind), row.value, row.time) for row in self.ledger}
        for row in self.ledger:
            value = self.classes.now(row.value, row.number) if row.kind in _LABELS else row.value
            self._record(row.item or "", _Said(_act(row.kind), value, row.event, row.annotator))

    def _record(self, item: str, said: _Said) -> None:
        if said.act == "note":
            return
        self._own.setdefault((item, said.annotator), []).append(said)
        if said.act != "skip":
            self._current[item] = said

    def take(self, answers: Sequence[Answer], items: Mapping[str, str]) -> None:
        """Plan the events of the lines of a file."""
        believed = []
        for answer in answers:
            if reason := self._doubt(answer, items):
                self._refuse(answer, reason)
            else:
                believed.append(answer)
        # What differs from an answer of somebody else waits for the end of the file, where that answer may be changed.
        differ = [answer for answer in self._new(self._without_conflicts(believed)) if not self._plan(answer)]
        for answer in differ:
            if not self._plan(answer):
                current = self._current[answer.id]
                self._refuse(
                    answer,
                    f"{answer.label!r} for {answer.id!r}, but {current.annotator!r} said {current.value!r}; give it "
                    "the kind correction if the new answer is right",
                )

    def _refuse(self, answer: Answer, reason: str) -> None:
        self.refused.append(Refused(answer, f"{answer.where}: {reason}", answer.where))

    def _doubt(self, answer: Answer, items: Mapping[str, str]) -> str:
        cut = {"id": (answer.id, items), "label": (answer.label, self.classes.names)}.get(answer.cut)
        if cut is not None:
            told, known = cut
            more = next((name for name in known if name != told and name.startswith(told)), None)
            if more is not None:
                return f"the file ends after {told!r}, which may be a part of {more!r}; finish the line, and end it"
        if answer.id not in items:
            return f"there is no item {answer.id!r}; give the id as the run has it"
        if answer.kind != "note" and items[answer.id]:
            return items[answer.id]
        if answer.kind in _LABELS and answer.label not in self.classes.names:
            return f"{answer.label!r} is not a class; {_hint(answer.label, self.classes.names)}"
        return ""

    def _without_conflicts(self, answers: Sequence[Answer]) -> list[Answer]:
        """Refuse all answers of an annotator about an item that differ, unless the file says which corrects which."""
        said: dict[tuple[str, str], dict[str, Answer]] = {}
        for one in answers:
            if one.kind == "label":
                said.setdefault((one.id, one.annotator), {}).setdefault(one.label, one)
        kept = []
        for one in answers:
            labels = said.get((one.id, one.annotator), {})
            other = next((first for label, first in labels.items() if label != one.label), None)
            if one.kind == "label" and other is not None:
                self._refuse(
                    one,
                    f"{one.label!r} for {one.id!r}, but {other.where} says {other.label!r}; keep one of the two",
                )
            else:
                kept.append(one)
        return kept

    def _new(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers without those that the ledger ends with: what was said of an item, as far as it is the same."""
        lines: dict[tuple[str, str], list[Answer]] = {}
        for one in answers:
            if not one.event and not one.time and one.kind != "note":
                same = lines.setdefault((one.id, one.annotator), [])
                if not same or _said(same[-1]) != _said(one):
                    same.append(one)
        gone: set[int] = set()
        for key, some in lines.items():
            before = [(said.act, said.value) for said in self._own.get(key, ())]
            now = [_said(one) for one in some]
            most = min(len(before), len(now))
            overlap = next((k for k in range(most, 0, -1) if before[-k:] == now[:k]), 0)
            gone |= {id(one) for one in some[:overlap]}
        self.there += len(gone)
        return [one for one in answers if id(one) not in gone]

    def _plan(self, answer: Answer) -> bool:
        """Plan the event of a line; False if its label differs from the current answer of somebody else."""
        item, who, (act, value) = answer.id, answer.annotator, _said(answer)
        own = self._own.get((item, who), [_Said("", "", "", who)])[-1]
        current = self._current.get(item)
        kind, name = answer.kind, answer.event
        if name in self._kinds:  # sent before, perhaps as a correction
            before = self._kinds[name]
            kind = before.kind if _act(before.kind) == act else kind
            self.events.append((Event(name, kind, item, who, value, source="file"), answer))  # type: ignore[arg-type]  # one of KINDS
            return True
        if act == "withdrawal" and current is None:
            self._refuse(answer, f"{item!r} has no label yet, so there is nothing to withdraw")
            return True
        if not name and (self._is_there(answer, own) or (current and act == current.act == "withdrawal")):
            self.there += 1
            return True
        if act == "label":
            kind = "correction" if own.act == "label" and own.value != value else answer.kind
            kind = "label" if current is None else kind
            if kind == "label" and current and current.act == "label" and current.value != value:
                return False
        if not name:
            answers_to = "" if current is None or act == "note" else current.event
            digest = [
                item,
                who,
                act,
                value,
                answer.time or [self.trial, answers_to, own.event * (act != "note")],
            ]
            name = str(uuid5(_EVENTS, json.dumps(digest)))
            if name in self._kinds:
                self.there += 1
                return True
        self.events.append((Event(name, kind, item, who, value, source="file"), answer))  # type: ignore[arg-type]  # one of KINDS
        self._record(item, _Said(act, value, name, who))
        return True

    def _is_there(self, answer: Answer, own: _Said) -> bool:
        act, value = _said(answer)
        given = (answer.id, answer.annotator, act, value, answer.time)
        return (own.act, own.value) == (act, value) or given in self._times


def _act(kind: str) -> str:
    return "label" if kind in _LABELS else kind


def _said(answer: Answer) -> tuple[str, str]:
    return _act(answer.kind), answer.label


def _hint(label: str, classes: Sequence[str]) -> str:
    by_small = {name.casefold(): name for name in classes}
    near = get_close_matches(label.casefold(), by_small, 1)
    hint = f"; did you mean {by_small[near[0]]!r}?" if near else ""
    return f"the classes are {', '.join(classes[:20])}{hint}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 or word == "unlabelable" else f"{n} {word}s"


def _keep(folder: Path, refused: Sequence[Refused]) -> Path | None:
    """Write the refused lines to a new file, unless the newest such file says the same."""
    if not refused:
        return None
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for one in refused:
        a = one.answer or Answer("", "", one.where, kind="")
        rows.writerow((a.id, a.label, a.kind, a.annotator, a.event, a.time, one.reason, one.where, one.text))
    content = text.getvalue().encode()
    number = 1
    while (path := folder / f"refused-{number}.csv").exists():
        number += 1
    if number > 1 and (last := folder / f"refused-{number - 1}.csv").read_bytes() == content:
        return last
    with path.open("xb") as file:
        file.write(content)
    return path
