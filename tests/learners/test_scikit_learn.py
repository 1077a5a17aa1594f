"""Learning with scikit-learn estimators."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import BayesianRidge, LinearRegression, LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from tests.tiny_runs import blobs

from baldur import data
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidCheckpoint,
    InvalidLabel,
    OneClassOnly,
    Unsupported,
)
from baldur.learners.scikit_learn import Estimator
from baldur.learners.tables import committee, logistic_regression, random_forest
from baldur.likelihoods import BERNOULLI
from baldur.protocols import Labelled, View
from baldur.testing.learner import _Slot, verify_learner

X, Y = blobs(120)
POOL = data.from_arrays(X)
REST = View(POOL, np.arange(60, 120))
HELD = torch.from_numpy(X[60:])


def labelled(y=Y, positions=range(60), weights=None):
    positions = np.array(positions, np.intp)
    n = len(positions)
    weights = np.ones(n, np.float32) if weights is None else np.asarray(weights, np.float32)
    return Labelled(View(POOL, positions), y[positions], np.zeros(n, np.int64), weights, ("oracle",) * n)


def fit(learner, items=None, seed=0, **options):
    return learner.fit(labelled() if items is None else items, REST, seed=seed, round=0, **options)


@pytest.mark.parametrize(
    "make",
    [
        partial(Estimator, RandomForestClassifier(5), classes=3, members=3, smoothing=0.1, interval=0.0),
        partial(Estimator, LogisticRegression, classes=3, members=4, bootstrap=True, interval=0.0),
    ],
)
def test_the_contract_holds(make):
    verify_learner(make, labelled(), REST)


def test_the_prototype_is_not_touched_and_every_random_state_follows_from_the_seed():
    prototype = make_pipeline(StandardScaler(), RandomForestClassifier(3))
    posterior = fit(Estimator(prototype, classes=3, members=2))
    assert prototype.get_params()["randomforestclassifier__random_state"] is None
    assert not hasattr(prototype[0], "mean_")
    states = {m.get_params()["randomforestclassifier__random_state"] for m in posterior.members}
    assert len(states) == 2
    assert None not in states


def test_features_are_standardised_by_what_is_labelled():
    features = fit(random_forest(3)).draw().features(torch.from_numpy(X[:60]))
    torch.testing.assert_close(features.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(features.std(0, correction=0), torch.ones(4))


def test_a_weight_of_two_is_the_item_twice():
    weights = np.where(np.arange(60) < 20, 2.0, 1.0)
    for learner in (
        Estimator(LogisticRegression(), classes=3),
        Estimator(make_pipeline(make_pipeline(LogisticRegression())), classes=3),
    ):
        weighed = fit(learner, labelled(weights=weights)).draw()(HELD)
        twice = fit(learner, labelled(positions=[*range(60), *range(20)])).draw()(HELD)
        torch.testing.assert_close(weighed, twice, rtol=1e-3, atol=1e-3)
        assert (weighed - fit(learner).draw()(HELD)).abs().max() > 1e-2


def test_weights_that_an_estimator_cannot_take_are_refused():
    learner = Estimator(KNeighborsClassifier(), classes=3)
    fit(learner)
    with pytest.raises(Unsupported, match=r"KNeighborsClassifier\.fit takes no sample_weight"):
        fit(learner, labelled(weights=np.arange(60)))


def test_one_class_alone_is_predicted_with_a_warning():
    items = labelled(positions=np.flatnonzero(Y[:60] == 1))
    for learner in (random_forest(3, smoothing=0.0), logistic_regression(3), committee(3, smoothing=0.0)):
        with pytest.warns(OneClassOnly, match="of class 1"):
            draws = fit(learner, items).draw()
        assert draws.degenerate
        assert torch.equal(draws(HELD).exp()[:, 0], torch.tensor([[0.0, 1, 0]]).expand(60, 3))
        assert draws.features(HELD).shape == (60, 4)


def test_a_bootstrap_sample_of_one_class_predicts_it():
    items = labelled(positions=[*np.flatnonzero(Y[:60] == 0)[:1], *np.flatnonzero(Y[:60] == 1)[:6]])
    members = fit(Estimator(LogisticRegression(), classes=3, members=12, bootstrap=True), items).members
    assert {type(member).__name__ for member in members} == {"DummyClassifier", "LogisticRegression"}


def test_the_noise_of_a_regressor_is_what_it_gets_wrong_of_items_it_did_not_see():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3)).astype(np.float32)
    y = x @ np.array([1.0, -2.0, 0.5]) + 0.5 * rng.normal(size=400)
    pool = data.from_arrays(x)
    items = Labelled(pool, y, np.zeros(400, np.int64), np.ones(400, np.float32), ("oracle",) * 400)
    for estimator in (LinearRegression(), BayesianRidge()):
        draws = fit(Estimator(estimator, classes=1), items).draw()(torch.from_numpy(x))
        variance = float(draws[:, :, 1].mean())
        assert abs(variance / 0.25 - 1) < 5 * np.sqrt(2 / 400)  # five standard errors of a variance
    trees = fit(Estimator(RandomForestRegressor(20), classes=1), items)
    assert trees.functions == 20
    inside = float(np.mean((trees.draw()(torch.from_numpy(x))[:, :, 0].mean(1).numpy() - y) ** 2))
    assert float(trees.noise) > 2 * inside  # residuals of what was fitted would flatter


def test_several_labels_an_item():
    several = np.stack([X[:, 0] > 0, X[:, 1] > 1], 1).astype(np.int64)
    learner = Estimator(RandomForestClassifier(9), classes=2, likelihood=BERNOULLI)
    draws = fit(learner, labelled(several)).draw()
    assert draws.kind == "bernoulli"
    p = draws(HELD).exp().mean(1)  # (n, 2, K)
    assert (p.argmax(1).numpy() == several[60:]).mean() > 0.9


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: fit(random_forest(3), labelled(positions=[])), EmptyLabelledSet, "nothing is labelled"),
        (lambda: fit(random_forest(2)), InvalidLabel, "from 0 to 2, not from 0 to 1"),
        (lambda: random_forest(1), InvalidArgument, "at least 2"),
        (lambda: committee(3, members=0), InvalidArgument, "at least one member"),
        (lambda: Estimator(dict, classes=2), InvalidArgument, "not a dict"),
        (lambda: Estimator("forest", classes=2), InvalidArgument, "not a str"),
        (
            lambda: fit(Estimator(LinearRegression(), classes=1), labelled(X[:, 0], [3])),
            InvalidArgument,
            "two labelled items",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


def of_checkpoint(C=1.0, base=LogisticRegression, bootstrap=True):
    return Estimator(make_pipeline(base(C=C)), classes=3, members=2, bootstrap=bootstrap, interval=0.0)


@pytest.mark.parametrize(
    ("other", "items", "seed"),
    [
        (of_checkpoint(), labelled(), 2),
        (of_checkpoint(), labelled(positions=range(1, 61)), 1),
        (of_checkpoint(), labelled((Y + 1) % 3), 1),
        (of_checkpoint(), labelled(weights=np.full(60, 2.0)), 1),
        (of_checkpoint(C=2.0), labelled(), 1),
        (of_checkpoint(base=partial(SVC, probability=False)), labelled(), 1),
        (of_checkpoint(bootstrap=False), labelled(), 1),
    ],
    ids=["seed", "items", "labels", "weights", "options", "class", "bootstrap"],
)
def test_a_checkpoint_of_another_fit_is_refused(other, items, seed, tmp_path):
    slot = _Slot(tmp_path)
    fit(of_checkpoint(), seed=1, checkpoint=slot)
    fit(of_checkpoint(), seed=1, checkpoint=slot)
    with pytest.raises(InvalidCheckpoint):
        fit(other, items, seed=seed, checkpoint=slot)


def test_what_a_checkpoint_is_of_is_the_same_in_each_process():
    """A function and a generator print their address."""
    names = [
        Estimator(FunctionTransformer(np.log1p), classes=3),
        Estimator(RandomForestClassifier(random_state=np.random.RandomState(0)), classes=3),
    ]
    for learner in names:
        assert learner._about(0) == Estimator(clone(learner.estimator), classes=3)._about(0)
    assert names[0]._about(0) != Estimator(FunctionTransformer(np.log), classes=3)._about(0)


def test_a_label_that_nobody_has_is_named():
    several = np.stack([X[:, 0] > 0, X[:, 1] > 99], 1).astype(np.int64)
    learner = Estimator(MultiOutputClassifier(LogisticRegression()), classes=2, likelihood=BERNOULLI)
    with pytest.raises(InvalidLabel, match="all 60 items agree on label 1"):
        fit(learner, labelled(several))
    forest = Estimator(RandomForestClassifier(3), classes=2, likelihood=BERNOULLI)
    assert (fit(forest, labelled(several)).draw()(HELD)[:, :, 0, 1] == 0).all()


def test_any_classifier_will_do_and_none_warns(tmp_path):
    learner = Estimator(GaussianProcessClassifier(), classes=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        posterior = fit(learner)
    posterior.save(tmp_path)
    assert torch.equal(learner.load(tmp_path).draw()(HELD), posterior.draw()(HELD))
