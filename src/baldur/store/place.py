"""The place of a run's database: a file in the run's folder, or a schema of its own on a PostgreSQL server.

A run on a server has a small file that says where. It never holds a password: libpq takes one from PGPASSWORD or
~/.pgpass, or it is in the URL that is given again.
"""

import os
import re
import tomllib
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from baldur.errors import InvalidSettings, RunNotFound, StoreError

FILE = "baldur.db"
"""The database of a run that is kept in its folder."""

RECORD = "database.toml"
"""The file that says where the database of a run is, if it is elsewhere."""

_EXAMPLE = "postgresql://user@host:5432/name"
_SECRET = ("password", "sslpassword")
_HEAD = "# The database of this run. Its password is not here: set PGPASSWORD, or write it into ~/.pgpass.\n"


@dataclass(frozen=True)
class Place:
    """Where a run's database is.

    Args:
        url: Of the database, with a password if one was given.
        schema: The run's schema on a server; empty for a file.
    """

    url: URL
    schema: str = ""

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for a server."""
        return Path(str(self.url.database)) if self.url.get_backend_name() == "sqlite" else None

    @property
    def address(self) -> str:
        """The file, or the URL of the server without a password."""
        return _plain(self.url).render_as_string() if self.file is None else str(self.file)

    def __str__(self) -> str:
        return f"{self.address} (schema {self.schema})" if self.schema else self.address

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"


def inside(folder: Path) -> Place:
    """The place of a database in the run's folder.

    Args:
        folder: The run's.

    Returns:
        The place.
    """
    return Place(URL.create("sqlite", database=str(folder.absolute() / FILE)))


def look_up(folder: Path, url: str | None = None) -> Place:
    """The place of an existing run's database.

    Args:
        folder: The run's.
        url: Of the same database, for example with its password; None takes the recorded place.

    Returns:
        The place. Whether a database is there is not checked.

    Raises:
        RunNotFound: A server is given, but the folder holds no run on a server.
        InvalidSettings: The URL is not valid, or the run is kept elsewhere.
        StoreError: The recorded place cannot be read.
    """
    recorded = _read(folder)
    if url is None:
        return recorded or inside(folder)
    told = _parse(url)
    if recorded is None:
        _refuse_two(folder, told)
        if told.file is None:
            raise RunNotFound(
                f"there is no run in {folder}: {RECORD} does not exist; give the folder of the run"
            )
        return told
    if recorded.file != told.file:
        raise _elsewhere(folder, recorded, told)
    return Place(told.url, recorded.schema)


def choose(folder: Path, url: str | None = None) -> Place:
    """The place for the database of a new run.

    Args:
        folder: The run's.
        url: Of a PostgreSQL database, where the run gets a new schema, or of an SQLite file; None for a file in the
            folder.

    Returns:
        The place. A place that is recorded already, because the creation of the run was interrupted, is used again.

    Raises:
        InvalidSettings: The URL is not valid, or the folder belongs to a run elsewhere.
    """
    recorded = _read(folder)
    if url is None:
        return recorded or inside(folder)
    told = _parse(url)
    if recorded is None:
        _refuse_two(folder, told)
        return told if told.file is not None else Place(told.url, _new_schema(folder))
    if _plain(recorded.url) != _plain(told.url):
        raise _elsewhere(folder, recorded, told)
    return Place(told.url, recorded.schema)


def claim(folder: Path, place: Place) -> Place:
    """Record the place of a new run in its folder. If another process did so just now, its place counts.

    Args:
        folder: The run's, which exists.
        place: The chosen place.

    Returns:
        The recorded place.

    Raises:
        InvalidSettings: The other process chose another server.
    """
    text, path = record(folder, place), folder / RECORD
    if not text:
        return place
    temporary = path.with_name(f".new-{uuid4().hex}")
    try:
        temporary.write_text(text, encoding="utf-8")
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    recorded = _read(folder)
    if recorded is None or _plain(recorded.url) != _plain(place.url):
        raise _elsewhere(folder, recorded or inside(folder), place)
    return Place(place.url, recorded.schema)


def record(folder: Path, place: Place) -> str:
    """The text of the file that says where a run is kept, without a password.

    Args:
        folder: The run's.
        place: Its place.

    Returns:
        TOML; empty if the database is in the folder.
    """
    import tomli_w

    if place == inside(folder):
        return ""
    known = {"url": _plain(place.url).render_as_string(hide_password=False), "schema": place.schema}
    return _HEAD + tomli_w.dumps({name: text for name, text in known.items() if text})


def _refuse_two(folder: Path, told: Place) -> None:
    """Refuse another place for a run that is kept in its folder."""
    own = inside(folder)
    assert own.file is not None
    if told.file != own.file and own.file.exists() and own.file.stat().st_size:
        raise _elsewhere(folder, own, told)


def _elsewhere(folder: Path, recorded: Place, told: Place) -> InvalidSettings:
    return InvalidSettings(
        f"the run in {folder} is kept in {recorded}, not in {told}; leave out the URL of the database, or give "
        "another folder"
    )


def _plain(url: URL) -> URL:
    """The URL without a password and without the name of a driver."""
    query = {name: value for name, value in url.query.items() if name not in _SECRET}
    return URL.create(
        url.get_backend_name(), url.username, None, url.host, url.port, url.database, query=query
    )


def _parse(text: str) -> Place:
    """A place without a schema, from a URL. The message of an error never repeats the URL: it may hold a password."""
    if not isinstance(text, str):
        raise InvalidSettings(
            f"expected the URL of a database as a text, such as {_EXAMPLE}, not {type(text)}"
        )
    scheme, separator, rest = text.partition("://")
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)
    backend = scheme.partition("+")[0]
    if not separator or backend not in ("postgresql", "sqlite"):
        begins = f"begins with {scheme}://" if separator else "has no ://"
        raise InvalidSettings(
            f"expected the URL of a PostgreSQL database, such as {_EXAMPLE}; this one {begins}"
        )
    try:
        url = make_url(f"{scheme}://{rest}")
    except (ArgumentError, ValueError):
        raise InvalidSettings(f"this URL of a database cannot be read; write it like {_EXAMPLE}") from None
    if backend == "sqlite":
        if url.database in (None, "", ":memory:"):
            raise InvalidSettings("an SQLite database needs a file: sqlite:////home/me/runs/birds.db")
        return Place(URL.create("sqlite", database=os.path.abspath(str(url.database))))
    if "@" in (url.host or ""):
        raise InvalidSettings("the password in the URL has a character that must be encoded: write %40 for @")
    return Place(url.set(drivername="postgresql+psycopg"))


def _new_schema(folder: Path) -> str:
    """A name from that of the folder and a random part."""
    letters = unicodedata.normalize("NFKD", folder.absolute().name.lower()).encode("ascii", "ignore").decode()
    name = re.sub(r"[^a-z0-9]+", "_", letters).strip("_")[:40]
    return "_".join(part for part in ("baldur", name, uuid4().hex[:8]) if part)


def _read(folder: Path) -> Place | None:
    path = folder / RECORD
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        place = _parse(told["url"])
        schema = told.get("schema", "")
        if bool(schema) != (place.file is None) or not re.fullmatch(r"[a-z0-9_]*", schema):
            raise ValueError(f"the schema is {schema!r}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise StoreError(
            f"{path} does not say where the run is kept ({error}); restore the file from a backup of the folder"
        ) from None
    return Place(place.url, schema)
