from contextlib import contextmanager, suppress
from dataclasses import fields

import pytest

from baldur.errors import RunNotFound
from baldur.store import Store, Trial
from baldur.testing import verify_store


def opening(kind, url=None):
    def open_store(folder):
        with suppress(RunNotFound):
            return kind.open(folder, url=url)
        return kind.create(folder, settings="", classes=["cat", "dog"], url=url)

    return open_store


def test_every_database_keeps_the_contract(tmp_path, url):
    verify_store(opening(Store, url), tmp_path)


class Broken(Store):
    """A store with trials of another kind."""

    kind = Trial

    def trial(self, strategy, seed):
        made = super().trial(strategy, seed)
        return self.kind(**{field.name: getattr(made, field.name) for field in fields(made)})


class Forgetful(Store):
    def ledger(self):
        return super().ledger()[-3:]


class MovingCut(Trial):
    def cut(self, round):
        super().cut(round)
        return max((row.number for row in self.labels()), default=0)


class Moving(Broken):
    kind = MovingCut


class TwiceTold(Trial):
    def tell(self, events):
        return super().tell([event._replace(id=f"{event.id}-{len(self.labels())}") for event in events])


class Twice(Broken):
    kind = TwiceTold


class HalfPhase(Trial):
    @contextmanager
    def phase(self, round, phase):
        with super().phase(round, phase) as handle:
            self.artefact(round, "notes", "", lambda path: path.write_text("begun") and None)
            yield handle


class Half(Broken):
    kind = HalfPhase


class Unlocked(Store):
    @contextmanager
    def lock(self, role, token=None):
        yield

    def is_held(self, role):
        return role == "trainer"


class Lossy(Store):
    def backup(self, archive):
        super().backup(archive)
        self.trial("random", 1)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Forgetful, "changed or removed"),
        (Moving, "a cut moved"),
        (Twice, "not accepted"),
        (Half, "left something behind"),
        (Unlocked, "two had the same role"),
        (Lossy, "a restored backup differs"),
    ],
)
def test_a_store_that_breaks_it_is_found_out(tmp_path, kind, words):
    with pytest.raises(AssertionError, match=words):
        verify_store(opening(kind), tmp_path)
