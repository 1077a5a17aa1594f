"""The steps of a trial from one state of a round to the next; each is one transaction."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.errors import InvalidArgument, NonFiniteScore, StoreError
from baldur.store import artefacts, checkpoint, schema
from baldur.store.database import Database
from baldur.store.events import LABELS, newest
from baldur.store.rows import Request

BEST = 1000
"""So many items of a round's ranking are stored as rows; all scores are stored as an artefact."""


@dataclass
class PhaseHandle:
    """A running phase. Recording its result ends it, in the same transaction.

    Args:
        database: The run's.
        trial: The trial's number.
        round: The round.
        phase: "label", "fit", "measure" or "choose".
        id: The number of this attempt.
    """

    database: Database = field(repr=False)
    trial: int
    round: int
    phase: str
    id: int
    _begun: float = field(default_factory=time.perf_counter, repr=False)
    _ended: bool = field(default=False, repr=False)
    _placed: list[artefacts.Placed] = field(default_factory=list, repr=False)

    def artefact(self, round: int, kind: str, suffix: str, write: Callable[[Path], None]) -> None:
        """Write a file or folder now. The end of the phase records it, in place of the last one of its kind.

        Args:
            round: The round of the artefact.
            kind: The kind of artefact, for example "scores".
            suffix: Of the file's name, such as ".npy"; "" for a folder.
            write: Called with a path that does not exist yet; creates a file or a folder there.

        Raises:
            InvalidArgument: `kind` or `suffix` cannot be part of a file's name.
            DiskFull: The disk is full.
        """
        self._placed.append(artefacts.place(self.database, self.trial, round, kind, suffix, write))

    def labelled(self) -> int:
        """Record the round's cut: the round trains on all labels that exist now.

        Returns:
            The last ledger number that the round trains on; 0 if there is none.

        Raises:
            StoreError: The trial has no such round.
        """
        with self._ending() as (connection, _):
            return record_cut(connection, self.trial, self.round)

    def fitted(self) -> None:
        """Record that the round's model is saved, and delete the checkpoint of its fit.

        A round may be fitted again (because a model was lost) until it is closed.

        Raises:
            StoreError: The round is not labelled yet, or is closed.
        """
        with self._ending() as (connection, dropped):
            if state_of(connection, self.trial, self.round) not in ("fitted", "measured"):
                advance(connection, self.trial, self.round, "labelled", "fitted")
            dropped += artefacts.drop(connection, artefacts.matching(self.trial, self.round, checkpoint.KIND))

    def measured(self, metrics: Mapping[tuple[str, str], float]) -> None:
        """Record the metrics of the round's model.

        Args:
            metrics: Values by (metric, split), as ("accuracy", "test"); NaN if undefined.

        Raises:
            StoreError: The round is not fitted, or was measured before.
        """
        key = {"trial": self.trial, "round": self.round}
        rows = [
            key | {"metric": metric, "split": split, "value": None if math.isnan(value) else float(value)}
            for (metric, split), value in metrics.items()
        ]
        with self._ending() as (connection, _):
            advance(connection, self.trial, self.round, "fitted", "measured")
            if rows:
                connection.execute(schema.metrics.insert(), rows)

    def chosen(
        self,
        requests: Sequence[Request],
        ranking: Sequence[tuple[str, float]] = (),
        keep_open: bool = False,
    ) -> None:
        """Close the round and open the next one with its requests; without requests, only close it.

        Args:
            requests: The requests of the next round.
            ranking: Items with their scores, best first; the best 1,000 are recorded.
            keep_open: Open the next round even without requests.

        Raises:
            StoreError: The round is not measured, or is closed already.
            InvalidArgument: An item is asked for twice.
            NonFiniteScore: A score is NaN or infinite.
        """
        key = {"trial": self.trial, "round": self.round}
        rows = [
            key | {"rank": rank, "item": item, "score": _finite(item, score)}
            for rank, (item, score) in enumerate(ranking[:BEST])
        ]
        with self._ending() as (connection, _):
            advance(connection, self.trial, self.round, "measured", "closed")
            if rows:
                connection.execute(schema.ranking.insert(), rows)
            if requests or keep_open:
                open_round(connection, self.trial, self.round + 1, requests)

    def end(self) -> None:
        """Record that the phase ended, if its result has not done so already."""
        if not self._ended:
            with self._ending():
                pass

    def discard(self) -> None:
        """Remove the files of a phase that failed."""
        artefacts.remove(self.database.folder, [placed.path for placed in self._placed])
        self._placed.clear()

    @contextmanager
    def _ending(self) -> Iterator[tuple[Connection, list[str]]]:
        """The transaction that ends the phase and records its artefacts.

        Yields:
            The connection, and the paths to remove after the commit.
        """
        if self._ended:
            raise StoreError(f"the phase {self.phase!r} of round {self.round} has ended already")
        dropped: list[str] = []
        with self.database.write() as connection:
            yield connection, dropped
            for placed in self._placed:
                dropped += artefacts.record(connection, placed)
            seconds = time.perf_counter() - self._begun
            phases = schema.phases
            connection.execute(phases.update().where(phases.c.id == self.id).values(seconds=seconds))
        self._ended = True
        self._placed.clear()
        artefacts.remove(self.database.folder, dropped)


