"""Events: all that annotators say about the items of a run. An event is never updated or deleted.

The current label of an item is its newest deciding event: a label or a correction gives it a label, a withdrawal takes
the label back, and "unlabelable" says that the item has no label at all. Votes are the single answers behind a
consensus; they decide nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.store import schema
from baldur.store.classes import Classes, current

Kind = Literal["label", "correction", "withdrawal", "skip", "unlabelable", "note"]

LABELS = ("label", "correction")
"""Events that give an item a label."""

DECIDING = (*LABELS, "withdrawal", "unlabelable")
"""Events that decide whether an item has a label."""

VOTE = "vote"
"""The source of the single answers behind a consensus."""

RESERVE = "reserve"
"""The split of the items that are kept for testing; none of them is trained on."""

_c = schema.events.c
_STATES = {"skip": "skipped", "unlabelable": "skipped", "label": "answered", "correction": "answered"}
_AT_ONCE = 400  # events that are looked up in one query


class Event(NamedTuple):
    """An event as a client sends it.

    Args:
        id: The client's id of the event. The same event sent twice counts once.
        kind: The kind of event. "skip" asks for the item again later; "note" decides nothing.
        item: The item.
        annotator: The name of the annotator.
        value: A class name, or the text of a note.
        purpose: "train", "test", "audit" or "gold".
        source: The way in which the event arrived, such as "page" or "file".
    """

    id: str
    kind: Kind
    item: str
    annotator: str
    value: str = ""
    purpose: str = "train"
    source: str = "person"


class Told(NamedTuple):
    """The fate of events: the ids of new and of repeated events, and the reason for each refused event."""

    accepted: tuple[str, ...]
    repeated: tuple[str, ...]
    refused: Mapping[str, str]


def newest(trial: int | None = None, cut: int | None = None) -> "sa.Select[Any]":
    """The numbers of the newest deciding event about each item of each trial.

    Args:
        trial: The number of a trial; None for all.
        cut: The last event number that counts; None for all.

    Returns:
        A query of numbers.
    """
    query = sa.select(sa.func.max(_c.number)).where(_c.kind.in_(DECIDING), _c.source != VOTE)
    if trial is not None:
        query = query.where(_c.trial == trial)
    if cut is not None:
        query = query.where(_c.number <= cut)
    return query.group_by(_c.trial, _c.item)


def tell(connection: Connection, trial: int, events: Sequence[Event]) -> Told:
    """Append events to a trial. Events that cannot be believed are refused, and the others are taken.

    Whether an item is a test item decides the purpose of its events. An answer ends the lease of its item.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        events: The events, in order.

    Returns:
        The fate of each event.
    """
    accepted, repeated, refused = [], [], {}
    good = []
    for event in events:
        if reason := _unwritable(event):
            refused[event.id] = reason
        else:
            good.append(event)
    ledger = _read(connection, trial, good)
    for event in good:
        if (before := ledger.written.get(event.id)) is not None:
            if before == _plain(event):
                repeated.append(event.id)
            else:
                refused[event.id] = "another event has this id; give each event an id of its own"
        elif reason := _doubt(event, ledger):
            refused[event.id] = reason
        else:
            ledger.append(connection, trial, event)
            accepted.append(event.id)
    ledger.close_requests(connection, trial)
    return Told(tuple(accepted), tuple(repeated), refused)


def _plain(event: Event) -> Event:
    """An event without purpose and source, which may differ if it is sent again."""
    return event._replace(purpose="", source="")


class Last(NamedTuple):
    """The newest deciding event about an item."""

    number: int
    kind: str
    annotator: str
    value: str


def last_about(connection: Connection, trial: int, items: Sequence[str]) -> dict[str, Last]:
    """The newest deciding event about each of some items.

    Args:
        connection: An open transaction.
        trial: The trial's number.
        items: The items.

    Returns:
        By item, the event with the class name that was told; nothing for items that nobody decided about.
    """
    found = {}
    for start in range(0, len(items), _AT_ONCE):
        newest_of = newest(trial).where(_c.item.in_(items[start : start + _AT_ONCE]))
        deciding = sa.select(_c.item, _c.number, _c.kind, _c.annotator, _c.value)
        for item, *values in connection.execute(deciding.where(_c.number.in_(newest_of))):
            found[item] = Last(*values)
    return found


@dataclass
class _Ledger:
    """All that is needed of the ledger to judge some events. It is kept up to date while they are appended.

    Args:
        classes: The classes.
        items: The split of each item, and the reason to refuse a label; None if the run has not registered its items.
        written: Events that have one of the ids.
        last: The newest deciding event about each item.
        open: The rounds whose requests for an item are not answered, ascending.
    """

    classes: Classes
    items: Mapping[str, tuple[str | None, str]] | None
    written: dict[str, Event]
    last: dict[str, Last]
    open: dict[str, list[int]]
    _freed: list[str] = field(default_factory=list)
    _closed: dict[tuple[str, int], str] = field(default_factory=dict)

    def append(self, connection: Connection, trial: int, event: Event) -> None:
        last, rounds = self.last.get(event.item), self.open.get(event.item, [])
        test = self.items is not None and self.items[event.item][0] == RESERVE
        supersedes = event.kind in ("correction", "withdrawal", "unlabelable") and last is not None
        row = {"event": event.id, "kind": event.kind, "purpose": "test" if test else event.purpose}
        row |= {
            "item": event.item,
            "annotator": event.annotator,
            "value": event.value,
            "source": event.source,
        }
        more = {"trial": trial, "round": rounds[-1] if rounds else None, "time": schema.now()}
        insert = schema.events.insert().returning(_c.number)
        number = connection.execute(
            insert, row | more | {"supersedes": last.number if supersedes and last is not None else None}
        ).scalar_one()
        self.written[event.id] = _plain(event)
        if event.kind in DECIDING and event.source != VOTE:
            self.last[event.item] = Last(number, event.kind, event.annotator, event.value)
        if event.kind != "note":
            self._freed.append(event.item)
        if event.kind in _STATES and rounds:
            self._closed[event.item, rounds[-1]] = _STATES[event.kind]
            if _STATES[event.kind] == "answered":
                rounds.pop()

    def close_requests(self, connection: Connection, trial: int) -> None:
        """End the leases of the items, and close their requests."""
        r, b = schema.requests.c, sa.bindparam
        if self._freed:
            ended = schema.leases.delete().where(schema.leases.c.item == b("freed"))
            connection.execute(ended, [{"freed": item} for item in dict.fromkeys(self._freed)])
        if self._closed:
            change = schema.requests.update().where(r.trial == trial, r.item == b("of"), r.round == b("at"))
            rows = [{"of": item, "at": at, "to": state} for (item, at), state in self._closed.items()]
            connection.execute(change.values(state=b("to")), rows)


def _read(connection: Connection, trial: int, events: Sequence[Event]) -> _Ledger:
    registered = connection.execute(sa.select(schema.run.c.seed)).scalar() is not None
    known_items: dict[str, tuple[str | None, str]] | None = {} if registered else None
    written, rounds = dict[str, Event](), dict[str, list[int]]()
    last = last_about(connection, trial, list({event.item for event in events}))
    i, r = schema.items.c, schema.requests.c
    for start in range(0, len(events), _AT_ONCE):
        some = events[start : start + _AT_ONCE]
        items = list({event.item for event in some})
        known = sa.select(_c.event, _c.kind, _c.item, _c.annotator, _c.value)
        for row in connection.execute(known.where(_c.event.in_([event.id for event in some]))):
            written[row.event] = Event(row.event, row.kind, row.item or "", row.annotator, row.value, "", "")
        if known_items is not None:
            facts = sa.select(i.id, i.split, i.state, i.reason).where(i.id.in_(items))
            known_items |= {row.id: (row.split, _unusable(row)) for row in connection.execute(facts)}
        asked = sa.select(r.item, r.round).where(r.trial == trial, r.item.in_(items), r.state != "answered")
        for item, round in connection.execute(asked.order_by(r.round)):
            rounds.setdefault(item, []).append(round)
    return _Ledger(current(connection), known_items, written, last, rounds)


def _unusable(row: Any) -> str:
    """The reason why an item gets no label; empty if there is none."""
    if row.state != "ok":
        return f"the run left out {row.id!r}: {row.reason}"
    return f"{row.id!r} is a test item, and the run knows its label" if row.split == "test" else ""


def _unwritable(event: Event) -> str:
    """The reason why a database cannot hold the texts of an event; empty if there is none."""
    for name, text in event._asdict().items():
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"the {name} {text!r} has a character that no database can hold; send it as Unicode without NUL"
    return ""


def _doubt(event: Event, ledger: _Ledger) -> str:
    """The reason to refuse an event; empty if there is none."""
    last, classes = ledger.last.get(event.item), ledger.classes
    if ledger.items is not None:
        if event.item not in ledger.items:
            return f"there is no item {event.item!r}; give an id as the run writes it"
        if event.kind in LABELS and ledger.items[event.item][1]:
            return ledger.items[event.item][1]
    if event.kind in LABELS and event.value not in classes.names:
        near = get_close_matches(event.value, classes.names, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{event.value!r} is not a class; the classes are {', '.join(classes.names)}{hint}"
    if event.kind == "label" and last is not None and last.kind in LABELS:
        before = classes.now(last.value, last.number)
        if before != event.value:
            return (
                f"{last.annotator!r} said {before!r} for {event.item!r} before, and now {event.annotator!r} says "
                f"{event.value!r}; send a correction if the new answer is right"
            )
    if event.kind in ("correction", "withdrawal") and last is None:
        return f"{event.item!r} has no label yet, so there is nothing to change; send a label"
    return ""
