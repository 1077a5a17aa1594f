"""Estimators on disk: what is trusted, and what is checked after reading."""

import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import Birch, BisectingKMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    BaggingClassifier,
    HistGradientBoostingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_iterative_imputer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import Matern, WhiteKernel
from sklearn.impute import IterativeImputer, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import DistanceMetric
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.neighbors._kd_tree import NeighborsHeap64 as NeighborsHeap
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, SplineTransformer
from sklearn.semi_supervised import LabelPropagation
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.parallel import delayed

from baldur.errors import DamagedArtefact, Unsupported
from baldur.posteriors.estimators.skops import read, write

assert enable_iterative_imputer  # importing it offers the imputer
X, Y = load_digits(n_class=3, return_X_y=True)
X, Y = X[:90] / 16, Y[:90]
PLAIN = LogisticRegression(max_iter=500)
PAIR = [("a", PLAIN), ("b", GaussianNB())]

HARD = {
    "histogram boosting": HistGradientBoostingClassifier(max_iter=3),
    "boosting by categories": HistGradientBoostingClassifier(max_iter=3, categorical_features=[2, 3, 10]),
    "stopped boosting": HistGradientBoostingClassifier(max_iter=9, early_stopping=True),
    "kd tree": KNeighborsClassifier(algorithm="kd_tree"),
    "ball tree": KNeighborsClassifier(algorithm="ball_tree", p=3),
    "seuclidean": KNeighborsClassifier(
        algorithm="ball_tree", metric="seuclidean", metric_params={"V": np.ones(64)}
    ),
    "radius": RadiusNeighborsClassifier(9.0, algorithm="kd_tree"),
    "bagged neighbours": BaggingClassifier(KNeighborsClassifier(algorithm="kd_tree"), 3),
    "graph": LabelPropagation(kernel="knn"),
    "sigmoid": CalibratedClassifierCV(LinearSVC()),
    "isotonic": CalibratedClassifierCV(DecisionTreeClassifier(), method="isotonic"),
    "stack": StackingClassifier(PAIR),
    "vote": VotingClassifier(PAIR, voting="soft"),
    "sgd": MLPClassifier((4,), solver="sgd", max_iter=5),
    "gaussian process": GaussianProcessClassifier(1.0 * Matern() + WhiteKernel()),
    "splines": make_pipeline(SplineTransformer(3), PLAIN),
    "bins": make_pipeline(KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), PLAIN),
    "imputer": make_pipeline(SimpleImputer(), PLAIN),
    "iterative imputer": make_pipeline(FunctionTransformer(np.sqrt), IterativeImputer(max_iter=1), PLAIN),
    "best features": make_pipeline(SelectKBest(chi2), PLAIN),
    "clusters": make_pipeline(BisectingKMeans(4), PLAIN),
}


def fitted(estimator, y=Y):
    states = {name: 0 for name in estimator.get_params() if name.endswith("random_state")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that did not converge
        return clone(estimator).set_params(**states).fit(X, y)


@pytest.mark.parametrize("name", HARD)
def test_an_estimator_is_the_same_after_reading(name, tmp_path):
    model = fitted(HARD[name])
    write(tmp_path / "it", {"members": [model]})
    again = read(tmp_path / "it")["members"][0]
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_tuned_threshold_is_the_same_after_reading(tmp_path):
    model = fitted(TunedThresholdClassifierCV(PLAIN, cv=2), Y == 0)
    write(tmp_path / "it", model)
    assert np.array_equal(read(tmp_path / "it").predict(X), model.predict(X))


def test_a_type_that_skops_cannot_write_is_refused_with_a_sentence(tmp_path):
    with pytest.raises(Unsupported, match=r"Birch.*take other ones"):
        write(tmp_path / "it", fitted(make_pipeline(Birch(n_clusters=None), PLAIN)))


@pytest.mark.parametrize(
    "value",
    [
        FunctionTransformer(load_digits),
        FunctionTransformer(delayed),
        PLAIN.fit,
        partial(PLAIN.fit, X),
        {"a": [Path()]},
        NeighborsHeap,
    ],
    ids=["function", "function of utils", "method", "partial", "path", "compiled"],
)
def test_functions_and_foreign_types_are_not_trusted(value, tmp_path):
    with pytest.raises(Unsupported, match=r"not known to be safe|cannot write"):
        write(tmp_path / "it", value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("left", 10**6), ("right", 0), ("feature_idx", 64), ("feature_idx", -1), ("bitset_idx", 99)],
)
def test_boosting_whose_indices_lead_outside_is_refused(tmp_path, field, value):
    model = fitted(HARD["boosting by categories"])
    inside = fitted(CalibratedClassifierCV(FrozenEstimator(model)))
    nodes = model._predictors[0][0].nodes.copy()
    nodes["is_categorical"][0] = True
    nodes[field][0] = value
    model._predictors[0][0].nodes = nodes
    write(tmp_path / "it", {"inside": inside})
    with pytest.raises(DamagedArtefact, match="tree"):
        read(tmp_path / "it")


def test_compiled_parts_outside_of_their_estimator_are_refused(tmp_path):
    neighbours = fitted(HARD["kd tree"])
    boosting = fitted(HARD["histogram boosting"])
    for part in (neighbours._tree, boosting._predictors[0][0], DistanceMetric.get_metric("euclidean")):
        write(tmp_path / "it", [boosting, neighbours, {"a": deepcopy(part)}])
        with pytest.raises(DamagedArtefact, match="outside"):
            read(tmp_path / "it")
