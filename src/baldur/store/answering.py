"""Answers of an oracle to the requests of a round, and its corrections, as events of the ledger."""

import json
from collections.abc import Mapping
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.errors import InvalidLabel, StoreError
from baldur.store import schema
from baldur.store.events import LABELS, VOTE, newest

_EVENTS = UUID("6f2f3c1e-3f0f-5f0e-9d53-0c4c2b6d7a11")
"""The namespace of event ids."""


def answer(
    connection: Connection,
    trial: int,
    round: int,
    answers: Mapping[str, str],
    annotator: str,
    source: str,
    votes: Mapping[str, Mapping[str, str]],
) -> None:
    """Append answers to the requests of a round, and close these requests. See `Trial.answer`.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        round: The round that asked.
        answers: Class names by item id.
        annotator: The name of the annotator.
        source: The source of the answers.
        votes: The single answers behind a majority: by annotator, class names by item id.

    Raises:
        StoreError: The round did not ask for an item, or this annotator gave another answer before.
        InvalidLabel: An answer is not one of the run's classes.
    """
    wanted = _wanted(connection, trial, round, answers)
    # Votes first: the current label of an item is the newest event about it, the consensus.
    said = [*((name, given, VOTE) for name, given in votes.items()), (annotator, answers, source)]
    for name, given, way in said:
        _check_classes(connection, given)
        new = {item: given[item] for item in wanted if item in given}
        events = _new_events(connection, trial, round, new, name)
        if events:
            more = {"source": way, "kind": "label", "purpose": "train"}
            connection.execute(schema.events.insert(), [event | more for event in events])
    if wanted:
        c = schema.requests.c
        this = (c.trial == trial, c.round == round, c.item == sa.bindparam("answered"))
        update = schema.requests.update().where(*this).values(state="answered")
        connection.execute(update, [{"answered": item} for item in wanted])


def correct(connection: Connection, trial: int, labels: Mapping[str, str], annotator: str) -> None:
    """Append corrections of labels. A correction that changes nothing adds nothing. See `Trial.correct`.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        labels: The right class names, by item id.
        annotator: The name of the annotator.

    Raises:
        StoreError: An item has no label yet.
        InvalidLabel: A correction is not one of the run's classes.
    """
    if not labels:
        return
    _check_classes(connection, labels)
    c = schema.events.c
    query = sa.select(c.item, c.value, c.round, c.number)
    query = query.where(c.number.in_(newest(trial)), c.kind.in_(LABELS))
    current = {row.item: row for row in connection.execute(query)}
    time, events = schema.now(), []
    for item, value in labels.items():
        if item not in current:
            raise StoreError(f"{item!r} has no label yet, so there is nothing to correct; answer it first")
        now = current[item]
        if now.value != value:
            name = [trial, now.round, item, annotator, now.number]
            row = {"event": str(uuid5(_EVENTS, json.dumps(name))), "trial": trial, "round": now.round}
            row |= {"item": item, "value": value, "annotator": annotator, "time": time}
            row |= {"kind": "correction", "purpose": "train"}
            events.append(row | {"supersedes": now.number, "source": "oracle"})
    if events:
        connection.execute(schema.events.insert(), events)


def _wanted(connection: Connection, trial: int, round: int, answers: Mapping[str, str]) -> list[str]:
    """The answered items in the order in which the round asked for them."""
    c = schema.requests.c
    query = sa.select(c.item).where(c.trial == trial, c.round == round).order_by(c.rank, c.item)
    asked = [row.item for row in connection.execute(query)]
    strangers = sorted(set(answers) - set(asked))
    if strangers:
        t = schema.trials.c
        who = connection.execute(sa.select(t.strategy, t.seed).where(t.id == trial)).one()
        raise StoreError(
            f"round {round} of {who.strategy!r}, seed {who.seed}, did not ask for {strangers[0]!r}"
            f" ({len(strangers)} such answers); answer only the items of `open_requests`"
        )
    return [item for item in asked if item in answers]


def _check_classes(connection: Connection, answers: Mapping[str, str]) -> None:
    classes = connection.execute(sa.select(schema.run.c.classes)).scalar_one()
    for item, value in answers.items():
        if value not in classes:
            raise InvalidLabel(
                f"the answer {value!r} for {item!r} is not a class; the classes are {', '.join(classes)}"
            )


def _new_events(
    connection: Connection, trial: int, round: int, answers: Mapping[str, str], annotator: str
) -> list[dict[str, object]]:
    """Ledger rows for the new answers."""
    c = schema.events.c
    own = (c.trial == trial, c.annotator == annotator)
    known = dict(connection.execute(sa.select(c.event, c.value).where(*own, c.round == round)).all())
    last = sa.select(c.item, sa.func.max(c.number)).where(*own).group_by(c.item)
    earlier = dict(connection.execute(last).all())
    time, rows = schema.now(), []
    for item, value in answers.items():
        event = str(uuid5(_EVENTS, json.dumps([trial, round, item, annotator])))
        if known.get(event, value) != value:
            raise StoreError(
                f"{annotator!r} answered {known[event]!r} for {item!r} in round {round}, and now {value!r}. "
                "The ledger cannot be changed, so keep the first answer"
            )
        if event not in known:
            row = {"event": event, "trial": trial, "round": round, "item": item, "value": value}
            rows.append(row | {"annotator": annotator, "time": time, "supersedes": earlier.get(item)})
    return rows
