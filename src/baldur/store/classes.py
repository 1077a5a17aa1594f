"""The classes of a run, which may be added, renamed and merged while people label.

Each change is an event. A label keeps the name that was told. It is read through the changes that came after it.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.errors import InvalidArgument
from baldur.store import schema

_c = schema.events.c

Verb = Literal["add", "rename", "merge"]


class Change(NamedTuple):
    """A change of the classes.

    Args:
        number: The number of its event.
        verb: "add", "rename" or "merge".
        old: The names that the change replaces; none for "add".
        new: The name of the class afterwards.
    """

    number: int
    verb: Verb
    old: tuple[str, ...]
    new: str


class Classes(NamedTuple):
    """The classes of a run at one time.

    Args:
        names: Their names, in the order of their indices.
        changes: All changes up to this time, the oldest first.
    """

    names: tuple[str, ...]
    changes: tuple[Change, ...]

    def now(self, value: str, number: int) -> str:
        """The present name of a class.

        Args:
            value: The name that a label was told with.
            number: The number of the label's event.

        Returns:
            The name after all later changes.
        """
        for change in self.changes:
            if change.number > number and value in change.old:
                value = change.new
        return value


def query(cut: int | None = None) -> "sa.Select[Any]":
    """The query of all changes.

    Args:
        cut: The last event number that counts; None for all.

    Returns:
        A query of number and value.
    """
    found = sa.select(_c.number, _c.value).where(_c.kind == "class")
    return (found if cut is None else found.where(_c.number <= cut)).order_by(_c.number)


def classes_of(begun: Sequence[str], rows: Sequence[Any]) -> Classes:
    """The classes after some changes.

    Args:
        begun: The classes with which the run began.
        rows: Rows of `query`.

    Returns:
        The classes.
    """
    names, changes = list(begun), []
    for row in rows:
        told = json.loads(row.value)
        change = Change(row.number, told["verb"], tuple(told["old"]), told["new"])
        names = _after(names, change)
        changes.append(change)
    return Classes(tuple(names), tuple(changes))


def _after(names: list[str], change: Change) -> list[str]:
    """The names after a change. A merged class stands where the first of its parts stood."""
    if change.verb == "add":
        return [*names, change.new]
    first = min(names.index(old) for old in change.old)
    return [
        change.new if i == first else name
        for i, name in enumerate(names)
        if i == first or name not in change.old
    ]


def current(connection: Connection) -> Classes:
    """The classes now.

    Args:
        connection: An open transaction.

    Returns:
        The classes.
    """
    begun = connection.execute(sa.select(schema.run.c.classes)).scalar_one()
    return classes_of(begun, connection.execute(query()).all())


def change(
    connection: Connection, event: str, annotator: str, verb: Verb, old: Sequence[str], new: str
) -> Classes:
    """Change the classes. The same event a second time changes nothing.

    Args:
        connection: An open write transaction.
        event: The client's id of the event.
        annotator: The name of the annotator.
        verb: "add" a class, "rename" one, or "merge" several into one.
        old: The names that are replaced.
        new: The name afterwards. The name of a merged class may be one of the old ones.

    Returns:
        The classes afterwards.

    Raises:
        InvalidArgument: A name is unknown, empty or taken.
    """
    before = current(connection)
    value = json.dumps({"verb": verb, "old": list(old), "new": new}, ensure_ascii=False)
    known = connection.execute(sa.select(_c.value).where(_c.event == event)).scalar()
    if known == value:
        return before
    _check(before.names, verb, old, new)
    row: Mapping[str, Any] = {"event": event, "kind": "class", "purpose": "train", "annotator": annotator}
    told = {"value": value, "time": schema.now(), "source": "person"}
    connection.execute(schema.events.insert(), {**row, **told})
    return current(connection)


def _check(names: Sequence[str], verb: Verb, old: Sequence[str], new: str) -> None:
    listed = ", ".join(names)
    if not new.strip():
        raise InvalidArgument("a class needs a name that is not empty")
    if unknown := [name for name in old if name not in names]:
        raise InvalidArgument(f"{unknown[0]!r} is not a class; the classes are {listed}")
    if len(set(old)) != len(old) or len(old) < {"add": 0, "rename": 1, "merge": 2}[verb]:
        raise InvalidArgument(f"to {verb} classes, give different names of classes, not {list(old)}")
    if verb == "merge" and len(old) == len(names):
        raise InvalidArgument(
            f"a run needs two classes at least, so {listed} cannot become one; add another class first"
        )
    if new in names and (verb != "merge" or new not in old):
        raise InvalidArgument(f"{new!r} is a class already; the classes are {listed}")
