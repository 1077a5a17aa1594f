"""A run's folder opened again: made longer, with items that are gone, or with other data."""

from dataclasses import replace

import numpy as np
import pytest
from tests.tiny_runs import blobs

from baldur.data import from_arrays, from_dataset, in_memory
from baldur.errors import ItemChanged, UnreadableItems
from baldur.runs import folder as _folder
from baldur.runs import settings as settings_
from baldur.runs.items import item_shape
from baldur.runs.observer import Observer
from baldur.store import ItemRecord, Request, Store, Trial

X, Y = blobs()
SETTINGS = settings_.create(data="in memory", rounds=1)


class Damaged:
    """The blobs, of which one item cannot be read, or others hold something else."""

    gone = None

    def __init__(self):
        self.x = X.copy()

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        if i == self.gone:
            raise OSError(5, "Input/output error")
        return self.x[i], Y[i]


def damaged():
    source = Damaged()
    pool, labels = from_dataset(source)
    return source, in_memory(pool, labels, test_fraction=0.2)


def opened(folder, dataset):
    return _folder.open_run(folder, SETTINGS, dataset, Observer())


def test_a_run_that_was_killed_while_it_became_longer_becomes_longer(tmp_path, monkeypatch):
    longer = SETTINGS.but(rounds=3)
    with Store.create(tmp_path / "run", settings=settings_.to_toml(SETTINGS), classes=["a"]) as store:
        for seed in (0, 1):
            through(store.trial("random", seed))
        whole, calls = Trial.reopen, []

        def killed(trial):
            if calls:
                raise KeyboardInterrupt
            calls.append(whole(trial))

        monkeypatch.setattr(Trial, "reopen", killed)
        with pytest.raises(KeyboardInterrupt):
            _folder.grow(store, longer)
        monkeypatch.undo()
        _folder.grow(store, longer)
        assert [trial.state for trial in store.trials()] == ["waiting", "waiting"]
        assert settings_.from_toml(store.settings) == longer


def through(trial):
    """One round, and the trial is done."""
    trial.begin([Request("i", 0)])
    with trial.phase(0, "label") as phase:
        trial.answer(0, {"i": "a"}, "oracle")
        phase.labelled()
    with trial.phase(0, "fit") as phase:
        phase.fitted()
    with trial.phase(0, "measure") as phase:
        phase.measured({})
    trial.finish("done", "1 rounds")


@pytest.mark.parametrize("how", ["unreadable", "another content"])
def test_what_was_left_out_may_be_gone_and_all_else_must_be_the_same(tmp_path, how):
    source, data = damaged()
    first = data.train.ids[0]
    opened(tmp_path / "run", data).close()
    source.gone = int(first) if how == "unreadable" else None
    source.x[int(first)] = np.nan
    with pytest.raises(UnreadableItems if how == "unreadable" else ItemChanged):
        opened(tmp_path / "run", data)
    with Store.open(tmp_path / "run") as store:
        store.mark_items([ItemRecord(first, 0, state="quarantined", reason="gone")])
    opened(tmp_path / "run", data).close()
    assert item_shape(data.train) == (4,)
    source.x[int(data.train.ids[-1])] += 1
    with pytest.raises(ItemChanged, match="not those that the run"):
        opened(tmp_path / "run", data)
    source, data = damaged()
    opened(tmp_path / "run", data).close()  # it may be back as well
    with pytest.raises(ItemChanged):
        opened(tmp_path / "run", replace(data, classes=("a", "b", "c")))


def test_a_run_of_a_version_that_kept_one_digest_opens(tmp_path):
    x = np.arange(360, dtype=np.float32).reshape(90, 4)
    data = in_memory(from_arrays(x), Y, test_fraction=0.2)
    facts = {"facts": {"fingerprint": "4b0c52431c8d47853a459b863b58101b96552c6c182827d66c3365a01397f959"}}
    text = settings_.to_toml(SETTINGS)
    Store.create(tmp_path / "run", settings=text, classes=data.classes, preprocessing=facts).close()
    opened(tmp_path / "run", data).close()
    with pytest.raises(ItemChanged):
        opened(tmp_path / "run", in_memory(from_arrays(x + 1), Y, test_fraction=0.2))
