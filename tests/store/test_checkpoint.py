import os

import pytest
from tests.store.one_round import write

from baldur.protocols import Checkpoint
from baldur.store import doctor


def test_the_last_whole_one_is_used_until_the_fit_ends(run, trial):
    slot: Checkpoint = trial.checkpoint(0)
    assert slot.latest() is None
    for epoch in (b"1", b"2"):
        slot.save(lambda p, e=epoch: write(p, e))
    assert trial.checkpoint(0).latest().read_bytes() == b"2"
    assert trial.checkpoint(1).latest() is None
    trial.cut(0)
    with trial.phase(0, "fit") as phase:
        phase.fitted()
    assert slot.latest() is None
    assert not [path for path in (run.folder / "artefacts").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 5, None])
def test_a_damaged_one_is_never_used_and_never_passed_over_in_silence(run, trial, size):
    slot = trial.checkpoint(0)
    slot.save(lambda p: write(p, b"0123456789"))
    path = slot.latest()
    if size is None:
        path.unlink()
    else:
        os.truncate(path, size)
    with pytest.warns(UserWarning, match="the fit starts over"):
        assert slot.latest() is None
    assert slot.latest() is None
    assert not path.exists()
    [incident] = run.incidents()
    assert (incident.strategy, incident.seed, incident.round) == ("bald", 0, 0)
    assert any("checkpoint of round 0" in finding.what for finding in doctor(run.folder))
    slot.save(lambda p: write(p, b"again"))
    assert slot.latest().read_bytes() == b"again"


def test_an_interrupted_save_leaves_the_last_one(trial):
    slot = trial.checkpoint(0)
    slot.save(lambda p: write(p, b"whole"))

    def interrupted(path):
        write(path, b"ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slot.save(interrupted)
    assert slot.latest().read_bytes() == b"whole"
