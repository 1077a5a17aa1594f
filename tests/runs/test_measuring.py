"""What a run measures, and when it stops."""

import warnings

import numpy as np
import pytest
import torch
from tests.tiny_runs import QUICK, blob_set
from torch import nn

from baldur import learners, stopping
from baldur.data import from_arrays, in_memory
from baldur.errors import InvalidSettings, SamplesMissTraining
from baldur.posteriors import Deterministic, MCDropout
from baldur.posteriors.draws import NumberedDraws
from baldur.protocols import Labelled, View
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.measuring import make_passes
from baldur.runs.observer import Observer
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.mark.parametrize("stop", ["budget(8)", stopping.budget(8), ["budget(8)"]])
def test_one_criterion_is_a_list_of_one(tmp_path, stop):
    run.run(blob_set(), tmp_path / "run", strategies=["random"], stop=stop, **QUICK)
    with Store.open(tmp_path / "run") as store:
        assert [t.reason for t in store.trials()] == ["the budget of 8 labels is spent"]
    assert settings_.from_toml('stop = "budget(8)"\nnoise = 0.25').compare.stop == ["budget(8)"]
    assert settings_.from_toml("noise = 0.25").compare.noise == "0.25"


class Whole:
    """A learner of one's own that trains on all labelled items."""

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        raise NotImplementedError

    def load(self, folder):
        raise NotImplementedError


def test_a_stop_by_validation_items_is_refused_where_the_learner_holds_none_out():
    dataset = blob_set()
    passes = make_passes(settings_.create().score, "cpu", dataset, Observer())
    with pytest.raises(InvalidSettings, match="--validation N"):
        passes.stopping(stopping.target(0.9, split="validation"), Whole(), None, holds_out=True)
    wrapped = passes.stopping(
        stopping.target(0.9, split="validation"), learners.ceal(Whole()), None, holds_out=True
    )
    some = Labelled(
        View(dataset.train, np.arange(6)),
        dataset.labels[:6],
        np.zeros(6, np.int64),
        np.ones(6, np.float32),
        ("oracle",) * 6,
    )
    with pytest.raises(InvalidSettings, match="--validation N"):
        wrapped.validate(Deterministic(nn.Linear(4, 3)), some, 0)


@pytest.mark.filterwarnings("default::baldur.errors.TieBreakWarning")
def test_trees_that_agree_everywhere_end_no_run(tmp_path):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    x = (4 * y[:, None] + 0.1 * rng.normal(size=(60, 1))).astype(np.float32)
    options = {"strategies": ["random", "entropy", "bald"], "rounds": 2, "seeds": 1, "initial": 10}
    with warnings.catch_warnings(record=True) as said:
        outcome = run.run((x, y), tmp_path / "run", learner="random-forest(trees=5)", **options)
    assert outcome.state == "done"
    assert {str(one.message).split(",")[0] for one in said} == {"all posterior samples agree on every item"}
    with Store.open(tmp_path / "run") as store:
        assert {m.value for m in store.metrics("test") if m.metric == "accuracy"} == {1.0}


class Scattered(MCDropout):
    """Three functions: a sure one that is right, and two unsure ones that are wrong."""

    def draw(self, T=None, seed=0):
        return ScatteredDraws("categorical", range(3))


class ScatteredDraws(NumberedDraws):
    def __call__(self, x):
        right = torch.nn.functional.one_hot((x[:, 0] > 0).long(), 2).double()  # (n, C)
        wrong = 1 - right
        rows = torch.stack([right * 0.98 + 0.01, 0.51 * wrong + 0.49 * right, 0.51 * wrong + 0.49 * right], 1)
        return rows.log()  # (n, 3, C)

    def features(self, x):
        return x

    def _at(self, samples):
        return self


def test_samples_that_miss_the_labels_that_they_were_trained_on_are_named(tmp_path):
    x = np.linspace(-1, 1, 80)[:, None].astype(np.float32)
    dataset = in_memory(from_arrays(x), (x[:, 0] > 0).astype(int), test_fraction=0.5)
    passes = make_passes(settings_.create().score, "cpu", dataset, Observer())
    n = len(dataset.train)
    known = Labelled(
        dataset.train, dataset.labels, np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n
    )
    with pytest.warns(SamplesMissTraining, match="far fewer of its training labels"):
        measured = passes.measure(Scattered(nn.Sequential(nn.Dropout(), nn.Linear(1, 2))), known, 0)
    assert measured.metrics["accuracy", "training"] == 1
    assert measured.metrics["accuracy_of_samples", "training"] == pytest.approx(1 / 3)
    honest = passes.measure(Deterministic(nn.Linear(1, 2)), known, 0).metrics
    assert honest["accuracy", "training"] == honest["accuracy_of_samples", "training"]
