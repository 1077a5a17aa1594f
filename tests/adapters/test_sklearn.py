"""Baldur's classifier as scikit-learn's tools see it."""

import pickle
import subprocess
import sys
import warnings

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import check_estimator
from tests.tiny_runs import blobs

from baldur import acquire, networks
from baldur.adapters.sklearn import BayesianClassifier
from baldur.errors import InvalidArgument
from baldur.posteriors import fit
from baldur.protocols import Posterior
from baldur.score.passes import predict
from baldur.testing.posterior import verify_posterior

X, Y = blobs(120)
X = (X * [1, 1000, 1e-3, 1] + [0, 5000, 0, 0]).astype(
    np.float64
)  # columns of unlike scales, as tables have them
NAMES = np.array(["ant", "bee", "cow"])[Y]
QUICK = {
    "hidden": (32,),
    "dropout": 0.1,
    "epochs": 20,
    "epoch_size": 128,
    "batch_size": 32,
    "learning_rate": 1e-2,
}


def quick(**options):
    return BayesianClassifier(**{**QUICK, "draws": 5, "random_state": 0, **options})


SEEDS = (np.random.default_rng, np.random.RandomState)


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(X[:90], NAMES[:90])


def test_every_check_of_scikit_learn_passes(monkeypatch):
    """Without checks of types: `__init__` takes anything, as scikit-learn wants."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        records = check_estimator(BayesianClassifier(**QUICK), on_fail=None, on_skip=None)
    failed = [record for record in records if record["status"] not in ("passed", "skipped")]
    assert failed == []
    passed = {record["check_name"] for record in records if record["status"] == "passed"}
    assert {"check_classifiers_train", "check_estimators_pickle", "check_methods_subset_invariance"} <= passed
    # What is skipped needs pandas, or a variable of the environment.
    skipped = {record["check_name"] for record in records if record["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_classifier_data_not_an_array"}


def test_it_works_in_pipelines_searches_and_cross_validation():
    assert cross_val_score(quick(), X, NAMES, cv=3).mean() > 0.8
    pipeline = make_pipeline(PolynomialFeatures(2), quick(epochs=5))
    search = GridSearchCV(pipeline, {"bayesianclassifier__dropout": [0.1, 0.5]}, cv=2, scoring="neg_log_loss")
    assert search.fit(X, NAMES).best_score_ > -np.log(3)


def test_predictions_are_the_mean_of_the_draws_over_unlike_columns(fitted):
    p = fitted.predict_proba(X[90:])
    draws = fitted.draw()
    np.testing.assert_allclose(draws(X[90:]).exp().mean(1), p, rtol=1e-12)
    assert (fitted.predict(X[90:]) == fitted.classes_[p.argmax(1)]).all()
    assert fitted.score(X[90:], NAMES[90:]) > 0.7


class AsPosterior(Posterior):
    def __init__(self, model):
        self.model = model

    def draw(self, T=None, seed=0):
        return self.model.draw(T, seed)

    def save(self, folder):
        raise NotImplementedError


def test_its_draws_are_draws(fitted):
    x = torch.from_numpy(X[90:])
    verify_posterior(AsPosterior, fitted, x)
    draws = fitted.draw(5, seed=1)
    assert draws.features(x).shape == (30, 32)
    assert draws.split() is not None
    assert (predict(draws, x, acquire.bald) > 0).any()


def test_the_seed_decides_everything_and_no_global_generator_moves():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - what is watched
    one, two, other = (quick(random_state=s).fit(X, Y).predict_proba(X) for s in (0, 0, 1))
    assert (one == two).all()
    assert (one != other).any()
    assert (quick(random_state=None).fit(X, Y).predict_proba(X) != one).any()
    fresh = [quick(random_state=make(3)).fit(X, Y).predict_proba(X) for make in SEEDS for _ in range(2)]
    assert (fresh[0] == fresh[1]).all()
    assert (fresh[2] == fresh[3]).all()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002


@pytest.mark.parametrize(
    "posterior",
    [
        "mc-dropout",
        "deterministic",
        "ensemble(members=3)",
        "ensemble(members=2, capacity=0.5)",
        fit.deterministic,
    ],
)
def test_any_posterior_will_do_and_survives_pickle(posterior):
    model = quick(posterior=posterior, epochs=5).fit(X, NAMES)
    p = model.predict_proba(X)
    assert (pickle.loads(pickle.dumps(model)).predict_proba(X) == p).all()
    assert len(model.draw()) == {
        "mc-dropout": 5,
        "ensemble(members=3)": 3,
        "ensemble(members=2, capacity=0.5)": 2,
    }.get(posterior, 1)
    assert not hasattr(clone(model), "posterior_")


@pytest.mark.parametrize("network", ["mlp", networks.mlp])
def test_a_network_of_the_house_or_ones_own(network):
    assert quick(network=network, epochs=10, learning_rate=1e-3).fit(X, Y).score(X, Y) > 0.8


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: quick().fit(X[:5], np.ones(5)), "1 class"),
        (lambda: quick(random_state="x").fit(X, Y), "random_state"),
        (lambda: quick(epochs=0).fit(X, Y), "epochs"),
    ],
)
def test_what_cannot_be_is_refused(make, match):
    with pytest.raises(InvalidArgument, match=match):
        make()


def test_columns_in_another_order_are_found_or_refused():
    x, y = blobs()
    frame = pd.DataFrame(x, columns=list("abcd"))
    classifier = BayesianClassifier(epochs=2, random_state=0).fit(frame, y)
    mixed = frame[list("dbca")]
    draws = classifier.draw()
    assert torch.allclose(draws(mixed), draws(frame))
    assert torch.allclose(draws(torch.from_numpy(x).double()), draws(frame))
    with pytest.raises(InvalidArgument, match="lacks the columns b"):
        draws(frame.drop(columns="b"))
    with pytest.raises(ValueError, match="same order"):
        classifier.predict(mixed)


@pytest.mark.parametrize("labels", [["a", None, "b"], ["a", np.nan, "b"], [0.0, np.nan, 1.0], [1, None, 2]])
def test_missing_labels_are_counted_and_refused(labels):
    x, _ = blobs()
    with pytest.raises(
        InvalidArgument, match="30 of 90 labels are missing, the first in row 1; leave these rows out"
    ):
        BayesianClassifier(epochs=1).fit(x, labels * 30)


def test_masked_values_are_refused():
    x, y = blobs()
    hidden = np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 5)
    fitted = BayesianClassifier(epochs=1, random_state=0).fit(
        np.ma.masked_array(x, False), np.ma.masked_array(y)
    )
    for act in (lambda: BayesianClassifier(epochs=1).fit(hidden, y), lambda: fitted.predict(hidden)):
        with pytest.raises(InvalidArgument, match=r"fill them, such as X.filled\(0\)"):
            act()
    with pytest.raises(InvalidArgument, match="masked, so they are missing"):
        BayesianClassifier(epochs=1).fit(x, np.ma.masked_array(y, y == 0))


def test_labels_of_other_rows_are_refused():
    x, y = blobs()
    frame, labels = pd.DataFrame(x, columns=list("abcd")), pd.Series(y)
    with pytest.raises(InvalidArgument, match="different indexes, so a row may get the label of another"):
        BayesianClassifier(epochs=1).fit(frame, labels.sample(frac=1, random_state=0))
    mixed = frame.sample(frac=1, random_state=0)
    BayesianClassifier(epochs=1).fit(mixed, labels.loc[mixed.index])


@pytest.mark.parametrize("labels", [[-1, 1], [1, 2], [True, False], ["yes", "no"]])
def test_classes_keep_their_own_names(labels):
    x, _ = blobs()
    fitted = BayesianClassifier(epochs=1, random_state=0).fit(x, labels * 45)
    assert fitted.classes_.tolist() == sorted(labels)


def test_importing_it_does_not_import_torch():
    code = "import sys, baldur.adapters.sklearn; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
