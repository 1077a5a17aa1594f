from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.report.synthetic import Recipe, make_run

from baldur.store import Store


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Makes synthetic runs: `run(value, name="run", **recipe)`."""
    with ExitStack() as stack:

        def make(value: Callable[[str, int, int], float], name: str = "run", **recipe: object) -> Store:
            store = make_run(tmp_path / "synthetic" / name, Recipe(value, **recipe))
            stack.callback(store.close)
            return store

        yield make
