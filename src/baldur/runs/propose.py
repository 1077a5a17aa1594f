"""Proposes items for labelling, as lines of a file. Nothing is trained, and the data are not read."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

from baldur.errors import InvalidArgument
from baldur.runs.asking import items_of
from baldur.runs.ingest import only_trial
from baldur.runs.settings import MOST_MINUTES, from_toml
from baldur.store import Store

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
        why: The reason why it is proposed.
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
    why: str
    expires: str


def propose(
    store: Store, count: int = 50, minutes: float | None = None, by: str | None = None
) -> list[Proposal]:
    """Reserve items for labelling, so that nobody else gets them until the reservation ends.

    Args:
        store: The run.
        count: The number of items; there are fewer if the pool is exhausted.
        minutes: How long the items are reserved; by default, as the settings of the run say.
        by: The name of the annotator, who gets the same items again until they are answered. Without a name, each call
            reserves other items.

    Returns:
        The items, the most wanted first.

    Raises:
        InvalidArgument: `count` or `minutes` is not positive, or the run takes no labels.
    """
    if minutes is None:
        minutes = from_toml(store.settings).people.lease_minutes
    if count < 1 or not 0 < minutes < MOST_MINUTES:
        raise InvalidArgument(
            f"count must be positive, and minutes between 0 and {MOST_MINUTES:,}, not {count} and {minutes:g}"
        )
    if by is not None and not by.strip():
        raise InvalidArgument("the name of the annotator is empty; give a name, such as --by ann")
    trial = only_trial(store)
    offered = trial.queue.offer(by or f"file-{uuid4().hex[:12]}", count, minutes)
    records = store.some_items([one.item for one in offered])
    found = []
    for one, item in zip(offered, items_of(store, trial, offered, {}), strict=True):
        record = records[one.item]
        row = (record.shown or {}).get("row")
        believed = (item.guess, item.probabilities, item.score, item.why)
        found.append(Proposal(item.id, item.path, record.part, item.text, row, *believed, one.expires))
    return found


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
