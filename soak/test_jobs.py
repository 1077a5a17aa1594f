"""Trials side by side: a killed parent, a killed job and a full disk lose nothing."""

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
from baldur.testing.resume import history

RUN = (
    *("run", "digits", "--strategy", "random", "--strategy", "bald", "--seeds", "3", "--rounds", "5"),
    *("--epochs", "10", "--threads", "1", "--checkpoint-seconds", "0.05", "--quiet"),
)


def begin(folder: Path, jobs: int) -> subprocess.Popen:
    words = [sys.executable, "-m", "baldur", *RUN, "--jobs", str(jobs), "--out", str(folder)]
    with folder.with_suffix(".log").open("w") as said:
        return subprocess.Popen(words, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"})


def by_trial(folder):
    return {what: sorted(rows) if isinstance(rows, list) else rows for what, rows in history(folder).items()}


def phases(folder: Path) -> int:
    try:
        with Store.open(folder) as store:
            return len(store.phases())
    except RunNotFound:
        return 0


def children(parent: int) -> list[int]:
    """Processes below a process that hold the lock of a job, or are about to: those that have worked."""
    said = subprocess.run(["ps", "-o", "pid=,ppid=,time="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in said.stdout.splitlines()]
    below = {parent}
    for _ in range(4):
        below |= {int(pid) for pid, ppid, _ in rows if int(ppid) in below}
    return sorted(below - {parent})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert begin(folder, 1).wait(900) == 0, folder.with_suffix(".log").read_text()
    return folder


def test_it_is_the_run_of_one_process(whole, tmp_path):
    folder = tmp_path / "two"
    assert begin(folder, 2).wait(900) == 0, folder.with_suffix(".log").read_text()
    assert by_trial(folder) == by_trial(whole)
    assert (folder / "curves.csv").read_bytes() == (whole / "curves.csv").read_bytes()


@pytest.mark.parametrize("who", ["parent", "job"])
def test_killed_again_and_again_it_comes_to_the_same(whole, tmp_path, who):
    rng, folder, kills = random.Random(who), tmp_path / "killed", 0
    while kills < 4:
        before = phases(folder)
        process = begin(folder, 2)
        while process.poll() is None and phases(folder) < before + 2:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 1.0))
        if process.poll() is not None:
            break
        below = children(process.pid)
        if who == "parent":
            process.send_signal(signal.SIGKILL)
            process.wait()
            end = time.monotonic() + 30
            while any(Path(f"/proc/{pid}/cmdline").exists() and alive(pid) for pid in below):
                assert time.monotonic() < end, "a job outlived its parent"
                time.sleep(0.1)
        else:
            os.kill(rng.choice(below), signal.SIGKILL)
            assert process.wait(300) != 0 or kills > 0
        kills += 1
    assert kills >= 2, "the run ended before it was killed twice: make it longer"
    assert begin(folder, 2).wait(900) == 0, folder.with_suffix(".log").read_text()
    assert by_trial(folder) == by_trial(whole)
    assert [f for f in doctor(folder) if f.level == "error"] == []


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_control_c_ends_the_jobs_and_says_how_to_go_on(tmp_path):
    folder = tmp_path / "stopped"
    process = begin(folder, 2)
    while phases(folder) < 3:
        assert process.poll() is None, folder.with_suffix(".log").read_text()
        time.sleep(0.05)
    below = children(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert "Nothing is lost" in folder.with_suffix(".log").read_text()
    assert "Traceback" not in folder.with_suffix(".log").read_text()
    end = time.monotonic() + 30
    while any(alive(pid) for pid in below) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(alive(pid) for pid in below)
