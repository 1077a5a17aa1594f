"""Runs in which people label the blobs."""

import os
import subprocess
import sys
import textwrap

from tests.tiny_runs import blobs

import baldur

NAMES = ["red", "green", "blue"]
QUICKLY = {"epochs": 2, "epoch_size": 32, "draws": 3, "network": "mlp", "learner": "supervised"}
QUICKLY |= {"retrain_after": 4, "initial": 4, "test_labels": 4}


def truth():
    """The right class of each item, by id."""
    return {str(i): NAMES[c] for i, c in enumerate(blobs()[1])}


def begun(folder, **changes):
    """A new run, or the run in the folder with its data."""
    options = QUICKLY | {"classes": NAMES} | changes
    return baldur.open(folder, blobs()[0], **options)


def answered(run, k=4):
    """Ask for items and answer them rightly."""
    items, right = run.ask(k), truth()
    told = run.tell({item.id: right[item.id] for item in items}, by="ann")
    assert not told.refused
    return [item.id for item in items]


def elsewhere(code, *arguments):
    """Run a piece of Python in another process; gives what it prints."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
