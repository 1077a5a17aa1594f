"""The store of a run: everything that has happened, in one folder."""

import math
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from baldur.errors import InvalidArgument, RunBusy, StoreError
from baldur.store import artefacts, backup, locks, place, pool, schema
from baldur.store.classes import Classes, Verb, change, classes_of
from baldur.store.classes import query as changes
from baldur.store.database import Database, make_tables, revision_of, upsert, without_collection
from baldur.store.events import LABELS, newest
from baldur.store.rows import (
    ArtefactRow,
    CurrentLabel,
    IncidentRow,
    ItemPlace,
    ItemRecord,
    LedgerRow,
    MetricRow,
    PhaseRow,
    RequestRow,
)
from baldur.store.trial import Trial

_trials = schema.trials.c

_AT_ONCE = 500  # values in one statement

_MIGRATION = 5.0
"""Seconds to wait for another process that updates an older run."""

_PATIENCE = 60.0
"""Seconds to wait for processes whose parent was killed; they end by themselves within one."""


class Store:
    """A run's folder and database. `Store.create` and `Store.open` return one; it is a context manager."""

    def __init__(self, database: Database) -> None:
        row = database.rows(sa.select(schema.run))[0]
        self._database = database
        self._held: set[str] = set()
        self.folder = database.folder
        self.created: str = row.created
        self.settings: str = row.settings
        self.classes: tuple[str, ...] = classes_of(row.classes, database.rows(changes())).names
        self.first_classes: tuple[str, ...] = tuple(row.classes)
        self.seed: int | None = row.seed
        self.frontier: int | None = row.frontier
        self.preprocessing: dict[str, Any] = dict(row.preprocessing)

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        settings: str,
        classes: Sequence[str],
        preprocessing: Mapping[str, Any] = MappingProxyType({}),
        seed: int | None = None,
        frontier: int | None = None,
        url: str | None = None,
    ) -> "Store":
        """Begin a run in a folder.

        Args:
            folder: The run's folder; created if needed.
            settings: TOML text; also written to `settings.toml`.
            classes: The names of the classes, in the order of their indices.
            preprocessing: The steps from items to the network's input; anything that JSON can hold.
            seed: The seed of the random order of the items, for a run in which people label.
            frontier: Items whose key is at least this number are test items.
            url: Of a PostgreSQL database, as `postgresql://user@host/name`; the run gets a schema of its own there.
                None for `baldur.db` in the folder.

        Returns:
            The open store.

        Raises:
            StoreError: There is a run already, the folder cannot be written to or is on a network file system, or the
                server cannot be used.
            InvalidSettings: The URL is not valid.
            InvalidArgument: A class is named twice.
            DiskFull: The disk is full.
        """
        if len(set(classes)) < len(classes):
            raise InvalidArgument(f"each class needs a name of its own, but the classes are {list(classes)}")
        if folder.exists() and not folder.is_dir():
            raise StoreError(f"{folder} is a file; a run needs a folder")
        at = place.choose(folder, url)
        with artefacts.room(folder):
            (folder / artefacts.FOLDER).mkdir(parents=True, exist_ok=True)
        with closing(Database(folder, at=at)) as tried, artefacts.room(folder):
            tried.try_out()
            at = place.claim(folder, at)
        database = Database(folder, at=at)
        try:
            with database.write() as connection:
                if revision_of(connection) is not None:
                    raise StoreError(f"there is a run in {folder} already; open it, or choose another folder")
                make_tables(connection, at)
                row = {"id": 1, "created": schema.now(), "settings": settings, "classes": list(classes)}
                row |= {"preprocessing": dict(preprocessing), "seed": seed, "frontier": frontier}
                connection.execute(schema.run.insert(), row)
                artefacts.write_text(database.folder / backup.SETTINGS, settings)
            return cls(database)
        except BaseException:
            database.close()
            raise

    @staticmethod
    def try_out(folder: Path, url: str) -> None:
        """Check that a new run can be kept at a URL, before anything that takes long.

        Args:
            folder: The run's folder.
            url: As in `create`.

        Raises:
            StoreError: The server does not answer, or the user may not make a schema there.
            InvalidSettings: The URL is not valid, or the folder belongs to a run elsewhere.
        """
        with closing(Database(folder, at=place.choose(folder, url))) as database:
            database.try_out()

    @classmethod
    def open(cls, folder: Path, *, url: str | None = None) -> "Store":
        """Open a run, migrating its database if an older version of Baldur wrote it.

        Args:
            folder: The run's folder.
            url: Of its database, if it needs a password that is neither in PGPASSWORD nor in ~/.pgpass.

        Returns:
            The open store.

        Raises:
            RunNotFound: There is no run.
            NewerStore: A newer version of Baldur wrote it; nothing is changed.
            RunBusy: An older version wrote it, and a process still works on it.
            StoreError: The database is damaged, or is not that of a run.
        """
        database = Database(folder, url)
        try:
            _bring_up_to_date(database)
            return cls(database)
        except BaseException:
            database.close()
            raise

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def discard(self) -> None:
        """Delete the record of the run, and close the store. The artefacts and all other files stay.

        Raises:
            StoreError: Another process uses the record.
        """
        self._database.discard()

    @contextmanager
    def lock(self, role: str, token: int | None = None) -> Iterator[None]:
        """Be the only process with a role on this run; the lock ends with the process.

        On a server, the lock also ends with the connection that holds it. Another process may then become the
        trainer, and every later write of this store raises `RunBusy`.

        Args:
            role: A word such as "trainer".
            token: That of the trainer for whom this process works, if it is not the trainer itself.

        Yields:
            Nothing.

        Raises:
            RunBusy: Another process has the role.
        """
        with locks.hold(self._database, role):
            self._held.add(role)
            try:
                if role == "trainer":
                    self._database.become_trainer()
                elif token is not None:
                    self._database.token = token
                yield
            finally:
                self._held.discard(role)
                if role == "trainer" or token is not None:
                    self._database.token = None

    @property
    def url(self) -> str | None:
        """The URL of the database, with its password, for another process; None if the database is in the folder."""
        at = self._database.place
        return None if at == place.inside(self.folder) else at.url.render_as_string(hide_password=False)

    @property
    def token(self) -> int | None:
        """The number of the trainer for whom this store writes; None in a folder, or without a lock."""
        return self._database.token

    def is_held(self, role: str) -> bool:
        """Whether some process has a role on this run at this instant.

        Args:
            role: For example "trainer".

        Returns:
            True if a process has it.
        """
        return locks.is_held(self._database, role)

    def wait_for(self, role: str, message: Callable[[str], None]) -> None:
        """Wait until no process has a role of one kind any more.

        Args:
            role: "job" for "job-0", "job-1", ...
            message: Told that there is something to wait for.

        Raises:
            RunBusy: A process still has such a role after a minute.
        """
        end = time.monotonic() + _PATIENCE
        told = False
        while busy := locks.held(self._database, role):
            if not told:
                message(f"waiting for processes of {self.folder} that are about to end: {', '.join(busy)}")
                told = True
            if time.monotonic() > end:
                raise RunBusy(
                    f"{', '.join(busy)} of {self.folder} still run after {_PATIENCE:.0f} s; end these processes "
                    "(nothing is lost by that), and start again"
                )
            time.sleep(0.1)

    @property
    def options(self) -> dict[str, Any]:
        """The settings by name, whatever sections their text has; none if the text is not TOML."""
        try:
            told = tomllib.loads(self.settings)
        except tomllib.TOMLDecodeError:
            return {}
        sections = [value for value in told.values() if isinstance(value, dict)]
        plain = {name: value for name, value in told.items() if not isinstance(value, dict)}
        return {name: value for section in (plain, *sections) for name, value in section.items()}

    def sweep(self) -> list[str]:
        """Remove the leftovers of a killed process: files without a row, and rows whose files were deleted.

        Only the trainer writes artefacts, so only the holder of its lock may call this.

        Returns:
            The removed paths, relative to the run.

        Raises:
            StoreError: This store does not hold the lock "trainer".
        """
        if "trainer" not in self._held:
            raise StoreError("sweep() needs lock('trainer'): another process may be writing its files now")
        table = schema.artefacts
        rows = self._database.rows(sa.select(table.c.path, table.c.trial, table.c.round))
        paths = [(row, self.folder / row.path) for row in rows]
        gone = [row for row, path in paths if path.parent.exists() and not path.exists()]
        if gone:
            with self._database.write() as connection:
                artefacts.drop(connection, table.c.path.in_([row.path for row in gone]))
                for row in gone:
                    what = f"{row.path} was no longer there, so its record was deleted"
                    connection.execute(schema.incident(row.trial, row.round, what))
        unnamed = artefacts.unnamed(self.folder, {row.path for row in rows})
        artefacts.remove(self.folder, unnamed)
        return unnamed + [row.path for row in gone]

    def read_settings(self) -> str:
        """The settings as they are now. Another process may have changed them since the store was opened.

        Returns:
            TOML text.
        """
        self.settings = str(self._database.rows(sa.select(schema.run.c.settings))[0].settings)
        return self.settings

    def all_classes(self) -> tuple[str, ...]:
        """The classes that the run began with, and then all names that were given to classes later.

        Returns:
            Names, also of classes that were renamed or merged since.
        """
        return tuple(
            dict.fromkeys((*self.first_classes, *(change.new for change in self._classes().changes)))
        )

    def change_settings(self, settings: str) -> None:
        """Change the settings of the run.

        If somebody edited `settings.toml`, which the run does not read, that file becomes `settings-edited-1.toml`.

        Args:
            settings: TOML text; also written to `settings.toml`.
        """
        path = self.folder / backup.SETTINGS
        if path.exists() and path.read_bytes() not in (self.settings.encode(), settings.encode()):
            number = 1
            while (kept := path.with_name(f"{path.stem}-edited-{number}{path.suffix}")).exists():
                number += 1
            path.rename(kept)
        with self._database.write() as connection:
            connection.execute(schema.run.update().values(settings=settings))
            artefacts.write_text(self.folder / backup.SETTINGS, settings)
        self.settings = settings

    def record_start(self, environment: Mapping[str, Any]) -> None:
        """Record that a process starts working on the run.

        Args:
            environment: "versions", "threads", "device", ...; anything that JSON can hold.
        """
        with self._database.write() as connection:
            row = {"time": schema.now(), "environment": dict(environment)}
            connection.execute(schema.starts.insert(), row)

    def starts(self) -> list[dict[str, Any]]:
        """Every start of a process, oldest first.

        Returns:
            The recorded environments, each with its "time".
        """
        rows = self._database.rows(sa.select(schema.starts).order_by(schema.starts.c.id))
        return [{"time": row.time, **row.environment} for row in rows]

    def record_items(self, records: Iterable[ItemRecord]) -> None:
        """Record items of the pool, or overwrite their records, except for `key` and `since`.

        Each transaction has some thousands of items, so nobody waits long for the database. If the process is killed in
        between, the first items are recorded.

        Args:
            records: One record for each item; only some are held in memory at a time.
        """
        kept = {"id", "key", "since"}
        changed = [column.name for column in schema.items.columns if column.name not in kept]
        records = iter(records)
        while rows := [vars(r) | {"grp": r.group} for r in islice(records, pool.CHUNK)]:
            with self._database.write() as connection:
                upsert(connection, schema.items, rows, changed)

    def change_classes(
        self, verb: Verb, old: Sequence[str], new: str, annotator: str, event: str | None = None
    ) -> Classes:
        """Add, rename or merge classes. Labels keep the name that was told, and are read through the change.

        Args:
            verb: "add" a class, "rename" one, or "merge" several into one.
            old: The names that are replaced.
            new: The name afterwards. The name of a merged class may be one of the old ones.
            annotator: The name of the annotator.
            event: The client's id of the event; the same event a second time changes nothing.

        Returns:
            The classes afterwards.

        Raises:
            InvalidArgument: A name is unknown, empty or taken.
        """
        with self._database.write() as connection:
            after = change(connection, event or str(uuid4()), annotator, verb, old, new)
        self.classes = after.names
        return after

    def add_items(self, records: Sequence[ItemRecord], annotator: str) -> list[str]:
        """Add items to the pool. Items that are there already stay as they are.

        Args:
            records: One record for each item.
            annotator: Who adds them.

        Returns:
            The ids of the new items.
        """
        new = []
        for start in range(0, len(records), pool.CHUNK):
            with self._database.write() as connection:
                new += pool.add(connection, records[start : start + pool.CHUNK], annotator)
        return new

    def withdraw_items(self, items: Sequence[str], annotator: str, back: bool = False) -> None:
        """Take items out of the pool, or put them back. Their labels stay in the ledger.

        Args:
            items: The items.
            annotator: Who does so.
            back: Put them back.

        Raises:
            InvalidArgument: There is no such item.
        """
        with self._database.write() as connection:
            (pool.restore if back else pool.withdraw)(connection, items, annotator)

    def move_items(self, records: Iterable[ItemRecord]) -> None:
        """Record where items are now; their other facts stay unchanged.

        Args:
            records: One record for each item.
        """
        records = iter(records)
        while rows := [vars(r) | {"grp": r.group} for r in islice(records, pool.CHUNK)]:
            with self._database.write() as connection:
                upsert(connection, schema.items, rows, ("path", "part", "mtime_ns"))

    def mark_items(self, records: Iterable[ItemRecord]) -> None:
        """Record only the state of items and its reason; their other facts stay unchanged.

        Args:
            records: One record for each item.
        """
        rows = [vars(record) | {"grp": record.group} for record in records]
        with self._database.write() as connection:
            upsert(connection, schema.items, rows, ("state", "reason"))

    def items(self, state: str | None = None) -> dict[str, ItemRecord]:
        """The recorded facts of the items.

        Args:
            state: Only items in this state, for example "quarantined"; None for all.

        Returns:
            Records by item id, in the order of their positions.
        """
        c = schema.items.c
        query = sa.select(schema.items).order_by(c.position, c.id)
        rows = self._database.rows(query if state is None else query.where(c.state == state))
        return {row.id: ItemRecord(*row) for row in rows}

    def item(self, id: str) -> ItemRecord | None:
        """The recorded facts of one item.

        Args:
            id: The item.

        Returns:
            Its record; None if there is no such item.
        """
        row = next(iter(self._database.rows(sa.select(schema.items).where(schema.items.c.id == id))), None)
        return None if row is None else ItemRecord(*row)

    def count_items(self, state: str | None = None) -> int:
        """The number of recorded items.

        Args:
            state: Only items in this state, for example "quarantined"; None for all.

        Returns:
            A number.
        """
        query = sa.select(sa.func.count()).select_from(schema.items)
        query = query if state is None else query.where(schema.items.c.state == state)
        return int(self._database.rows(query)[0][0])

    def pool_ids(self) -> list[str]:
        """The ids of the pool, in the order of their positions, also of items that were withdrawn or became unreadable.

        Test items, and items that could not be used when they were first read, have no position.

        Returns:
            Item ids.
        """
        c = schema.items.c
        rows = self._database.tuples(sa.select(c.id).where(c.position.is_not(None)).order_by(c.position))
        return [id for (id,) in rows]

    def files(self) -> dict[str, tuple[str | None, int, int]]:
        """The recorded facts of the files of items, to notice changed files.

        Returns:
            For each item that is a file: the SHA-256 of its content, its size in bytes, and its modification time.
        """
        c = schema.items.c
        query = sa.select(c.id, c.sha256, c.size, c.mtime_ns)
        with without_collection():
            rows = self._database.tuples(query.where(c.size.is_not(None), c.mtime_ns.is_not(None)))
            return {id: (sha256, size, mtime_ns) for id, sha256, size, mtime_ns in rows}

    def places(self) -> list[ItemPlace]:
        """The places of all usable items in the random order of the run.

        Returns:
            One row for each item, in the order of their positions.
        """
        c = schema.items.c
        query = sa.select(c.id, c.split, c.key, c.since).where(c.state == "ok").order_by(c.position, c.id)
        with without_collection():
            return [ItemPlace(*row) for row in self._database.tuples(query)]

    def some_items(self, ids: Sequence[str]) -> dict[str, ItemRecord]:
        """The recorded facts of a few items.

        Args:
            ids: The items.

        Returns:
            Records by item id, of the items that the run has.
        """
        found: dict[str, ItemRecord] = {}
        for start in range(0, len(ids), _AT_ONCE):
            query = sa.select(schema.items).where(schema.items.c.id.in_(ids[start : start + _AT_ONCE]))
            found |= {row.id: ItemRecord(*row) for row in self._database.rows(query)}
        return found

    def trial(self, strategy: str, seed: int) -> Trial:
        """The trial of a strategy with a seed; created if needed.

        Args:
            strategy: The name of the strategy.
            seed: The seed of the repetition.

        Returns:
            The trial.
        """
        this = (_trials.strategy == strategy, _trials.seed == seed)
        with self._database.write() as connection:
            number = connection.execute(sa.select(_trials.id).where(*this)).scalar()
            if number is None:
                row = {"strategy": strategy, "seed": seed, "state": "running", "reason": ""}
                number = connection.execute(schema.trials.insert().returning(_trials.id), row).scalar_one()
        return Trial(self._database, number, strategy, seed)

    def trials(self) -> list[Trial]:
        """All trials, in the order of their creation.

        Returns:
            The trials.
        """
        rows = self._database.rows(sa.select(_trials.id, _trials.strategy, _trials.seed).order_by(_trials.id))
        return [Trial(self._database, *row) for row in rows]

    def metrics(self, split: str | None = None) -> list[MetricRow]:
        """The learning curves.

        Args:
            split: Only of this split, for example "test"; None for all.

        Returns:
            Rows ordered by strategy, seed, round, split and metric.
        """
        m, r = schema.metrics.c, schema.rounds.c
        query = sa.select(_trials.strategy, _trials.seed, m.round, r.labels, m.metric, m.split, m.value)
        query = query.join_from(schema.metrics, schema.trials, m.trial == _trials.id)
        query = query.join(schema.rounds, sa.and_(r.trial == m.trial, r.round == m.round))
        if split is not None:
            query = query.where(m.split == split)
        query = query.order_by(_trials.strategy, _trials.seed, m.round, m.split, m.metric)
        rows = self._database.rows(query)
        return [MetricRow(*row)._replace(value=math.nan if row.value is None else row.value) for row in rows]

    def phases(self) -> list[PhaseRow]:
        """Every attempt at every phase, in the order in which they began.

        Returns:
            One row for each attempt; an interrupted phase has another row for each further attempt.
        """
        p = schema.phases.c
        query = sa.select(_trials.strategy, _trials.seed, p.round, p.phase, p.started, p.seconds)
        query = query.join_from(schema.phases, schema.trials, p.trial == _trials.id).order_by(p.id)
        return [PhaseRow(*row) for row in self._database.rows(query)]

    def requests(self) -> list[RequestRow]:
        """All requests, with the current labels.

        Returns:
            Rows ordered by strategy, seed, round and rank.
        """
        r, e = schema.requests.c, schema.events.c
        query = sa.select(
            _trials.strategy, _trials.seed, r.round, r.rank, r.item, r.score, r.state, e.value, e.number
        )
        query = query.join_from(schema.requests, schema.trials, r.trial == _trials.id)
        this = sa.and_(e.trial == r.trial, e.item == r.item, e.number.in_(newest()), e.kind.in_(LABELS))
        query = query.outerjoin(schema.events, this)
        query = query.order_by(_trials.strategy, _trials.seed, r.round, r.rank, r.item)
        now = self._classes().now
        return [
            RequestRow(*row[:-1])._replace(label=row.value and now(row.value, row.number))
            for row in self._database.rows(query)
        ]

    def ledger(self) -> list[LedgerRow]:
        """Every event of the ledger, in order.

        Returns:
            One row for each event.
        """
        e = schema.events.c
        query = sa.select(
            *(e.number, e.event, _trials.strategy, _trials.seed, e.item, e.annotator, e.value, e.time),
            *(e.round, e.supersedes, e.source, e.kind, e.purpose),
        )
        query = query.join_from(schema.events, schema.trials, e.trial == _trials.id, isouter=True)
        query = query.order_by(e.number)
        return [LedgerRow(*row) for row in self._database.rows(query)]

    def labels(self) -> list[CurrentLabel]:
        """The current labels of all trials, in ledger order.

        Returns:
            One row for each item of each trial: the newest event about it.
        """
        e = schema.events.c
        query = sa.select(
            _trials.strategy, _trials.seed, e.item, e.value, e.annotator, e.time, e.round, e.number
        )
        query = query.join_from(schema.events, schema.trials, e.trial == _trials.id)
        rows = self._database.rows(query.where(e.number.in_(newest()), e.kind.in_(LABELS)).order_by(e.number))
        now = self._classes().now
        return [CurrentLabel(*row[:-1])._replace(value=now(row.value, row.number)) for row in rows]

    def _classes(self) -> Classes:
        begun = self._database.rows(sa.select(schema.run.c.classes))[0].classes
        return classes_of(begun, self._database.rows(changes()))

    def artefacts(self, kind: str | None = None) -> list[ArtefactRow]:
        """The files and folders that the run keeps.

        Args:
            kind: Only of this kind; None for all.

        Returns:
            Rows in the order in which they were recorded.
        """
        a = schema.artefacts.c
        query = sa.select(_trials.strategy, _trials.seed, a.round, a.kind, a.path, a.sha256, a.bytes)
        query = query.join_from(schema.artefacts, schema.trials, a.trial == _trials.id, isouter=True)
        if kind is not None:
            query = query.where(a.kind == kind)
        rows = self._database.rows(query.order_by(a.id))
        return [ArtefactRow(*row)._replace(path=self.folder / row.path) for row in rows]

    def incidents(self) -> list[IncidentRow]:
        """The problems that the run recovered from, in order.

        Returns:
            One row for each incident.
        """
        i = schema.incidents.c
        query = sa.select(i.time, _trials.strategy, _trials.seed, i.round, i.what)
        query = query.join_from(schema.incidents, schema.trials, i.trial == _trials.id, isouter=True)
        return [IncidentRow(*row) for row in self._database.rows(query.order_by(i.id))]

    def backup(self, archive: Path) -> None:
        """Save the run to one tar file, consistent even while the run goes on.

        Args:
            archive: The file; an existing one is replaced.

        Raises:
            DamagedArtefact: A file of the run differs from the recorded one.
            DiskFull: The disk is full.
        """
        backup.save(self._database, self.settings, archive)


def _bring_up_to_date(database: Database) -> None:
    """Migrate a run, if it is older. Nobody may train meanwhile: an older version would go on writing as before."""
    end = time.monotonic() + _MIGRATION
    while database.outdated():
        try:
            with locks.hold(database, "trainer"):
                database.bring_up_to_date()
        except RunBusy:
            if time.monotonic() > end:
                raise RunBusy(
                    f"an older version of Baldur made the run in {database.folder}, and a process still works on it. "
                    "Wait until it has ended, and try again; the run is then updated"
                ) from None
            time.sleep(0.05)