def open_round(connection: Connection, trial: int, round: int, requests: Sequence[Request]) -> None:
    """Insert a round and its requests.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        round: The new round.
        requests: Its requests.

    Raises:
        InvalidArgument: An item is asked for twice.
        NonFiniteScore: A score is NaN or infinite.
    """
    items = [request.item for request in requests]
    if len(set(items)) < len(items):
        twice = next(item for i, item in enumerate(items) if item in items[:i])
        raise InvalidArgument(f"round {round} asks for {twice!r} twice; ask for each item once in a round")
    key = {"trial": trial, "round": round}
    connection.execute(schema.rounds.insert(), key | {"state": "requested", "opened": schema.now()})
    rows = [
        key | {"item": item, "rank": int(rank), "score": _finite(item, score), "state": "open"}
        for item, rank, score in requests
    ]
    if rows:
        connection.execute(schema.requests.insert(), rows)


def state_of(connection: Connection, trial: int, round: int) -> str:
    """The state of a round.

    Args:
        connection: An open transaction.
        trial: The trial's number.
        round: The round.

    Returns:
        "requested", "labelled", "fitted", "measured" or "closed".

    Raises:
        StoreError: The trial has no such round.
    """
    c = schema.rounds.c
    state = connection.execute(sa.select(c.state).where(c.trial == trial, c.round == round)).scalar()
    if state is None:
        raise StoreError(f"trial {trial} has no round {round} yet")
    return str(state)


def advance(connection: Connection, trial: int, round: int, before: str, after: str) -> None:
    """Take a round from one state to the next.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        round: The round.
        before: The state that it must have.
        after: The state that it will have.

    Raises:
        StoreError: It has another state.
    """
    state = state_of(connection, trial, round)
    if state != before:
        raise StoreError(
            f"round {round} of trial {trial} is {state!r}, so it cannot become {after!r}; it must be {before!r} first"
        )
    c = schema.rounds.c
    closed = schema.now() if after == "closed" else None
    update = schema.rounds.update().where(c.trial == trial, c.round == round)
    connection.execute(update.values(state=after, closed=closed))


def record_cut(connection: Connection, trial: int, round: int) -> int:
    """Record, once, the last ledger number that a round trains on; the round is then labelled.

    Args:
        connection: An open write transaction.
        trial: The trial's number.
        round: The round.

    Returns:
        The cut, recorded now or earlier; 0 if there is no label yet.

    Raises:
        StoreError: The trial has no such round.
    """
    if state_of(connection, trial, round) == "requested":
        advance(connection, trial, round, "requested", "labelled")
        _expire(connection, trial, round)
        c = schema.events.c
        mine = sa.or_(c.trial == trial, c.trial.is_(None))
        last = sa.select(sa.func.coalesce(sa.func.max(c.number), 0)).where(mine)
        cut = connection.execute(last).scalar_one()
        labelled = sa.select(sa.func.count()).where(c.number.in_(newest(trial)), c.kind.in_(LABELS))
        labels = connection.execute(labelled).scalar_one()
        here = (schema.rounds.c.trial == trial, schema.rounds.c.round == round)
        connection.execute(schema.rounds.update().where(*here).values(cut=cut, labels=labels))
    c = schema.rounds.c
    query = sa.select(c.cut).where(c.trial == trial, c.round == round)
    return int(connection.execute(query).scalar_one())


def _expire(connection: Connection, trial: int, round: int) -> None:
    """Close the open requests that nobody holds. A late answer is still taken."""
    c = schema.requests.c
    open_ = (c.trial == trial, c.round == round, c.state == "open")
    held = sa.select(schema.leases.c.item)
    connection.execute(schema.requests.update().where(*open_, c.item.not_in(held)).values(state="skipped"))


def _finite(item: str, score: float | None) -> float | None:
    if score is not None and not math.isfinite(score):
        raise NonFiniteScore(f"the score of {item!r} is {score}; a score must be a finite number, or None")
    return None if score is None else float(score)
