"""The connection to a run's database: opening, reading, writing, and its errors.

SQLite before 3.51.3 may corrupt a write-ahead log that two connections use, so older libraries use a rollback
journal. While a connection is open, nothing else may open the database file: closing any descriptor of the file
would drop SQLite's locks on it.
"""

import errno
import gc
import os
import re
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine

from baldur.errors import BaldurError, DiskFull, NewerStore, RunBusy, RunNotFound, StoreError
from baldur.store import place, postgres, schema
from baldur.store.place import FILE, RECORD, Place

BUSY_SECONDS = 30.0
_MIGRATING = threading.Lock()  # Alembic has one context for the whole process

_REMOTE = {
    *("afs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs", "fuse.glusterfs"),
    *("fuse.rclone", "fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("ocfs2", "orangefs", "smb3", "smbfs"),
}


def no_run(folder: Path, file: Path) -> RunNotFound:
    """The error for a folder without a run. It names runs near the folder.

    Args:
        folder: The folder.
        file: The missing database.

    Returns:
        The error.
    """
    around = (folder, folder.parent)
    near = sorted({path for name in (FILE, RECORD) for at in around for path in at.glob(f"*/{name}")})
    names = {os.path.relpath(path.parent): path for path in near}
    shown = get_close_matches(os.path.relpath(folder), names, 3, 0) or list(names)[:3]
    hint = f"there are runs in {', '.join(shown)}" if shown else "`baldur run DATA --out FOLDER` starts one"
    return RunNotFound(f"there is no run in {folder}: {file.name} does not exist; {hint}")


class Database:
    """A run's database and folder. Opening it creates and changes nothing.

    `token` is the number of the trainer for whom this process writes, if the database is on a server: once there is
    a newer trainer, every write is refused. None means that anybody may write.

    Args:
        folder: The run's.
        url: Of the run's database, if it needs a password that is given nowhere else.
        at: Where the database is; by default the recorded place.
    """

    def __init__(self, folder: Path, url: str | None = None, at: Place | None = None) -> None:
        self.folder = folder.absolute()
        self.place = at or place.look_up(self.folder, url)
        self.token: int | None = None
        self._engine = _engine(self.place)
        sa.event.listen(self._engine, "begin", self._begin)

    def __repr__(self) -> str:
        return f"Database({str(self.place)!r})"

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for a database server."""
        return self.place.file

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def discard(self) -> None:
        """Delete the database and the record of its place, and close every connection."""
        if self.file is None:
            with self.write() as connection:
                connection.exec_driver_sql(f'DROP SCHEMA "{self.place.schema}" CASCADE')
        self.close()
        if self.file is not None:
            for suffix in ("", "-wal", "-shm", "-journal"):
                self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
        (self.folder / RECORD).unlink(missing_ok=True)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One write transaction, exclusive from its beginning; it is committed whole or not at all."""
        with (
            self.sentences(),
            self._engine.connect().execution_options(immediate=True) as connection,
            connection.begin(),
        ):
            self._refuse_a_former_trainer(connection)
            yield connection

    def _refuse_a_former_trainer(self, connection: Connection) -> None:
        if self.token is None:
            return
        if connection.execute(sa.select(schema.run.c.token)).scalar_one() != self.token:
            raise RunBusy(
                f"another process has become the trainer of {self.folder}, because this one lost its connection to the "
                "server. Nothing was written after that, and nothing is lost. Start again when the other has ended"
            )

    def become_trainer(self) -> None:
        """Take the next token on a server; the writes of any former trainer are refused from now on."""
        if self.file is None:
            c = schema.run.c
            with self.write() as connection:
                update = schema.run.update().values(token=c.token + 1).returning(c.token)
                token = connection.execute(update).scalar_one()
            self.token = int(token)

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection that ends with the context, as do its locks. Each of its statements is a transaction."""
        with self.sentences():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
        with connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A read transaction that sees one state of the database throughout, row by row if there are many."""
        options: dict[str, Any] = {"stream_results": True}
        if self.file is None:
            options["isolation_level"] = "REPEATABLE READ"
        with self.sentences(), self._engine.connect().execution_options(**options) as connection:
            yield connection

    def rows(self, query: "sa.Select[*tuple[Any, ...]]") -> Sequence[Any]:
        """All rows of one query; the read ends with the call."""
        with self.sentences(), self._engine.connect() as connection:
            return connection.execute(query).all()

    def tuples(self, query: "sa.Select[*tuple[Any, ...]]") -> Sequence[Any]:
        """All rows of one query of texts and whole numbers, as the driver gives them: fast for a million rows."""
        with self.sentences(), self._engine.connect() as connection, without_collection():
            return connection.execute(query).cursor.fetchall()

    def text(self, statement: str) -> Sequence[Any]:
        """All rows of one statement in the database's own language, for example a PRAGMA."""
        with self.sentences(), self._engine.connect() as connection:
            return connection.exec_driver_sql(statement).all()

    def revision(self) -> str | None:
        """The schema revision of the database; None if it is empty.

        Raises:
            StoreError: It is not the database of a run.
        """
        with self.sentences(), self._engine.connect() as connection:
            return revision_of(connection)

    def outdated(self) -> bool:
        """Whether an older version of Baldur wrote the database.

        Raises:
            RunNotFound: There is no run in it.
            NewerStore: A newer version of Baldur wrote it.
        """
        if self.file is not None and not self.file.exists():
            raise no_run(self.folder, self.file)
        revision = self.revision()
        if revision is None:
            raise RunNotFound(f"there is no run in {self!r}: the database is empty")
        if revision != schema.REVISION:
            refuse_newer(revision, self)
        return revision != schema.REVISION

    def bring_up_to_date(self) -> None:
        """Migrate the database to this version of Baldur. No process of an older version may write meanwhile."""
        with self.write() as connection:
            migrate(connection)

    def _begin(self, connection: Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        if self.file is not None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
        elif immediate:
            postgres.alone(connection, self.place.schema)

    def try_out(self) -> None:
        """Check that a new run can be kept on a server: that it answers, and that the user may make a schema.

        Raises:
            StoreError: It cannot.
        """
        if self.file is None:
            options = {"immediate": True}
            with self.sentences(), self._engine.connect().execution_options(**options) as connection:
                postgres.make_schema(connection, self.place.schema)  # and nothing is committed

    @contextmanager
    def sentences(self) -> Iterator[None]:
        """Turn the errors of the database driver into `StoreError` or `DiskFull`."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            if self.file is None:
                raise postgres.in_a_sentence(error, self.place, BUSY_SECONDS) from error
            raise _in_a_sentence(error.orig or error, self) from error
        except UnicodeEncodeError as error:
            raise StoreError(
                f"{error.object!r} has a character that no database can hold, perhaps from a file name that is not "
                "UTF-8; rename it, and start again"
            ) from error
        except sqlite3.Error as error:  # raised while connecting, where SQLAlchemy does not wrap it
            raise _in_a_sentence(error, self) from error


def revision_of(connection: Connection) -> str | None:
    """The schema revision of a database.

    Args:
        connection: To the database.

    Returns:
        The revision; None if the database is empty.

    Raises:
        StoreError: It holds tables, but not those of a run.
    """
    tables = sa.inspect(connection).get_table_names()
    if not tables:
        return None
    if "alembic_version" not in tables or "ledger" not in tables:
        where = connection.engine.url.render_as_string(hide_password=True)
        raise StoreError(f"{where} holds tables, but none of a Baldur run; give another folder or URL")
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())


def upsert(
    connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], only: Sequence[str] = ()
) -> None:
    """Insert rows, or overwrite rows with the same primary key.

    Args:
        connection: An open write transaction.
        table: The table.
        rows: Column names and values.
        only: The columns that are overwritten; all if this is empty.
    """
    if not rows:
        return
    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(table)
    keys = [column.name for column in table.primary_key]
    changed = only or [c.name for c in table.columns if c.name not in keys]
    values = {name: insert.excluded[name] for name in changed}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=values), rows)


def make_tables(connection: Connection, at: Place) -> None:
    """Make the tables of a new run, and its schema on a server.

    Args:
        connection: An open write transaction.
        at: Where the run is kept.
    """
    if at.file is None:
        postgres.make_schema(connection, at.schema)
    migrate(connection)


def migrate(connection: Connection) -> None:
    """Bring the schema to the newest revision, inside the transaction of `connection`.

    Args:
        connection: An open write transaction.
    """
    from alembic import command

    config = _alembic()
    config.attributes["connection"] = connection
    with _MIGRATING:
        command.upgrade(config, "head")


def refuse_newer(revision: str, where: object) -> None:
    """Refuse a revision that this version of Baldur does not know.

    Args:
        revision: The revision of the database.
        where: The database, for the message.

    Raises:
        NewerStore: The revision is unknown here.
    """
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if revision not in known:
        raise NewerStore(
            f"{where!r} has revision {revision!r}, but this version of Baldur knows only up to {schema.REVISION!r}. "
            "A newer version wrote it, so install that version or a later one. Nothing was changed"
        )


def refuse_network_file_system(file: Path, mounts: Path = Path("/proc/mounts")) -> None:
    """Refuse a file on a network file system, whose locks do not protect a database.

    Args:
        file: The database file, which may not exist yet.
        mounts: The table of mounts; if it cannot be read (not Linux), nothing is refused.

    Raises:
        StoreError: The file system is a network one.
    """
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return
    place = file.resolve()
    best, kind = -1, ""
    for _, point, name, *_ in lines:
        folder = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point))
        if place.is_relative_to(folder) and len(folder.parts) >= best:  # a later mount hides an earlier one
            best, kind = len(folder.parts), name
    if kind in _REMOTE:
        raise StoreError(
            f"{file} is on a network file system ({kind}), where SQLite's locks are not safe. "
            "Put the run on a local disk, or give the URL of a database server"
        )


def safe_for_wal(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Whether this SQLite is free of the write-ahead log's reset bug (3.52.0 was withdrawn).

    Args:
        version: Of the SQLite library.

    Returns:
        True from 3.51.3 on.
    """
    return version >= (3, 51, 3) and version != (3, 52, 0)


def _alembic() -> Any:
    from alembic.config import Config

    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


@contextmanager
def without_collection() -> Iterator[None]:
    """Make many objects without the search for cycles, which would look at all of them again and again.

    Yields:
        Nothing.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _set_up(connection: Any, _: object) -> None:
    """Settings of a new SQLite connection; the busy timeout is already in place."""
    connection.isolation_level = None  # BEGIN is ours alone, also before a change of the schema
    mode, synchronous = ("WAL", "FULL") if safe_for_wal() else ("TRUNCATE", "EXTRA")
    for pragma in (
        "foreign_keys=ON",
        "recursive_triggers=ON",  # so that REPLACE cannot delete past the ledger's trigger
        "mmap_size=0",
        f"journal_mode={mode}",
        f"synchronous={synchronous}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _engine(at: Place) -> Engine:
    if at.file is None:
        return postgres.engine(at, BUSY_SECONDS)
    refuse_network_file_system(at.file)
    engine = sa.create_engine(at.url, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _set_up)
    return engine


def _in_a_sentence(error: BaseException, database: Database) -> BaldurError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the error, the rest its detail
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and no_room_left(error, database.folder)):
        return DiskFull(
            f"there is no room left to write to {database.folder} ({error}). Everything committed before is safe. "
            "Free some space and start again"
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"{database.folder} is damaged ({error}); run `baldur doctor {database.folder}` for advice"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"another process kept {database.folder} locked for {BUSY_SECONDS:.0f} s; end it or try again"
        )
    return StoreError(f"{database.folder} reported an error: {error}")


def no_room_left(error: BaseException, folder: Path) -> bool:
    """Whether an error means that the disk is full. Some libraries say so only in words, or not at all.

    Args:
        error: The error that was raised while writing.
        folder: The folder that was written to.

    Returns:
        True if the disk is full.
    """
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return True
    if "No space left on device" in str(error):
        return True
    unnamed = isinstance(error, OSError | sqlite3.Error) and getattr(error, "errno", None) is None
    return unnamed and folder.exists() and shutil.disk_usage(folder).free < 2**16
