"""A run's database on a PostgreSQL server: how to connect, its locks, and its errors in words.

Session settings of every connection: the run's schema is the search path; a lock is waited for as long as SQLite does;
a transaction whose client has vanished ends after a minute, so that it does not block the others.
"""

import hashlib
from importlib.util import find_spec

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from baldur.errors import BaldurError, DiskFull, InvalidSettings, StoreError
from baldur.store.place import RECORD, Place

_SESSION = {
    "idle_in_transaction_session_timeout": "60000",  # milliseconds
    "tcp_keepalives_idle": "30",  # seconds until the server asks whether a silent client is still there
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


def engine(place: Place, busy_seconds: float) -> Engine:
    """The connections to a run's schema.

    Args:
        place: The schema.
        busy_seconds: How long to wait for a lock.

    Returns:
        An engine; it does not connect yet.

    Raises:
        InvalidSettings: psycopg is not installed.
    """
    if find_spec("psycopg") is None:
        raise InvalidSettings("a run on a PostgreSQL server needs psycopg: pip install 'baldur[postgres]'")
    session = {"search_path": place.schema, "lock_timeout": f"{busy_seconds * 1000:.0f}"} | _SESSION
    options = " ".join(f"-c{name}={value}" for name, value in session.items())
    given = place.url.query
    arguments = {
        "options": f"{given.get('options', '')} {options}".strip(),
        "client_encoding": "utf8",
        "connect_timeout": given.get("connect_timeout", "10"),
        "keepalives_idle": given.get("keepalives_idle", "30"),
    }
    return sa.create_engine(
        place.url.difference_update_query(arguments),
        connect_args=arguments,
        isolation_level="READ COMMITTED",  # stricter ones would look at the database before the lock is taken
        pool_pre_ping=True,
        max_overflow=-1,
    )


def key(schema: str, role: str = "") -> int:
    """The key of an advisory lock of a run.

    Args:
        schema: The run's.
        role: A role such as "trainer"; empty for the lock of writers.

    Returns:
        A signed number of 64 bits.
    """
    digest = hashlib.sha256(f"{schema}\0{role}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def alone(connection: Connection, schema: str) -> None:
    """Make a transaction the only writer of the run until it ends. Ledger numbers thus become visible in order.

    Args:
        connection: At the beginning of a transaction.
        schema: The run's.
    """
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({key(schema)})")


def make_schema(connection: Connection, schema: str) -> None:
    """Make the schema of a new run.

    Args:
        connection: An open write transaction.
        schema: Its name.

    Raises:
        StoreError: The database cannot hold all texts.
    """
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StoreError(
            f"the database {connection.engine.url.database} has the encoding {encoding}, which cannot hold every text; "
            "use a database with the encoding UTF8"
        )
    connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')


def go_on_counting(connection: Connection, table: sa.Table) -> None:
    """Let the numbers of new rows follow those of the rows that were copied into a table.

    Args:
        connection: An open write transaction.
        table: The table.
    """
    for column in table.primary_key:
        if isinstance(column.type, sa.Integer):
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), max({column.name})) "
                f"FROM {table.name}"
            )


def in_a_sentence(error: sa.exc.DBAPIError, place: Place, busy_seconds: float) -> BaldurError:
    """An error of the server or of the connection to it, in words.

    Args:
        error: The error.
        place: The run's.
        busy_seconds: How long a lock was waited for.

    Returns:
        The error to raise.
    """
    said = " ".join(str(error.orig).split())
    state = getattr(error.orig, "sqlstate", None) or ""  # none if there was no answer
    user, name = place.url.username or "your user", place.url.database
    if state == "42501" and "CREATE SCHEMA" in str(error.statement):
        return StoreError(
            f"{user} may not make a schema in the database {name}; ask its administrator for: "
            f"GRANT CREATE ON DATABASE {name} TO {user}"
        )
    if state in ("53100", "53200"):
        return DiskFull(
            f"the server of {place} has no room left ({said}). Everything committed before is safe. Free some space "
            "there and start again"
        )
    if state == "55P03":
        return StoreError(
            f"another process kept {place} locked for {busy_seconds:.0f} s; end it or try again"
        )
    if state in ("XX001", "XX002"):
        return StoreError(f"{place} is damaged ({said}); restore the last backup into a new folder")
    if error.connection_invalidated or state[:2] == "08" or state in ("57P01", "57P02", "25P03"):
        return StoreError(
            f"the connection to {place} was lost ({said}). Everything acknowledged before is safe. "
            "Start again when the server answers"
        )
    if error.statement is None or state[:3] == "57P":
        return StoreError(f"cannot connect to {place.address} ({said}). {_advice(said)}")
    return StoreError(f"{place} reported an error: {said}")


def _advice(said: str) -> str:
    if "password" in said or "SASL" in said:
        return "Set PGPASSWORD, write the password into ~/.pgpass, or give it in the URL: postgresql://user:password@..."
    return f"Check that the server runs, and the URL that you gave or that is in {RECORD}"
