"""Events: all that annotators say about the items of a run. An event is never updated or deleted.

The current label of an item is its newest deciding event: a label or a correction gives it a label, a withdrawal takes
the label back, and "unlabelable" says that the item has no label at all. Votes are the single answers behind a
consensus; they decide nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.store import schema

Kind = Literal["label", "correction", "withdrawal", "skip", "unlabelable", "note"]

LABELS = ("label", "correction")
"""Events that give an item a label."""

DECIDING = (*LABELS, "withdrawal", "unlabelable")
"""Events that decide whether an item has a label."""

VOTE = "vote"
"""The source of the single answers behind a consensus."""

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


def tell(
    connection: Connection, trial: int, events: Sequence[Event], known: Collection[str] | None = None
) -> Told:
    """Append events to a trial. Events that cannot be believed are refused, and the others are taken.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        events: The events, in order.
        known: The ids of all items; None accepts any item.

    Returns:
        The fate of each event.
    """
    classes = connection.execute(sa.select(schema.run.c.classes)).scalar_one()
    accepted, repeated, refused = [], [], {}
    for event in events:
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
        current = _current(connection, trial, event.item)
        if reason := _doubt(event, current, classes, known):
            refused[event.id] = reason
            continue
        _append(connection, trial, event, None if current is None else current.number)
        accepted.append(event.id)
    return Told(tuple(accepted), tuple(repeated), refused)


def _current(connection: Connection, trial: int, item: str) -> Any:
    """The newest deciding event about an item."""
    query = sa.select(_c.number, _c.kind, _c.annotator, _c.value).where(
        _c.trial == trial, _c.item == item, _c.kind.in_(DECIDING), _c.source != VOTE
    )
    return connection.execute(query.order_by(_c.number.desc()).limit(1)).first()


def _doubt(event: Event, current: Any, classes: Sequence[str], known: Collection[str] | None) -> str:
    """The reason to refuse an event; empty if there is none."""
    if known is not None and event.item not in known:
        return f"there is no item {event.item!r}"
    if event.kind in LABELS and event.value not in classes:
        return f"{event.value!r} is not a class; the classes are {', '.join(classes)}"
    labelled = current is not None and current.kind in LABELS
    if event.kind == "label" and labelled and current.annotator == event.annotator:
        if current.value != event.value:
            return (
                f"{event.annotator!r} said {current.value!r} for {event.item!r} before, and now {event.value!r}; "
                "send a correction if the new answer is right"
            )
    elif event.kind in ("correction", "withdrawal") and current is None:
        return f"{event.item!r} has no label yet, so there is nothing to change; send a label"
    return ""


def _append(connection: Connection, trial: int, event: Event, current: int | None) -> None:
    r = schema.requests.c
    of_item = (r.trial == trial, r.item == event.item, r.state != "answered")
    asked = connection.execute(sa.select(sa.func.max(r.round)).where(*of_item)).scalar()
    row = {"event": event.id, "kind": event.kind, "purpose": event.purpose, "trial": trial, "round": asked}
    row |= {"item": event.item, "annotator": event.annotator, "value": event.value, "time": schema.now()}
    supersedes = current if event.kind in ("correction", "withdrawal", "unlabelable") else None
    connection.execute(schema.events.insert(), row | {"supersedes": supersedes, "source": event.source})
    state = {"skip": "skipped", "unlabelable": "skipped", "label": "answered", "correction": "answered"}
    if event.kind in state and asked is not None:
        change = schema.requests.update().where(*of_item, r.round == asked)
        connection.execute(change.values(state=state[event.kind]))
