"""An oracle that answers later: requests are in one file, and answers in others."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from baldur.errors import InvalidLabel
from baldur.oracles.answers import Answer, blank, is_blank, read_answers

SITTING = 50
"""The most items that a file of requests asks for at a time, unless told otherwise."""

_MOST = 5  # faults named in one message


class FileOracle:
    """Writes requests to `requests.csv` and reads answers from `answers.csv` or `answers.jsonl`.

    Labels that a person fills into `requests.csv` are answers, too. Such a file is never overwritten: before new
    requests are written, it becomes `requests-answered-1.csv`, which is still read.

    The file asks for what a person can answer in a sitting. If several trials ask, the first ones come first. An item
    that several ask for is written once.

    Args:
        folder: The folder of these files.
        classes: The names that an answer may have.
        path_of: Gives the file or address where a person finds the item; empty if there is none.
        ids: The ids of all items; an answer for another id gives a warning. None if they are not known.
        most: The largest number of items in `requests.csv`.
    """

    annotator = "file"

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        path_of: Callable[[str], str] = lambda _: "",
        ids: Iterable[str] | None = None,
        most: int = SITTING,
    ) -> None:
        self.requests = folder / "requests.csv"
        self.answers = (folder / "answers.csv", folder / "answers.jsonl")
        self._classes = frozenset(classes)
        self._path_of = path_of
        self._ids = None if ids is None else frozenset(ids)
        self._warned = False
        self._most = most
        self._asked: list[list[str]] = []  # what each trial waits for, in the order in which they asked

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The answers so far; if items have none, `requests.csv` asks for some of them when this returns.

        An id or label is taken as it is written. If that is unknown, it is taken without the spaces around it.

        Args:
            ids: Items that are asked for.

        Returns:
            Class names by id.

        Raises:
            InvalidLabel: An answer is not a class, two answers for an item differ, or a line cannot be read. The
                message names file and line of each.
        """
        given = self._given(frozenset(ids))
        answered = {i: given[i] for i in ids if i in given}
        self._asked = [[i for i in some if i not in given] for some in (*self._asked, list(ids))]
        self._write(self._sitting())
        return answered

    def _sitting(self) -> list[str]:
        """What to ask for now: the questions of the first trial, and of further trials while they all fit."""
        now: dict[str, None] = {}
        for some in self._asked:
            more = [i for i in some if i not in now]
            if now and len(now) + len(more) > self._most:
                break
            now |= dict.fromkeys(more)
        return list(now)[: self._most]

    def corrections(self, known: Mapping[str, str]) -> Mapping[str, str]:
        """The answers that are now other ones.

        Args:
            known: Earlier answers: class names by id.

        Returns:
            The new class names of the items whose answer changed.

        Raises:
            InvalidLabel: As in `ask`.
        """
        given = self._given(frozenset(known))
        return {i: given[i] for i, label in known.items() if given.get(i, label) != label}

    def _given(self, wanted: frozenset[str]) -> dict[str, str]:
        """All answers in all files, by id."""
        known = wanted if self._ids is None else self._ids
        said: dict[str, Answer] = {}
        faults: list[str] = []
        moved = sorted(self.requests.parent.glob("requests-answered-*.csv"))
        for path in (*moved, self.requests, *self.answers):
            if not path.exists():
                continue
            read = read_answers(path)
            faults += map(str, read.faults)
            for note in read.notes:
                warnings.warn(note, stacklevel=4)
            for one in read.answers:
                answer = one.as_known(known, self._classes)
                if answer.kind not in ("label", "correction"):
                    faults.append(
                        f"{answer.where}: a line of the kind {answer.kind!r} belongs into another file, which "
                        "`baldur ingest` takes"
                    )
                    continue
                first = said.setdefault(answer.id, answer)
                if answer.label not in self._classes:
                    faults.append(
                        f"{answer.where}: {answer.label!r} is not a class; {self._hint(answer.label)}"
                    )
                elif first.label != answer.label:
                    faults.append(
                        f"{answer.where}: {answer.label!r} for {answer.id!r}, but {first.where} says {first.label!r}; "
                        "keep one of the two"
                    )
        if faults:
            more = f"; and {len(faults) - _MOST} more" if len(faults) > _MOST else ""
            raise InvalidLabel("; ".join(faults[:_MOST]) + more)
        self._warn_of(said.values())
        return {i: answer.label for i, answer in said.items()}

    def _hint(self, label: str) -> str:
        by_small = {name.casefold(): name for name in sorted(self._classes)}
        near = get_close_matches(label.casefold(), by_small, 1)
        hint = f"; did you mean {by_small[near[0]]!r}?" if near else ""
        return f"the classes are {', '.join(sorted(self._classes)[:20])}{hint}"

    def _warn_of(self, answers: Iterable[Answer]) -> None:
        """Warn once of answers for unknown items."""
        if self._ids is None or self._warned:
            return
        unknown = [answer for answer in answers if answer.id not in self._ids]
        if unknown:
            self._warned = True
            warnings.warn(
                f"{len(unknown)} of the answers in {self.requests.parent} are for unknown items,"
                f" the first for {unknown[0].id!r} ({unknown[0].where}); give the ids as they stand in"
                f" {self.requests.name}",
                stacklevel=4,
            )

    def _write(self, ids: Sequence[str]) -> None:
        """Write the open requests. A file that a person has filled in keeps its content under another name."""
        if self.requests.exists() and not is_blank(self.requests):
            if not ids:
                return
            number = 1
            while (kept := self.requests.with_name(f"requests-answered-{number}.csv")).exists():
                number += 1
            os.rename(self.requests, kept)
        part = self.requests.with_name(self.requests.name + ".part")
        part.write_text(blank((i, self._path_of(i)) for i in ids), encoding="utf-8", newline="")
        os.replace(part, self.requests)
