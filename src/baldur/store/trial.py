"""One trial of a run: a strategy with a seed, and its rounds.

A round is requested, labelled (its cut is recorded), fitted, measured and closed, in this order. One transaction
records the results of a phase, the round's new state and the end of the phase. So a process that is killed at any
instant leaves a round in one of these states, and only the interrupted phase is repeated.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from baldur.errors import InvalidArgument, StoreError
from baldur.store import answering, artefacts, schema
from baldur.store.checkpoint import ArtefactCheckpoint
from baldur.store.classes import Classes, classes_of, current
from baldur.store.classes import query as changes
from baldur.store.database import Database
from baldur.store.events import DECIDING, LABELS, VOTE, Event, Last, Told, last_about, newest, tell
from baldur.store.phase import PhaseHandle, advance, open_round, record_cut, state_of
from baldur.store.queue import Queue
from baldur.store.rows import LabelRow, PastRow, RankingRow, Request, Round


@dataclass(frozen=True)
class Trial:
    """A strategy with a seed, created by `Store.trial`. Every call reads the database again.

    Args:
        database: The run's.
        id: The trial's number in the run.
        strategy: The strategy's name.
        seed: The seed of this repetition.
    """

    database: Database = field(repr=False)
    id: int
    strategy: str
    seed: int

    @property
    def state(self) -> str:
        """ "running", "waiting" (for answers), "done" or "failed"."""
        return str(self._column(schema.trials.c.state))

    @property
    def reason(self) -> str:
        """The reason for the state, in words."""
        return str(self._column(schema.trials.c.reason))

    def latest(self) -> Round | None:
        """The newest round.

        Returns:
            Its number, state, cut and number of labels; None before `begin`.
        """
        c = schema.rounds.c
        query = sa.select(c.round, c.state, c.cut, c.labels).where(c.trial == self.id)
        rows = self.database.rows(query.order_by(c.round.desc()).limit(1))
        return Round(*rows[0]) if rows else None

    def begin(self, requests: Sequence[Request]) -> None:
        """Open round 0 with its requests. Beginning again with the same requests does nothing.

        Args:
            requests: The initial set.

        Raises:
            StoreError: Round 0 exists with other requests.
        """
        r = schema.requests.c
        there = sa.select(r.item, r.rank).where(r.trial == self.id, r.round == 0)
        with self.database.write() as connection:
            rounds = sa.select(schema.rounds.c.round).where(schema.rounds.c.trial == self.id)
            if connection.execute(rounds.limit(1)).first() is None:
                open_round(connection, self.id, 0, requests)
            elif {tuple(row) for row in connection.execute(there)} != {(q.item, q.rank) for q in requests}:
                raise StoreError(
                    f"the trial {self.strategy!r}, seed {self.seed}, was begun with other initial items; "
                    "choose another folder for a new run"
                )

    @contextmanager
    def phase(self, round: int, phase: str) -> Iterator[PhaseHandle]:
        """Time a phase and set the trial to "running". An exception leaves the phase without an end.

        Args:
            round: The round.
            phase: "label", "fit", "measure" or "choose".

        Yields:
            The handle, which records the phase's result and its end in one transaction. A phase without a
            recorded result just ends.

        Raises:
            StoreError: The trial has no such round.
        """
        row = {"trial": self.id, "round": round, "phase": phase, "started": schema.now()}
        with self.database.write() as connection:
            state_of(connection, self.id, round)
            number = connection.execute(
                schema.phases.insert().returning(schema.phases.c.id), row
            ).scalar_one()
            self._set(connection, "running", "")
        handle = PhaseHandle(self.database, self.id, round, phase, number)
        try:
            yield handle
            handle.end()
        except BaseException:
            handle.discard()
            raise

    def cut(self, round: int) -> int:
        """The last ledger number that a round trains on. The first call records it; it never changes.

        Args:
            round: The round, which becomes "labelled".

        Returns:
            A ledger number; 0 if there is no label yet.

        Raises:
            StoreError: The trial has no such round.
        """
        with self.database.write() as connection:
            return record_cut(connection, self.id, round)

    @property
    def queue(self) -> Queue:
        """The queue of the items that people label."""
        return Queue(self.database, self.id)

    def classes(self, cut: int | None = None) -> Classes:
        """The classes of the run, after the changes of people.

        Args:
            cut: The last event number that counts; None for all.

        Returns:
            The classes.
        """
        begun = self.database.rows(sa.select(schema.run.c.classes))[0].classes
        return classes_of(begun, self.database.rows(changes(cut)))

    def labels(self, cut: int | None = None) -> list[LabelRow]:
        """The current label of each item of this trial, in ledger order.

        Args:
            cut: The last ledger number that counts; None for all.

        Returns:
            One row for each item: the newest event about it, with the present name of its class.
        """
        c = schema.events.c
        query = sa.select(c.item, c.value, sa.func.coalesce(c.round, 0), c.annotator, c.number)
        query = query.where(c.number.in_(newest(self.id, cut)), c.kind.in_(LABELS))
        rows = [LabelRow(*row) for row in self.database.rows(query.order_by(c.number))]
        classes = self.classes(cut)
        if not classes.changes:
            return rows
        return [row._replace(value=classes.now(row.value, row.number)) for row in rows]

    def ranks(self) -> dict[tuple[int, str], int]:
        """The ranks of all requests.

        Returns:
            By round and item.
        """
        c = schema.requests.c
        query = sa.select(c.round, c.item, c.rank).where(c.trial == self.id)
        return {(row.round, row.item): row.rank for row in self.database.rows(query)}

    def left_out(self, cut: int | None = None) -> set[str]:
        """The items that cannot be labelled, as annotators said, and those that were taken out of the pool.

        Args:
            cut: The last ledger number that counts; None for all.

        Returns:
            Item ids.
        """
        c = schema.events.c
        unlabelable = sa.select(c.item).where(c.number.in_(newest(self.id, cut)), c.kind == "unlabelable")
        last = sa.select(sa.func.max(c.number)).where(c.kind == "item")
        last = (last if cut is None else last.where(c.number <= cut)).group_by(c.item)
        withdrawn = sa.select(c.item).where(c.number.in_(last), c.value == "withdrawn")
        return {row.item for query in (unlabelable, withdrawn) for row in self.database.rows(query)}

    def added(self, cut: int | None = None) -> int:
        """The number of the newest event that added an item to the pool.

        Args:
            cut: The last event number that counts; None for all.

        Returns:
            The number; 0 if there is none.
        """
        c = schema.events.c
        query = sa.select(sa.func.coalesce(sa.func.max(c.number), 0)).where(
            c.kind == "item", c.value == "added"
        )
        return int(self.database.rows(query if cut is None else query.where(c.number <= cut))[0][0])

    def skipped(self, cut: int | None = None) -> set[str]:
        """The items that were put off and have no label.

        Args:
            cut: The last ledger number that counts; None for all.

        Returns:
            Item ids.
        """
        c = schema.events.c
        last = sa.select(sa.func.max(c.number)).where(c.trial == self.id, c.kind.in_((*DECIDING, "skip")))
        last = (last if cut is None else last.where(c.number <= cut)).where(c.source != VOTE).group_by(c.item)
        query = sa.select(c.item).where(c.number.in_(last), c.kind == "skip")
        labelled = {row.item for row in self.labels(cut)}
        return {row.item for row in self.database.rows(query)} - labelled

    def cut_of(self, round: int) -> int | None:
        """The cut of a round.

        Args:
            round: The round.

        Returns:
            The last ledger number that it trains on; None before it is labelled.
        """
        c = schema.rounds.c
        rows = self.database.rows(sa.select(c.cut).where(c.trial == self.id, c.round == round))
        return rows[0].cut if rows else None

    def newest(self) -> int:
        """The number of the newest event of the run.

        Returns:
            The number; 0 if there is none.
        """
        return int(
            self.database.rows(sa.select(sa.func.coalesce(sa.func.max(schema.events.c.number), 0)))[0][0]
        )

    def see(self, round: int) -> int:
        """The last event number that counts when a round chooses. The first call records it; it never changes.

        Args:
            round: The round.

        Returns:
            An event number.
        """
        c, e = schema.rounds.c, schema.events.c
        this = (c.trial == self.id, c.round == round)
        with self.database.write() as connection:
            seen = connection.execute(sa.select(c.seen).where(*this)).scalar()
            if seen is None:
                mine = sa.or_(e.trial == self.id, e.trial.is_(None))
                last = sa.select(sa.func.coalesce(sa.func.max(e.number), 0)).where(mine)
                seen = connection.execute(last).scalar_one()
                connection.execute(schema.rounds.update().where(*this).values(seen=seen))
        return int(seen)

    def touched(self, round: int) -> set[str]:
        """The items that cannot be chosen by a round, because of events since its cut.

        They have a label by now, cannot have one, or were skipped since the round before chose.

        Args:
            round: The round, after `see`.

        Returns:
            Item ids.
        """
        c, e = schema.rounds.c, schema.events.c
        seen = dict(self.database.rows(sa.select(c.round, c.seen).where(c.trial == self.id)))
        until, before = seen[round], seen.get(round - 1) or 0
        skipped = sa.select(e.item).where(
            e.trial == self.id, e.kind == "skip", e.number > before, e.number <= until
        )
        labelled = sa.select(e.item).where(e.number.in_(newest(self.id, until)), e.kind.in_(LABELS))
        some = {row.item for query in (skipped, labelled) for row in self.database.rows(query)}
        return some | self.left_out(until)

    def tell(self, events: Sequence[Event]) -> Told:
        """Append events of annotators in one transaction. Events that cannot be believed are refused, with a reason.

        Args:
            events: The events, in order. An event that was sent before adds nothing.

        Returns:
            The fate of each event.
        """
        with self.database.write() as connection:
            return tell(connection, self.id, events)

    def last(self, items: Sequence[str]) -> dict[str, Last]:
        """The newest deciding event about each of some items.

        Args:
            items: The items.

        Returns:
            By item, the event with the present name of its class; nothing for items that nobody decided about.
        """
        with self.database.snapshot() as connection:
            found, classes = last_about(connection, self.id, items), current(connection)
        return {i: one._replace(value=classes.now(one.value, one.number)) for i, one in found.items()}

    def said(self, source: str) -> dict[str, str]:
        """The newest label of each item that arrived in one way, also if it is not the current one any more.

        Args:
            source: The source of the labels, such as "oracle".

        Returns:
            Class names by item id.
        """
        c = schema.events.c
        query = sa.select(c.item, c.value).where(c.trial == self.id, c.source == source, c.kind.in_(LABELS))
        return {row.item: row.value for row in self.database.rows(query.order_by(c.number))}

    def votes(self) -> dict[str, dict[str, str]]:
        """The answers of each annotator, if labels are the majority of several answers.

        Returns:
            By annotator, class names by item id; the newest answer counts.
        """
        c = schema.events.c
        query = sa.select(c.annotator, c.item, c.value).where(c.trial == self.id, c.source == VOTE)
        said: dict[str, dict[str, str]] = {}
        for row in self.database.rows(query.order_by(c.number)):
            said.setdefault(row.annotator, {})[row.item] = row.value
        return said

    def open_requests(self, round: int) -> list[str]:
        """The items of a round that are not answered yet.

        Args:
            round: The round.

        Returns:
            Item ids, in the order of their rank.
        """
        c = schema.requests.c
        query = sa.select(c.item).where(c.trial == self.id, c.round == round, c.state == "open")
        return [row.item for row in self.database.rows(query.order_by(c.rank, c.item))]

    def answer(
        self,
        round: int,
        answers: Mapping[str, str],
        annotator: str,
        source: str = "oracle",
        votes: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        """Append answers to the ledger and close their requests, all or none.

        The event's id is a function of (trial, round, item, annotator), so a repeated answer adds nothing.

        Args:
            round: The round that asked.
            answers: Class names by item id.
            annotator: The name of the annotator.
            source: The source of the answers.
            votes: The single answers behind a majority: by annotator, class names by item id.

        Raises:
            StoreError: The round did not ask for an item, or this annotator gave another answer before.
            InvalidLabel: An answer is not one of the run's classes.
        """
        with self.database.write() as connection:
            answering.answer(connection, self.id, round, answers, annotator, source, votes or {})

    def correct(self, labels: Mapping[str, str], annotator: str) -> None:
        """Append corrections to the ledger, all or none. The next cut has them; earlier cuts stay as they are.

        A correction is a newer event about an item that has a label. One that changes nothing adds nothing.

        Args:
            labels: The right class names, by item id.
            annotator: The name of the annotator.

        Raises:
            StoreError: An item has no label yet.
            InvalidLabel: A correction is not one of the run's classes.
        """
        with self.database.write() as connection:
            answering.correct(connection, self.id, labels, annotator)

    def metric(self, round: int, name: str, split: str = "test") -> float:
        """One metric of a round.

        Args:
            round: The round.
            name: The metric.
            split: The part of the data that it was measured on.

        Returns:
            The value; NaN if it is undefined or was not measured.
        """
        c = schema.metrics.c
        this = (c.trial == self.id, c.round == round, c.metric == name, c.split == split)
        rows = self.database.rows(sa.select(c.value).where(*this))
        return math.nan if not rows or rows[0].value is None else float(rows[0].value)

    def past(self) -> list[PastRow]:
        """Every labelled round, with its metrics and the scores of its batch.

        Returns:
            One row for each round, the oldest first; an undefined metric is NaN, and an initial item has no score.
        """
        r, m, q = schema.rounds.c, schema.metrics.c, schema.requests.c
        rounds = (
            sa.select(r.round, r.labels).where(r.trial == self.id, r.labels.is_not(None)).order_by(r.round)
        )
        past = {row.round: PastRow(row.round, row.labels, {}, ()) for row in self.database.rows(rounds)}
        for row in self.database.rows(
            sa.select(m.round, m.metric, m.split, m.value).where(m.trial == self.id)
        ):
            past[row.round].metrics[row.metric, row.split] = math.nan if row.value is None else row.value
        scored = sa.select(q.round, q.score).where(q.trial == self.id, q.score.is_not(None))
        rows = self.database.rows(scored.order_by(q.round, q.rank))
        for round, scores in groupby(rows, key=lambda row: row.round):
            if round in past:
                past[round] = past[round]._replace(scores=tuple(row.score for row in scores))
        return list(past.values())

    def ranking(self, round: int) -> list[RankingRow]:
        """The best items of a round's pool, as `PhaseHandle.chosen` recorded them.

        Args:
            round: The round.

        Returns:
            At most 1,000 rows, best first.
        """
        c = schema.ranking.c
        query = sa.select(c.rank, c.item, c.score).where(c.trial == self.id, c.round == round)
        return [RankingRow(*row) for row in self.database.rows(query.order_by(c.rank))]

    def artefact(self, round: int | None, kind: str, suffix: str, write: Callable[[Path], None]) -> Path:
        """Write a file and record it; it replaces the last one of this round and kind.

        Args:
            round: Its round, or None for the whole trial.
            kind: The kind of artefact, for example "scores".
            suffix: Of the file's name, such as ".npy".
            write: Called with a path that does not exist yet; creates the file there.

        Returns:
            The path of the file.

        Raises:
            InvalidArgument: `kind` or `suffix` cannot be part of a file's name.
            DiskFull: The disk is full; the last file of this kind is unchanged.
        """
        return artefacts.keep(self.database, self.id, round, kind, suffix, write)

    def artefact_folder(self, round: int | None, kind: str, write: Callable[[Path], None]) -> Path:
        """Write a folder of files and record it as one artefact.

        Args:
            round: Its round, or None for the whole trial.
            kind: The kind of artefact, for example "posterior".
            write: Called with an empty folder, which it fills.

        Returns:
            The path of the folder.

        Raises:
            InvalidArgument: `kind` cannot be part of a file's name.
            DiskFull: The disk is full; the last folder of this kind is unchanged.
        """

        def fill(folder: Path) -> None:
            folder.mkdir()
            write(folder)

        return artefacts.keep(self.database, self.id, round, kind, "", fill)

    def find(self, round: int | None, kind: str) -> Path | None:
        """The file or folder of this round and kind, verified against its recorded SHA-256.

        Args:
            round: Its round, or None for the whole trial.
            kind: The kind of artefact.

        Returns:
            Its path; None if there is none.

        Raises:
            DamagedArtefact: It is missing, cut short or altered.
        """
        return artefacts.find(self.database, self.id, round, kind)

    def incident(self, round: int, what: str) -> None:
        """Record a problem that the run recovered from.

        Args:
            round: The round.
            what: A sentence.
        """
        with self.database.write() as connection:
            connection.execute(schema.incident(self.id, round, what))

    def forget(self, kind: str, before: int) -> None:
        """Delete the artefacts of one kind from older rounds.

        Args:
            kind: The kind of artefact, for example "posterior".
            before: The artefacts of this round and of later ones stay.
        """
        c = schema.artefacts.c
        older = sa.and_(c.trial == self.id, c.kind == kind, c.round < before)
        if not self.database.rows(sa.select(c.id).where(older).limit(1)):
            return
        with self.database.write() as connection:
            dropped = artefacts.drop(connection, older)
        artefacts.remove(self.database.folder, dropped)

    def checkpoint(self, round: int) -> ArtefactCheckpoint:
        """The checkpoint of a round's fit; `PhaseHandle.fitted` deletes it.

        Args:
            round: The round.

        Returns:
            A `baldur.protocols.Checkpoint`.
        """
        return ArtefactCheckpoint(self.database, self.id, round)

    def finish(self, state: str, reason: str) -> None:
        """End work on the trial, for now or for good; "done" closes its last round.

        Args:
            state: "waiting", "done" or "failed".
            reason: Why, in words.

        Raises:
            InvalidArgument: There is no such state.
            StoreError: The state is "done", but the last round is not measured.
        """
        if state not in ("waiting", "done", "failed"):
            raise InvalidArgument(f"the state must be 'waiting', 'done' or 'failed', not {state!r}")
        c = schema.rounds.c
        last = sa.select(c.round).where(c.trial == self.id, c.state != "closed").order_by(c.round.desc())
        with self.database.write() as connection:
            round = connection.execute(last.limit(1)).scalar() if state == "done" else None
            if round is not None:
                advance(connection, self.id, round, "measured", "closed")
            self._set(connection, state, reason)

    def reopen(self) -> None:
        """Open the last round of a finished trial, so that more rounds can follow; otherwise do nothing."""
        c = schema.rounds.c
        last = sa.select(sa.func.max(c.round)).where(c.trial == self.id).scalar_subquery()
        closed = (c.trial == self.id, c.round == last, c.state == "closed")
        with self.database.write() as connection:
            if connection.execute(schema.rounds.update().where(*closed).values(state="measured")).rowcount:
                self._set(connection, "waiting", "to go on")

    def _column(self, column: "sa.Column[str]") -> str:
        rows = self.database.rows(sa.select(column).where(schema.trials.c.id == self.id))
        return str(rows[0][0])

    def _set(self, connection: Connection, state: str, reason: str) -> None:
        update = schema.trials.update().where(schema.trials.c.id == self.id)
        connection.execute(update.values(state=state, reason=reason))
