"""Proposes items for labelling, as lines of a file. Nothing is trained, and the data are not read."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from baldur.errors import InvalidArgument
from baldur.runs.ingest import only_trial
from baldur.store import Store, Trial

_FORMATS = ("jsonl", "csv")
_WHERE = ("path", "part", "text", "row")  # left out where an item has none


class Proposal(NamedTuple):
    """An item that is proposed for labelling.

    Args:
        id: The item.
        path: Its file; None if it is in no file.
        part: Its place in the file, if the file has many items: a row or an index, counted from 0.
        text: Its text; None if it has none.
        row: Its values by column; None if it is no row of a table.
        guess: The class that the newest model believes in; None if it has no guess.
        probabilities: The probability of each class; None without a guess.
        score: The score with which the item was chosen; None for an item that was drawn at random.
        expires: The end of the reservation, UTC.
    """

    id: str
    path: str | None
    part: int | None
    text: str | None
    row: Mapping[str, Any] | None
    guess: str | None
    probabilities: Mapping[str, float] | None
    score: float | None
    expires: str


def propose(store: Store, count: int, minutes: float = 60.0, by: str | None = None) -> list[Proposal]:
    """Reserve items for labelling, so that nobody else gets them until the reservation ends.

    Args:
        store: The run.
        count: The number of items; there are fewer if the pool is exhausted.
        minutes: How long the items are reserved.
        by: The name of the annotator, who gets the same items again until they are answered. Without a name, each call
            reserves other items.

    Returns:
        The items, the most wanted first.

    Raises:
        InvalidArgument: `count` or `minutes` is not positive, or the run takes no labels.
    """
    if count < 1 or not minutes > 0:
        raise InvalidArgument(f"count and minutes must be positive, not {count} and {minutes:g}")
    if by is not None and not by.strip():
        raise InvalidArgument("the name of the annotator is empty; give a name, such as --by ann")
    trial = only_trial(store)
    offered = trial.queue.offer(by or f"file-{uuid4().hex[:12]}", count, minutes)
    records = store.items() if offered else {}
    believed = _believed(trial) if offered else {}
    found = []
    for one in offered:
        record = records[one.item]
        shown = record.shown or {}
        guess = (
            believed.get(one.item) if one.purpose == "train" else None
        )  # a test label is given without a hint
        best = max(guess, key=lambda name: guess[name]) if guess else None
        about = (record.path, record.part, shown.get("text"), shown.get("row"), best, guess)
        found.append(Proposal(one.item, *about, one.score, one.expires))
    return found


def _believed(trial: Trial) -> dict[str, dict[str, float]]:
    """The probabilities of the newest model for the items that it chose."""
    latest = trial.latest()
    for round in range(-1 if latest is None else latest.round, -1, -1):
        if (path := trial.find(round, "guesses")) is not None:
            with np.load(path, allow_pickle=False) as kept:
                ids, probabilities = kept["ids"].tolist(), kept["probabilities"].tolist()
            names = trial.classes().names
            return {i: dict(zip(names, row, strict=True)) for i, row in zip(ids, probabilities, strict=True)}
    return {}


def lines_of(items: Sequence[Proposal], format: str = "jsonl") -> str:
    """A line for each item, with room for the label. `ingest` reads the lines once the labels are filled in.

    Args:
        items: The items.
        format: "jsonl" or "csv".

    Returns:
        The lines; those of CSV begin with the names of the columns.

    Raises:
        InvalidArgument: There is no such format.
    """
    check_format(format)
    text = io.StringIO(newline="")
    if format == "jsonl":
        for item in items:
            told = {k: value for k, value in item._asdict().items() if value is not None or k not in _WHERE}
            text.write(json.dumps({"id": told.pop("id"), "label": None, **told}, ensure_ascii=False) + "\n")
        return text.getvalue()
    columns = ["id", "label", *(name for name in Proposal._fields if name != "id")]
    lines = csv.writer(text)
    lines.writerow(columns)
    for item in items:
        told = item._asdict() | {"label": None}
        cells = (told[name] for name in columns)
        lines.writerow(json.dumps(c, ensure_ascii=False) if isinstance(c, dict) else c for c in cells)
    return text.getvalue()


def check_format(format: str) -> None:
    """Refuse an unknown format before anything is reserved.

    Args:
        format: "jsonl" or "csv".

    Raises:
        InvalidArgument: There is no such format.
    """
    if format not in _FORMATS:
        raise InvalidArgument(f"the format must be jsonl or csv, not {format!r}")
