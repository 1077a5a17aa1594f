"""A disk that fills up in the middle of a run: a sentence, nothing lost, and with room again it goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from baldur.store import Store, doctor
from baldur.testing.resume import history

RUN = (
    *("run", "digits", "--strategy", "random", "--strategy", "bald", "--seeds", "1", "--rounds", "5"),
    *("--draws", "5", "--epochs", "3", "--threads", "1", "--checkpoint-seconds", "0", "--quiet"),
)


def baldur(*words, **more) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "baldur", *map(str, words)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB in memory, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("room", [250, 500, 750, 1000])
def test_a_full_disk_loses_nothing(small_disk, tmp_path, room):
    whole = baldur(*RUN, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    run, ballast = small_disk / "run", small_disk / "ballast"
    ballast.write_bytes(bytes((2048 - room) * 1024))
    full = baldur(*RUN, "--out", run)
    assert full.returncode == 1, full.stderr
    assert "no space" in full.stderr.lower() or "room" in full.stderr.lower() or "full" in full.stderr.lower()
    assert "Traceback" not in full.stderr
    before = labels(run)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=32m", small_disk], check=True)
    again = baldur(*RUN, "--out", run)
    assert again.returncode == 0, again.stderr
    assert history(run) == history(tmp_path / "whole")
    assert set(before) <= set(labels(run))
    assert [f for f in doctor(run) if f.level == "error"] == []


def test_no_room_for_predictions_in_the_middle_of_scoring(small_disk, tmp_path):
    """Predictions of 1.1 MiB go to a temporary file, for which the disk has no room at first."""
    words = (*RUN, "--strategy", "expected_gradient_length", "--draws", "20", "--memory", "1MiB")
    whole = baldur(*words, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    (small_disk / "ballast").write_bytes(bytes(1500 * 1024))
    full = baldur(*words, "--out", tmp_path / "run", TMPDIR=str(small_disk))
    assert full.returncode == 1, full.stderr
    assert "no space for predictions" in full.stderr
    assert "Traceback" not in full.stderr
    (small_disk / "ballast").unlink()
    again = baldur(*words, "--out", tmp_path / "run", TMPDIR=str(small_disk))
    assert again.returncode == 0, again.stderr
    assert history(tmp_path / "run") == history(tmp_path / "whole")


def labels(folder: Path) -> list:
    if not (folder / "baldur.db").exists():
        return []
    with Store.open(folder) as store:
        return [(row.strategy, row.item, row.value) for row in store.labels()]
