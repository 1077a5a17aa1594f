"""Items that come later, and items that are taken out of the pool. Both are events of the ledger."""

from collections.abc import Iterable, Sequence
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.errors import InvalidArgument
from baldur.store import schema
from baldur.store.rows import ItemRecord

CHUNK = 20_000
"""Items of one transaction, so that nobody waits long for the database."""

_i = schema.items.c


def add(connection: Connection, records: Iterable[ItemRecord], annotator: str) -> list[str]:
    """Add items to the pool. Items that are there already stay as they are.

    Args:
        connection: An open write transaction.
        records: One record for each item.
        annotator: Who adds them.

    Returns:
        The ids of the new items.
    """
    new = []
    last = connection.execute(sa.select(sa.func.coalesce(sa.func.max(_i.position), -1))).scalar_one()
    for record in records:
        if connection.execute(sa.select(_i.id).where(_i.id == record.id)).first() is not None:
            continue
        last += 1
        number = _say(connection, record.id, "added", annotator)
        row = vars(record) | {"grp": record.group, "position": last, "since": number}
        row.pop("group")
        connection.execute(schema.items.insert(), row)
        new.append(record.id)
    return new


def withdraw(connection: Connection, items: Sequence[str], annotator: str) -> None:
    """Take items out of the pool. Their labels stay in the ledger, but no later round trains on them.

    Args:
        connection: An open write transaction.
        items: The items.
        annotator: Who takes them out.

    Raises:
        InvalidArgument: There is no such item.
    """
    _check(connection, items)
    for item in items:
        connection.execute(schema.leases.delete().where(schema.leases.c.item == item))
        _say(connection, item, "withdrawn", annotator)


def restore(connection: Connection, items: Sequence[str], annotator: str) -> None:
    """Put items back that were taken out of the pool.

    Args:
        connection: An open write transaction.
        items: The items.
        annotator: Who puts them back.

    Raises:
        InvalidArgument: There is no such item.
    """
    _check(connection, items)
    for item in items:
        _say(connection, item, "restored", annotator)


def _check(connection: Connection, items: Sequence[str]) -> None:
    for item in items:
        if connection.execute(sa.select(_i.id).where(_i.id == item)).first() is None:
            raise InvalidArgument(f"there is no item {item!r}; give an id as the run writes it")


def _say(connection: Connection, item: str, what: str, annotator: str) -> int:
    row = {"event": str(uuid4()), "kind": "item", "purpose": "train", "item": item, "annotator": annotator}
    row |= {"value": what, "time": schema.now(), "source": "person"}
    return int(connection.execute(schema.events.insert().returning(schema.events.c.number), row).scalar_one())
