"""The queue of a labelling run: who was offered which item, and until when.

An item is offered under a lease. While the lease lasts, nobody else gets the item. Answering, skipping or giving the
item back ends the lease. A holder who asks again gets the same items until then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.store import schema
from baldur.store.database import Database
from baldur.store.events import DECIDING, LABELS, RESERVE, VOTE

_e, _i, _l, _q = schema.events.c, schema.items.c, schema.leases.c, schema.requests.c


class Offered(NamedTuple):
    """An item under a lease.

    Args:
        item: The item.
        purpose: "train", or "test" for an item that is never trained on.
        expires: The end of the lease, UTC.
        score: Its score when it was chosen; None for an item that was drawn at random.
    """

    item: str
    purpose: str
    expires: str
    score: float | None


@dataclass(frozen=True)
class Queue:
    """The queue of one trial.

    Args:
        database: The run's.
        trial: The trial's number.
    """

    database: Database = field(repr=False)
    trial: int

    def offer(self, holder: str, k: int, minutes: float) -> list[Offered]:
        """Offer items to a holder: first those that the holder has already, then the next ones of the queue.

        The queue has the open requests of the newest round, then the ranking of the round before, then the pool in its
        random order, and last the items that were skipped.

        Args:
            holder: The name of the holder.
            k: How many items; the holder gets fewer if the pool is exhausted.
            minutes: How long the leases of new items last.

        Returns:
            The items in their order.
        """
        with self.database.write() as connection:
            return _offer(connection, self.trial, holder, k, minutes)

    def give_back(self, items: Sequence[str] | None, holder: str | None = None) -> None:
        """End leases.

        Args:
            items: The items; None for all.
            holder: Only the leases of this holder; None for any.
        """
        delete = (
            schema.leases.delete() if holder is None else schema.leases.delete().where(_l.holder == holder)
        )
        with self.database.write() as connection:
            if items is None:
                connection.execute(delete)
            elif items:
                given = delete.where(_l.item == sa.bindparam("given"))
                connection.execute(given, [{"given": item} for item in items])

    def leased(self) -> set[str]:
        """The items that somebody holds now.

        Returns:
            Item ids.
        """
        now = _text(datetime.now(UTC))
        return {row.item for row in self.database.rows(sa.select(_l.item).where(_l.expires > now))}

    def waiting(self) -> int:
        """How many of the newest round's requests wait for an answer.

        Returns:
            A number of items.
        """
        asked = _asked(self.trial).order_by(None).subquery()
        return int(self.database.rows(sa.select(sa.func.count()).select_from(asked))[0][0])

    def new(self) -> int:
        """How many items were labelled, or had their label changed, since the last round's cut.

        Returns:
            A number of items.
        """
        r = schema.rounds.c
        cut = (
            sa.select(sa.func.coalesce(sa.func.max(r.cut), 0)).where(r.trial == self.trial).scalar_subquery()
        )
        query = sa.select(sa.func.count(sa.func.distinct(_e.item))).where(
            _e.trial == self.trial, _e.number > cut, _e.kind.in_((*LABELS, "withdrawal"))
        )
        return int(self.database.rows(query)[0][0])


def _offer(connection: Connection, trial: int, holder: str, k: int, minutes: float) -> list[Offered]:
    now = datetime.now(UTC)
    _expire(connection, now)
    own = sa.select(_l.item, _l.rank).where(_l.holder == holder).order_by(_l.rank)
    held = [row.item for row in connection.execute(own.limit(k))]
    last = connection.execute(sa.select(sa.func.max(_l.rank)).where(_l.holder == holder)).scalar()
    rank = -1 if last is None else int(last)
    expires = _text(now + timedelta(minutes=minutes))
    taken = set(held)
    for item, test in _waiting(connection, trial, k):
        if len(taken) >= k:
            break
        if item in taken:
            continue
        rank += 1
        lease = {"item": item, "holder": holder, "purpose": "test" if test else "train", "rank": rank}
        connection.execute(schema.leases.insert(), lease | {"offered": _text(now), "expires": expires})
        taken.add(item)
    return _offered(connection, trial, holder, k)


def _expire(connection: Connection, now: datetime) -> None:
    """Delete the leases that ran out. If the clock was set back, a lease lasts as long as it would have from now on."""
    for row in connection.execute(sa.select(schema.leases).where(_l.offered > _text(now))).all():
        lasts = datetime.fromisoformat(row.expires) - datetime.fromisoformat(row.offered)
        again = schema.leases.update().where(_l.item == row.item)
        connection.execute(again.values(offered=_text(now), expires=_text(now + lasts)))
    connection.execute(schema.leases.delete().where(_l.expires <= _text(now)))


def _offered(connection: Connection, trial: int, holder: str, k: int) -> list[Offered]:
    # The newest request of an item has the score with which it was chosen.
    score = (
        sa.select(_q.score).where(_q.trial == trial, _q.item == _l.item).order_by(_q.round.desc()).limit(1)
    )
    ranked = schema.ranking.c
    place = sa.select(ranked.score).where(ranked.trial == trial, ranked.item == _l.item)
    place = place.order_by(ranked.round.desc()).limit(1)
    query = sa.select(
        *(_l.item, _l.purpose, _l.expires, score.scalar_subquery().label("asked")),
        place.scalar_subquery().label("ranked"),
    )
    rows = connection.execute(query.where(_l.holder == holder).order_by(_l.rank).limit(k))
    return [
        Offered(row.item, row.purpose, row.expires, row.ranked if row.asked is None else row.asked)
        for row in rows
    ]


def _waiting(connection: Connection, trial: int, k: int) -> Iterator[tuple[str, bool]]:
    """The items of the queue that nobody holds, each with whether it is a test item. An item may come twice."""
    for query in (_asked(trial), _ranked(trial), _in_order(trial), _skipped(trial)):
        free = query.where(_i.id.not_in(sa.select(_l.item)))
        for row in connection.execute(free.limit(k)).all():
            yield row.id, row.split == RESERVE


def _items() -> "sa.Select[Any]":
    return sa.select(_i.id, _i.split).where(_i.state == "ok", _i.id.not_in(_withdrawn()))


def _withdrawn() -> "sa.Select[Any]":
    """The items that were taken out of the pool."""
    last = sa.select(sa.func.max(_e.number)).where(_e.kind == "item").group_by(_e.item)
    return sa.select(_e.item).where(_e.number.in_(last), _e.value == "withdrawn")


def _asked(trial: int) -> "sa.Select[Any]":
    """The open requests of the newest round."""
    round = sa.select(sa.func.max(schema.rounds.c.round)).where(schema.rounds.c.trial == trial)
    query = _items().join(schema.requests, _q.item == _i.id)
    query = query.where(_q.trial == trial, _q.round == round.scalar_subquery(), _q.state == "open")
    return query.where(_undecided(trial)).order_by(_q.rank)


def _ranked(trial: int) -> "sa.Select[Any]":
    """The ranking of the newest round that has one, without the items that anything was said about."""
    r = schema.ranking.c
    round = sa.select(sa.func.max(r.round)).where(r.trial == trial)
    query = _items().join(schema.ranking, r.item == _i.id)
    query = query.where(r.trial == trial, r.round == round.scalar_subquery())
    return query.where(_untouched(trial)).order_by(r.rank)


def _in_order(trial: int) -> "sa.Select[Any]":
    """The pool in its random order, without test items and without the items that anything was said about."""
    query = _items().where(_i.key.is_not(None), sa.func.coalesce(_i.split, "") != RESERVE)
    return query.where(_untouched(trial)).order_by(_i.key)


def _undecided(trial: int) -> "sa.ColumnElement[bool]":
    """Whether an item has no label and may have one."""
    here, later = schema.events.alias().c, schema.events.alias().c
    newer = sa.select(later.number).where(later.trial == trial, later.item == here.item, later.source != VOTE)
    newer = newer.where(later.kind.in_(DECIDING), later.number > here.number)
    said = sa.select(here.item).where(here.trial == trial, here.item == _i.id, here.source != VOTE)
    return ~said.where(here.kind.in_((*LABELS, "unlabelable")), ~newer.exists()).exists()


def _untouched(trial: int) -> "sa.ColumnElement[bool]":
    said = sa.select(_e.item).where(_e.trial == trial, _e.item == _i.id)
    return ~said.where(_e.kind.in_((*LABELS, "unlabelable", "skip"))).exists()


def _skipped(trial: int) -> "sa.Select[Any]":
    """The items that were skipped or whose label was taken back, the oldest first."""
    last = sa.select(sa.func.max(_e.number)).where(_e.trial == trial, _e.kind.in_((*DECIDING, "skip")))
    query = _items().join(schema.events, _e.item == _i.id).where(_e.number.in_(last.group_by(_e.item)))
    return query.where(_e.kind.in_(("skip", "withdrawal")), _undecided(trial)).order_by(_e.number)


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")
