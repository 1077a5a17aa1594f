"""A PostgreSQL server of the tests' own, on loopback, with a database whose order of words is not that of bytes."""

import os
import shutil
import socket
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "geheim: 1/2@3"
"""Of the user `postgres`; a URL must encode some of its characters."""

_SETTINGS = "shared_buffers=16MB max_connections=80 unix_socket_directories= listen_addresses=127.0.0.1"


def programs() -> Path | None:
    """The folder of the server's programs; None if no server is installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders and (folders[-1] / "initdb").exists() else None


@dataclass
class Server:
    """A server in a folder."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """Of its database, without the password, which is in PGPASSWORD."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/baldur"

    def start(self) -> None:
        options = " ".join(f"-c {setting}" for setting in (*_SETTINGS.split(), f"port={self.port}"))
        self._call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop the server, by default at once, as a power cut does."""
        self._call("pg_ctl", "-w", "-m", how, "stop")

    def remove(self) -> None:
        try:
            self.stop()
        except subprocess.CalledProcessError:  # it has stopped already
            pass
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _call(self, program: str, *arguments: str) -> None:
        _call(program, "-D", str(self.folder / "data"), *arguments)


def begin(durable: bool = False) -> Server:
    """Make a server and start it.

    Args:
        durable: Whether its files are on the disk, and not in memory.
    """
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) and not durable else None
    folder = Path(tempfile.mkdtemp(prefix="baldur-postgresql-", dir=place))
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(folder, free.getsockname()[1])
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    how = [
        "--auth=scram-sha-256",
        f"--pwfile={secret}",
        "--username=postgres",
        "--encoding=UTF8",
        "--no-sync",
    ]
    server._call("initdb", *how, "--locale=C.UTF-8")
    server.start()
    words = ["--locale-provider=icu", "--icu-locale=en-US", "--template=template0"]
    _call("createdb", "-h", "127.0.0.1", "-p", str(server.port), "-U", "postgres", *words, "baldur")
    return server


def _call(program: str, *arguments: str) -> None:
    folder = programs()
    assert folder is not None
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    environment = os.environ | {"PGPASSWORD": PASSWORD, "LC_ALL": "C.UTF-8"}
    command = [str(folder / program), *arguments]
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environment,
        **who,
    )


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL server for the whole session. Its password is in PGPASSWORD."""
    if programs() is None:
        pytest.skip("no PostgreSQL server is installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="psycopg is not installed (pip install 'baldur[postgres]')")
    running = begin()
    before = os.environ.get("PGPASSWORD")
    os.environ["PGPASSWORD"] = PASSWORD
    yield running
    running.remove()
    os.environ.pop("PGPASSWORD")
    if before is not None:
        os.environ["PGPASSWORD"] = before


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest):
    """Of the database: None for a file in the run's folder, and then that of a server."""
    return None if request.param == "sqlite" else request.getfixturevalue("server").url


def statements(url: str, schema: str, *lines: str) -> list[tuple]:
    """Execute SQL past the library, as the owner of the server; the rows of the last statement."""
    import psycopg

    with psycopg.connect(url, password=PASSWORD, options=f"-csearch_path={schema}") as connection:
        done = [connection.execute(line) for line in lines]
        return done[-1].fetchall() if done[-1].description else []
