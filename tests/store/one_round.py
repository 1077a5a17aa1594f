"""One round of a trial, and a file, written through the store's own interface."""

import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from tests.store import server

from baldur.store import Request

IN_FOLDER = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""For tests of what is a matter of SQLite's file."""

ON_SERVER = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
"""For tests of what is a matter of a server."""

CLASSES = ("cat", "dog", "bird")


def go_through(trial, round: int, following: str = "") -> None:
    """Do everything of one round, and ask for the letters of `following` in the next."""
    with trial.phase(round, "label") as phase:
        trial.answer(round, dict.fromkeys(trial.open_requests(round), "cat"), "oracle")
        phase.labelled()
    with trial.phase(round, "fit") as phase:
        trial.artefact_folder(round, "posterior", lambda folder: write(folder / "weights", b"w" * 100))
        phase.fitted()
    with trial.phase(round, "measure") as phase:
        phase.measured({("accuracy", "test"): 0.5 + round / 10, ("auroc", "test"): float("nan")})
    with trial.phase(round, "choose") as phase:
        requests = [Request(item, rank, 1.0 - rank / 10) for rank, item in enumerate(following)]
        phase.chosen(requests, [(request.item, request.score) for request in requests])


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def past_the_library(folder: Path, *lines: str) -> list[tuple]:
    """Execute SQL as somebody who knows the database; neither triggers nor foreign keys stop it."""
    record = folder / "database.toml"
    if record.exists():
        told = tomllib.loads(record.read_text())
        free = "SET session_replication_role = replica"
        return server.statements(told["url"], told["schema"], free, *lines)
    with closing(sqlite3.connect(folder / "baldur.db", isolation_level=None)) as connection:
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        rows = [connection.execute(line).fetchall() for line in lines]
        for _, trigger in triggers:
            connection.execute(trigger)
    return rows[-1]
