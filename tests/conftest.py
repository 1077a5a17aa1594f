"""What every test may use: a temporary folder in memory, a report without drawings, a database server, profiles."""

import os
import shutil
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from tests import typed
from tests.store.server import server, url

typed.install()
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("quick")

__all__ = ["server", "url"]

MEMORY = Path("/dev/shm")
ROOM = 2**30
"""Bytes that must be free in memory before temporary folders are made there."""


def pytest_configure() -> None:
    """Temporary folders are in memory where that can be: a run waits for the disk at each of its commits."""
    if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Processes take a file each, so that what its tests share is made once; those of tests/distributed share Ray."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return str(Path(file).parent) if "distributed/" in file else file

    return ByFile(config, log)


@pytest.fixture
def without_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have no drawings. To draw takes longer than a small run; tests/report and tests/cli look at them."""
    from baldur.report.markup import Html

    monkeypatch.setattr("baldur.report.charts.render", lambda *_, **__: Html("<svg></svg>"))
