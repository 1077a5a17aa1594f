"""Events: all that annotators say about the items of a run. An event is never updated or deleted.

The current label of an item is its newest deciding event: a label or a correction gives it a label, a withdrawal takes
the label back, and "unlabelable" says that the item has no label at all. Votes are the single answers behind a
consensus; they decide nothing.
"""

from collections.abc import Mapping, Sequence
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
_DIFFERENT = ("kind", "item", "annotator", "value")  # an event with a known id must repeat these


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
    classes = current(connection)
    registered = connection.execute(sa.select(schema.run.c.seed)).scalar() is not None
    accepted, repeated, refused = [], [], {}
    for event in events:
        if reason := _unwritable(event):
            refused[event.id] = reason
            continue
        row = connection.execute(
            sa.select(_c.kind, _c.item, _c.annotator, _c.value).where(_c.event == event.id)
        )
        if (before := row.first()) is not None:
            same = all(before._mapping[name] == event._asdict()[name] for name in _DIFFERENT)
            if same:
                repeated.append(event.id)
            else:
                refused[event.id] = "another event has this id; give each event an id of its own"
            continue
        item = sa.select(schema.items.c.id, schema.items.c.split).where(schema.items.c.id == event.item)
        known = connection.execute(item).first() if registered else None
        last = _last(connection, trial, event.item)
        if reason := _doubt(event, last, classes, known is not None or not registered):
            refused[event.id] = reason
            continue
        test = known is not None and known.split == RESERVE
        _append(
            connection,
            trial,
            event._replace(purpose="test") if test else event,
            None if last is None else last.number,
        )
        accepted.append(event.id)
    return Told(tuple(accepted), tuple(repeated), refused)


def _unwritable(event: Event) -> str:
    """The reason why a database cannot hold the texts of an event; empty if there is none."""
    for name, text in event._asdict().items():
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            return f"the {name} {text!r} has a character that no database can hold; send it as Unicode without NUL"
    return ""


def _last(connection: Connection, trial: int, item: str) -> Any:
    """The newest deciding event about an item."""
    query = sa.select(_c.number, _c.kind, _c.annotator, _c.value).where(
        _c.trial == trial, _c.item == item, _c.kind.in_(DECIDING), _c.source != VOTE
    )
    return connection.execute(query.order_by(_c.number.desc()).limit(1)).first()


def _doubt(event: Event, last: Any, classes: Classes, known: bool) -> str:
    """The reason to refuse an event; empty if there is none."""
    if not known:
        return f"there is no item {event.item!r}; give an id as the run writes it"
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


def _append(connection: Connection, trial: int, event: Event, last: int | None) -> None:
    r = schema.requests.c
    of_item = (r.trial == trial, r.item == event.item, r.state != "answered")
    asked = connection.execute(sa.select(sa.func.max(r.round)).where(*of_item)).scalar()
    row = {"event": event.id, "kind": event.kind, "purpose": event.purpose, "trial": trial, "round": asked}
    row |= {"item": event.item, "annotator": event.annotator, "value": event.value, "time": schema.now()}
    supersedes = last if event.kind in ("correction", "withdrawal", "unlabelable") else None
    connection.execute(schema.events.insert(), row | {"supersedes": supersedes, "source": event.source})
    state = {"skip": "skipped", "unlabelable": "skipped", "label": "answered", "correction": "answered"}
    if event.kind != "note":
        connection.execute(schema.leases.delete().where(schema.leases.c.item == event.item))
    if event.kind in state and asked is not None:
        change = schema.requests.update().where(*of_item, r.round == asked)
        connection.execute(change.values(state=state[event.kind]))
