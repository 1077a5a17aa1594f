"""A run that is stopped at every phase in turn comes to the same."""

import pytest
from tests.tiny_runs import QUICK, blob_set

from baldur.runs import run
from baldur.testing.resume import verify_resume

pytestmark = pytest.mark.usefixtures("without_charts")


def test_an_ensemble(tmp_path):
    words = QUICK | {"posterior": "dropout-ensemble", "members": 2, "draws": 4, "rounds": 1}
    words["strategies"] = ["bald"]
    verify_resume(lambda folder, observer: run.run(blob_set(), folder, observer=observer, **words), tmp_path)


def test_interrupted_anywhere_it_comes_to_the_same(tmp_path):
    quick = QUICK | {"rounds": 1}
    verify_resume(lambda folder, observer: run.run(blob_set(), folder, observer=observer, **quick), tmp_path)


def test_a_run_that_asks_for_test_labels(tmp_path):
    quick = QUICK | {"rounds": 3, "strategies": ["bald"], "stop": ["target(0.4, labels=6)"], "epochs": 8}
    verify_resume(lambda folder, observer: run.run(blob_set(), folder, observer=observer, **quick), tmp_path)
