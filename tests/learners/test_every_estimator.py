"""Every classifier of scikit-learn as a learner: fitted, saved and loaded, or refused with a sentence."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import all_estimators

from baldur import data
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners import Estimator
from baldur.protocols import Labelled, View

X, Y = load_digits(n_class=3, return_X_y=True)
X, Y = X[:90].astype(np.float32) / 16, Y[:90].astype(np.int64)
POOL = data.from_arrays(X)
PLAIN = LogisticRegression(max_iter=500)
GIVEN = {"StackingClassifier": [("a", PLAIN)], "VotingClassifier": [("a", PLAIN)]}
NO_PROBABILITIES = {
    *("LinearSVC", "NuSVC", "OneVsOneClassifier", "OutputCodeClassifier", "PassiveAggressiveClassifier"),
    *("Perceptron", "RidgeClassifier", "RidgeClassifierCV", "SGDClassifier", "SVC"),
}
OTHER_ITEMS = {  # two classes, several labels, other features, or more items than 60
    *("CategoricalNB", "ClassifierChain", "FixedThresholdClassifier", "MultiOutputClassifier"),
    *("QuadraticDiscriminantAnalysis", "RadiusNeighborsClassifier", "TunedThresholdClassifierCV"),
}
NEEDS_MORE_THAN_SIX = {"CalibratedClassifierCV", "LogisticRegressionCV", "StackingClassifier"}


def labelled(n):
    rounds, weights = np.zeros(n, np.int64), np.ones(n, np.float32)
    return Labelled(View(POOL, np.arange(n)), Y[:n], rounds, weights, ("oracle",) * n)


def made(name, kind):
    try:
        estimator = kind(GIVEN[name]) if name in GIVEN else kind()
    except TypeError:
        return kind(PLAIN)
    if name == "VotingClassifier":
        estimator.set_params(voting="soft")
    return estimator.set_params(estimator=PLAIN) if name == "SelfTrainingClassifier" else estimator


CASES = [(name, kind, n) for name, kind in all_estimators(type_filter="classifier") for n in (60, 6)]
REFUSED = NO_PROBABILITIES | OTHER_ITEMS


def told_by(name, kind, n):
    """The learner, its posterior, and the predictions of all items."""
    learner = Estimator(made(name, kind), classes=3)
    posterior = learner.fit(labelled(n), POOL, seed=0, round=0)
    return learner, posterior, posterior.draw(seed=0)(X)


@pytest.mark.filterwarnings("ignore")  # each warns of its own defaults
@pytest.mark.parametrize(("name", "kind", "n"), CASES, ids=[f"{name}-{n}" for name, _, n in CASES])
def test_it_is_saved_and_loaded_or_refused_with_a_sentence(name, kind, n, tmp_path):
    if name in REFUSED or (n == 6 and name in NEEDS_MORE_THAN_SIX):
        words = (
            rf"^{name} .*predict_proba" if name in NO_PROBABILITIES else rf"(?s)^{name} cannot .*more labels"
        )
        with pytest.raises((InvalidArgument, Unsupported), match=words):
            told_by(name, kind, n)
        return
    learner, posterior, told = told_by(name, kind, n)
    posterior.save(tmp_path)
    assert bool((learner.load(tmp_path).draw(seed=0)(X) == told).all())


def test_more_neighbours_than_labels_are_a_sentence():
    posterior = Estimator(KNeighborsClassifier(20), classes=3).fit(labelled(6), POOL, seed=0, round=0)
    with pytest.raises(
        InvalidArgument, match=r"KNeighborsClassifier cannot predict .*more labels first \(initial="
    ):
        posterior.draw(seed=0)(X)


def test_an_estimator_without_its_estimator_is_refused():
    with pytest.raises(InvalidArgument, match="SelfTrainingClassifier is not complete"):
        Estimator(SelfTrainingClassifier(), classes=3)
