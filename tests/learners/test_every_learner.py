"""Every learner by its name: a short run, and labelled or unlabelled sets that hold too little."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from tests.tiny_runs import QUICK
from torch import nn

from baldur import data
from baldur.errors import EmptyLabelledSet, OneClassOnly
from baldur.learners import Supervised
from baldur.protocols import Labelled, View
from baldur.runs import run
from baldur.runs.names import LEARNERS, learner_named
from baldur.store import Store
from baldur.testing import verify_learner
from baldur.training import Recipe

OPTIONS = {"contrastive": "contrastive(epochs=1)", "committee": "committee(members=3)"}
NAMES = [OPTIONS.get(name, name) for name in LEARNERS]
WHOLE = ("committee(members=3)", "extra_trees", "logistic_regression", "random_forest")

IMAGES, CLASSES = load_digits(n_class=3, return_X_y=True)
X = torch.from_numpy(IMAGES[:60].reshape(-1, 1, 8, 8) / 16).float()
Y = CLASSES[:60].astype(np.int64)
POOL = data.from_arrays(X)


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(72, 3)
    )


def labelled(n=15, y=Y):
    rounds, weights = np.zeros(n, np.int64), np.ones(n, np.float32)
    return Labelled(View(POOL, np.arange(n)), y[:n], rounds, weights, ("oracle",) * n)


def made(name):
    recipe = Recipe(epochs=3, epoch_size=32, batch_size=8, learning_rate=0.01, device="cpu")
    return learner_named(name).make(
        lambda: Supervised(network, classes=3, recipe=recipe, interval=0.0), 3, ()
    )


def fitted(name, given, rest):
    return made(name).fit(given, rest, seed=0, round=0)


REST = View(POOL, np.arange(15, 60))


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::baldur.errors.TieBreakWarning")  # one function never disagrees
def test_a_short_run(name, tmp_path):
    options = {**QUICK, "initial": 12, "initial_balanced": True, "rounds": 1}
    run.run((X, Y), tmp_path, learner=name, network=lambda *_: network(), strategies=["bald"], **options)
    with Store.open(tmp_path) as store:
        assert [m.labels for m in store.metrics("test") if m.metric == "accuracy"] == [12, 16]
        assert all(np.isfinite(m.value) for m in store.metrics("test") if m.metric == "nll")


@pytest.mark.parametrize(
    "name", sorted(set(NAMES) - {"logistic_regression"})
)  # whose fit has nothing to draw
def test_the_contract_holds(name):
    def often():
        learner = made(name)
        if name in WHOLE:
            learner.interval = 0.0
        return learner

    verify_learner(often, labelled(30), View(POOL, np.arange(30, 60)))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_labelled_is_said(name):
    with pytest.raises(EmptyLabelledSet):
        fitted(name, labelled(0), REST)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_unlabelled_is_enough(name):
    told = fitted(name, labelled(30), View(POOL, np.arange(0))).draw(seed=0)(X)
    assert bool(told.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_one_class_is_a_warning(name):
    with pytest.warns(OneClassOnly):
        told = fitted(name, labelled(4, np.ones(60, np.int64)), REST).draw(seed=0)(X)
    assert float(told.exp().mean(1).argmax(1).eq(1).float().mean()) > 0.5


def normalised():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3)
    )


@pytest.mark.parametrize("name", [*NAMES, "fixmatch(ratio=1)", "pi_model(unlabelled_batch=1)"])
@pytest.mark.parametrize(("batch", "rest"), [(1, 30), (8, 1)], ids=["batches of one", "a pool of one"])
def test_batch_normalisation_of_single_items(name, batch, rest):
    recipe = Recipe(epochs=2, epoch_size=9, batch_size=batch, device="cpu")
    learner = learner_named(name).make(lambda: Supervised(normalised, classes=3, recipe=recipe), 3, ())
    told = learner.fit(labelled(15), View(POOL, np.arange(15, 15 + rest)), seed=0, round=0).draw(seed=0)(X)
    assert bool(told.isfinite().all())
