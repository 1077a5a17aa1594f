"""Estimators, score functions and other objects in the place of a learner or a strategy."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tests.strategies.pools import setting
from tests.tiny_runs import QUICK, blob_set

import baldur
from baldur import acquire, learners
from baldur.adapters.sklearn import BayesianClassifier
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.runs.meant import ByScore, as_learner, as_strategy
from baldur.runs.names import STRATEGIES, learner_named, name_of, strategy_named
from baldur.testing import verify_strategy

pytestmark = pytest.mark.usefixtures("without_charts")

SMALL = BayesianClassifier((16,), epochs=30, epoch_size=64, learning_rate=0.01)


@pytest.mark.parametrize(
    "learner",
    [
        LogisticRegression(C=2.0),
        RandomForestClassifier(5),
        make_pipeline(StandardScaler(), LogisticRegression()),
        SMALL,
        BayesianClassifier(network="mlp", posterior="ensemble(members=2)", epochs=20, epoch_size=64),
    ],
    ids=lambda learner: type(learner).__name__,
)
@pytest.mark.filterwarnings("ignore::baldur.errors.TieBreakWarning")
def test_a_classifier_is_a_learner(tmp_path, learner):
    folder = tmp_path / "run"
    outcome = baldur.run(blob_set(), folder, learner=learner, strategies=["entropy"], **QUICK)
    assert outcome.state == "done"
    again = baldur.run(blob_set(), folder, learner=learner, strategies=["entropy"], **QUICK | {"rounds": 3})
    whole = baldur.run(
        blob_set(), tmp_path / "w", learner=learner, strategies=["entropy"], **QUICK | {"rounds": 3}
    )
    assert str(again) == str(whole)
    assert baldur.open(folder).curves().query("metric == 'accuracy'").value.iloc[-1] > 0.5


def test_a_classifier_of_unlike_columns_is_standardised_and_loaded_as_it_was(tmp_path):
    _, labelled, unlabelled, _ = setting()
    made = as_learner(SMALL, (4,), 3)
    posterior = made.fit(labelled, unlabelled, seed=0, round=0)
    posterior.save(tmp_path)
    x = torch.randn(5, 4)
    assert torch.equal(made.load(tmp_path).draw(3)(x), posterior.draw(3)(x))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (LinearRegression(), "LinearRegression is no classifier"),
        (make_pipeline(StandardScaler(), KMeans(3)), "KMeans is no classifier"),
        (make_pipeline(StandardScaler(), SMALL), "give the BayesianClassifier itself"),
        (5, "a learner must be a name, .* not a int"),
        (acquire.bald, "not a function"),
    ],
)
def test_what_is_no_learner_is_refused(given, words):
    with pytest.raises(InvalidArgument, match=words):
        as_learner(given, (4,), 3)


def test_an_estimator_has_a_name_with_its_options():
    name = name_of(LogisticRegression(C=2.0))
    assert name.endswith(":LogisticRegression(C=2.0)")
    made = learner_named(name).make(lambda: None, 3, (None, 3, None))
    assert made.estimator.C == 2.0
    assert (
        learner_named("sklearn.linear_model:LogisticRegression")
        .make(lambda: None, 3, (None, 3, None))
        .classes
        == 3
    )
    with pytest.raises(InvalidSettings, match="there is no option 'D'"):
        learner_named("sklearn.linear_model:LogisticRegression(D=2.0)")
    with pytest.raises(InvalidSettings, match="must come last: 'ceal"):
        learner_named("sklearn.linear_model:LogisticRegression + ceal")
    assert name_of(learners.Estimator(LogisticRegression(C=2.0), classes=3)).endswith(":Estimator")


def by_margin(log_probs):
    return -acquire.margin(log_probs)


@pytest.mark.parametrize("score", [acquire.bald, partial(acquire.variation_ratio, mode="votes"), by_margin])
def test_a_score_function_is_the_strategy_of_the_largest_score(score):
    verify_strategy(as_strategy(score, "it"), *setting())


def test_a_score_function_by_name_and_by_object_is_the_strategy_of_that_name():
    posterior, labelled, unlabelled, scorer = setting()
    rest = posterior, labelled, unlabelled, 3, np.random.default_rng(0), scorer
    expected = STRATEGIES["bald"](*rest)
    for found in (as_strategy(acquire.bald, "bald"), strategy_named("baldur.acquire:bald")):
        assert found == ByScore(acquire.bald)
        assert found(*rest).ids == expected.ids
    assert as_strategy(STRATEGIES["bald"], "bald") is STRATEGIES["bald"]
    x = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    chosen = [baldur.choose(posterior, x, k=3, strategy=s).ids for s in ("bald", acquire.bald)]
    assert chosen[0] == chosen[1]


def test_a_run_takes_score_functions(tmp_path):
    def certain(log_probs):
        return log_probs.exp().mean(1).amax(1)

    outcome = baldur.run(
        blob_set(), tmp_path / "run", strategies=["random", acquire.entropy, certain], **QUICK
    )
    assert outcome.state == "done"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (acquire.epig, r"epig takes \(.*a score function takes log-probabilities"),
        (lambda: 1, "a strategy takes"),
        (
            lambda log_probs: log_probs.exp().mean(1),
            r"array \(32,\) for log-probabilities \(32, 10, 3\), not \(32, 3\)",
        ),
        (lambda log_probs: 1.0, r"not \(\)"),
    ],
)
def test_what_is_no_strategy_is_refused(given, words):
    posterior, labelled, unlabelled, scorer = setting()
    with pytest.raises(InvalidArgument, match=f"(?i){words}"):
        as_strategy(given, "epig")(posterior, labelled, unlabelled, 3, np.random.default_rng(0), scorer)
