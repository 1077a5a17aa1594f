"""Threads that wait for each other: asleep for the command line, and a warning for everybody else."""

import json
import os
import re
import subprocess
import sys
import warnings

import pytest

from baldur.core import threads
from baldur.core.threads import never_spin, warn_of_spinning
from baldur.errors import SpinningThreads

NAMES = ("OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT")
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
TELL = f"import json, os; print(json.dumps({{n: os.environ[n] for n in {NAMES} if n in os.environ}}))"


def environment_in(code, **more):
    """What a new Python has in its environment after some code."""
    plain = {name: value for name, value in os.environ.items() if name not in NAMES}
    words = [sys.executable, "-c", code]
    result = subprocess.run(words, env=plain | more, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


# The command line


MAIN = f"""
import sys, atexit
atexit.register(lambda: exec({TELL!r}, {{}}))
sys.argv = ["baldur", "--version"]
"""
ENTRIES = {
    "baldur": MAIN + "from baldur.cli import main; main()",
    "python -m baldur": MAIN + "import runpy; runpy.run_module('baldur', run_name='__main__')",
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_command_line_lets_threads_sleep(entry):
    assert environment_in(ENTRIES[entry]) == ASLEEP


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "1000"}])
def test_the_environment_of_the_user_wins(own):
    assert environment_in(ENTRIES["baldur"], **own) == own


def test_the_package_and_its_command_line_change_no_environment_when_they_are_imported():
    assert environment_in(f"import baldur, baldur.cli, baldur.runs.run; {TELL}") == {}


def test_torch_is_loaded_after_the_choice():
    """The OpenMP library tells what it has read, on standard error."""
    code = "import sys; from baldur.cli import main; sys.modules['baldur.cli.app'].app = lambda: None; main()"
    env = {k: v for k, v in os.environ.items() if k not in NAMES} | {"OMP_DISPLAY_ENV": "VERBOSE"}
    words = [sys.executable, "-c", f"{code}; import torch"]
    result = subprocess.run(words, env=env, capture_output=True, text=True, check=True)
    assert re.search(r"(GOMP_SPINCOUNT|KMP_BLOCKTIME) ?= ?'0", result.stderr)


def test_a_mapping_of_ones_own_is_changed_in_place():
    given = {"HOME": "/"}
    never_spin(given)
    assert given == {"HOME": "/"} | ASLEEP


# A library call


@pytest.fixture
def crowded(monkeypatch):
    monkeypatch.setattr(threads, "_crowded", lambda: True)
    threads._warn.cache_clear()
    yield
    threads._warn.cache_clear()


def test_a_library_call_on_a_busy_machine_warns_once_and_says_the_remedy(crowded):
    with pytest.warns(SpinningThreads, match=r"OMP_WAIT_POLICY=PASSIVE .*set_num_threads\(1\)") as said:
        list(map(warn_of_spinning, (2, 2), ({}, {})))
    assert len(said) == 1


@pytest.mark.parametrize(
    ("count", "environment"),
    [
        (1, {}),
        (2, {"OMP_WAIT_POLICY": "passive"}),
        (2, {"GOMP_SPINCOUNT": "0"}),
        (2, {"KMP_BLOCKTIME": "0"}),
    ],
)
def test_one_thread_or_threads_that_sleep_are_no_reason_to_warn(crowded, count, environment):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_spinning(count, environment)


@pytest.mark.parametrize(
    ("average", "running", "expected"),
    [(0.2, "1/90", False), (2.9, "5/90", False), (3.1, "5/90", True), (9.0, "2/90", False)],
)
def test_a_machine_is_crowded_when_it_was_so_for_a_while_and_still_is(
    monkeypatch, average, running, expected
):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "getloadavg", lambda: (average, 0.0, 0.0))
    monkeypatch.setattr(threads.Path, "read_text", lambda self: f"{average} 0 0 {running} 77\n")
    assert threads._crowded() is expected


def test_where_only_the_average_is_known_it_decides(monkeypatch):
    def none_there(self):
        raise FileNotFoundError

    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(threads.Path, "read_text", none_there)
    for average, expected in ((1.0, False), (4.0, True)):
        monkeypatch.setattr(os, "getloadavg", lambda average=average: (average, 0.0, 0.0))
        assert threads._crowded() is expected


def test_a_system_that_does_not_tell_its_load_is_taken_as_idle(monkeypatch):
    monkeypatch.delattr(os, "getloadavg")
    assert threads._crowded() is False
