"""kill -9 at random instants: the finished run equals an uninterrupted one, bit for bit."""

import collections
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from baldur.errors import RunNotFound
from baldur.store import Store, doctor
from baldur.testing.resume import history, repeated_phases

RUN = (
    *("run", "digits", "--strategy", "random", "--strategy", "bald", "--seeds", "2", "--rounds", "6"),
    *("--query-size", "10", "--initial", "20", "--draws", "20", "--threads", "1"),
    *("--checkpoint-seconds", "0.05", "--jobs", "1", "--quiet"),
)
# Long fits are killed in training, between checkpoints; with short ones it is scoring and writing that are hit.
EPOCHS = {"long fits": 120, "short fits": 2}
KILLS = 15


def begin(folder: Path, fits: str, url: str | None = None) -> subprocess.Popen:
    """Start the run; what it says is in a file, so that no pipe is left open when it is killed."""
    words = [sys.executable, "-m", "baldur", *RUN, "--epochs", str(EPOCHS[fits]), "--out", str(folder)]
    words += [] if url is None else ["--db", url]
    with folder.with_suffix(".log").open("w") as said:
        return subprocess.Popen(words, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"})


def phases(folder: Path) -> list:
    """Every attempt at a phase so far; none where the run is not there yet."""
    try:
        with Store.open(folder) as store:
            return store.phases()
    except RunNotFound:
        return []


def going_on(folder: Path) -> str | None:
    """The phase that has begun and not ended, if there is one."""
    last = phases(folder)[-1:]
    return last[0].phase if last and last[0].seconds is None else None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of each kind."""
    folders = {}
    for fits in EPOCHS:
        folder = folders[fits] = tmp_path_factory.mktemp("runs") / "whole"
        assert begin(folder, fits).wait(900) == 0, folder.with_suffix(".log").read_text()
    return folders


@pytest.mark.parametrize("fits", EPOCHS)
def test_killed_fifteen_times_it_comes_to_the_same(whole, tmp_path, fits, url):
    """Each restart may do again the phase that was interrupted, and nothing else."""
    rng = random.Random(fits)
    folder, hit = tmp_path / "killed", collections.Counter()
    kills = 0
    while kills < KILLS:
        before = len(phases(folder))
        process = begin(folder, fits, url)
        # Let it come to work, then let it live a little: long enough to be anywhere in a round.
        while process.poll() is None and len(phases(folder)) == before:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.8 if fits == "long fits" else 0.25))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        hit[going_on(folder)] += 1
    assert kills == KILLS, f"the run ended after {kills} kills: make it longer"
    process = begin(folder, fits, url)
    assert process.wait(900) == 0, folder.with_suffix(".log").read_text()
    print(f"killed in: {dict(hit)}; phases done again: {repeated_phases(folder)}")
    assert history(folder) == history(whole[fits])
    assert repeated_phases(folder) <= kills
    assert (folder / "curves.csv").read_bytes() == (whole[fits] / "curves.csv").read_bytes()
    assert [f for f in doctor(folder) if f.level == "error"] == []


@pytest.mark.parametrize("phase", ["label", "fit", "measure", "choose"])
def test_killed_in_each_phase(whole, tmp_path, phase):
    """The first time that the phase is seen to go on, the process is killed."""
    fits = "long fits" if phase == "fit" else "short fits"
    folder = tmp_path / "killed"
    process, caught = begin(folder, fits), False
    while process.poll() is None and not caught:
        if going_on(folder) == phase:
            process.send_signal(signal.SIGKILL)
            caught = True
    process.wait()
    process = begin(folder, fits)
    assert process.wait(900) == 0, folder.with_suffix(".log").read_text()
    assert caught, f"{phase} was never seen to go on"
    assert history(folder) == history(whole[fits])
    assert repeated_phases(folder) <= 1
