"""The learner of a plan, if the data choose it."""

import numpy as np
import pandas as pd
import pytest

import baldur
from baldur.learners import Estimator, Supervised
from baldur.runs import settings as settings_
from baldur.runs.folder import adapted
from baldur.runs.observer import Observer
from baldur.runs.plan import Given, chosen_learner, for_data, make_learner, make_plan
from baldur.runs.run import _dataset

N = 40
Y = np.array(["owl", "tit"] * (N // 2))
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame({"size": RNG.normal(size=N) + (Y == "owl"), "age": RNG.normal(size=N), "label": Y})
TEXTS = ([f"the {name} flies {i} times over the wood" for i, name in enumerate(Y)], Y)
VECTORS = (RNG.normal(size=(N, 3)).astype(np.float32), Y)


def learner_of(data, tmp_path, **told):
    settings = adapted(settings_.create(**told), told)
    dataset = _dataset(data, settings.data)
    plan = make_plan(settings, Given(dataset=dataset))
    made = make_learner(for_data(plan, dataset), dataset, None, Observer(), tmp_path)
    return made, chosen_learner(plan, dataset)


@pytest.mark.parametrize(
    ("data", "name"), [(TABLE, "extra-trees"), (TEXTS, "committee(C=0.05, standardise=False)")]
)
def test_tables_and_texts_have_a_learner_of_their_own(tmp_path, data, name):
    learner, said = learner_of(data, tmp_path)
    assert isinstance(learner, Estimator)
    assert f"learner: {name}, the default" in said


@pytest.mark.parametrize("told", [{"epochs": 3}, {"learner": "supervised"}, {"posterior": "ensemble"}])
def test_an_option_of_learning_means_a_network(tmp_path, told):
    learner, said = learner_of(TABLE, tmp_path, **told)
    assert isinstance(learner, Supervised)
    assert not said


def test_vectors_have_a_network(tmp_path):
    learner, said = learner_of(VECTORS, tmp_path)
    assert isinstance(learner, Supervised)
    assert not said


def test_a_whole_run_of_a_table(tmp_path):
    options = {"seeds": 1, "rounds": 1, "initial": 10, "query_size": 4, "strategies": ["random"]}
    baldur.run(TABLE, tmp_path / "run", **options)
    model = baldur.open(tmp_path / "run").model()
    assert set(model.predict(TABLE[:6]).tolist()) <= {"owl", "tit"}
    assert baldur.run(TABLE, tmp_path / "run", rounds=2).state == "done"
