"""A run opened for reading, from the front door."""

import numpy as np
import pytest
from tests.tiny_runs import QUICK, blobs, factory

import baldur
from baldur import strategies
from baldur.errors import InvalidArgument, RunNotFound
from baldur.store import Store


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "mine"
    options = QUICK | {"seeds": 2, "rounds": 1}
    baldur.run(blobs(), folder, network=factory, strategies=["random", strategies.bald], **options)
    return folder


def test_its_tables_are_those_of_the_store(folder):
    run = baldur.open(folder)
    with Store.open(folder) as store:
        assert len(run.metrics()) == len(store.metrics())
        assert list(run.picks()["item"]) == [row.item for row in store.requests()]
        assert list(run.labels()["label"]) == [row.value for row in store.labels()]
    curves = run.curves()
    assert list(curves.columns) == ["strategy", "seed", "round", "labels", "metric", "value"]
    accuracy = curves[curves.metric == "accuracy"].groupby(["strategy", "labels"]).value.mean()
    assert accuracy.index.get_level_values("labels").unique().tolist() == [6, 10]
    written = (folder / "curves.csv").read_text().splitlines()
    assert len(written) == len(curves) + 1


def test_it_shows_itself(folder):
    run = baldur.open(folder)
    assert "done" in repr(run)
    assert run._repr_html_().count("<tr>") >= 3
    assert run.status()["state"] == "done"
    page = run.report(folder / "other.html")
    assert "<h1>" in page.read_text()


def test_its_model_predicts_raw_items(folder):
    run, (x, y) = baldur.open(folder), blobs()
    model = run.model("bald", seed=0, network=factory)
    p = model.predict_proba(x)
    assert p.shape == (len(x), 3)
    assert p.sum(1) == pytest.approx(np.ones(len(x)), abs=1e-5)
    assert set(model.predict(x)) <= {"0", "1", "2"}
    measured = run.curves().query(
        "strategy != 'random' and seed == 0 and round == 1 and metric == 'accuracy'"
    )
    assert (model.predict(x) == y.astype(str)).mean() == pytest.approx(measured.value.item(), abs=0.2)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({}, "several trials match: 'random' seed 0"),
        ({"strategy": "bald"}, "several trials match"),
        (
            {"strategy": "margin", "seed": 0},
            "no trial with strategy 'margin' and seed 0; the trials are 'random' seed 0",
        ),
        ({"strategy": "bald", "seed": 7}, "no trial with strategy 'bald' and seed 7"),
    ],
)
def test_a_trial_that_is_not_told_is_asked_for(folder, told, words):
    with pytest.raises(InvalidArgument, match=words):
        baldur.open(folder).model(**told)


def test_images_are_normalised_as_in_the_run(tmp_path):
    from sklearn.datasets import load_digits

    options = QUICK | {"rounds": 0, "initial": 200, "epochs": 10, "epoch_size": 400}
    baldur.run("digits", tmp_path / "run", strategy="random", network="mlp", **options)
    run = baldur.open(tmp_path / "run")
    x, y = load_digits(return_X_y=True)
    model = run.model()
    predicted = model.predict(x.reshape(-1, 1, 8, 8))
    accuracy = run.metrics().query("metric == 'accuracy' and split == 'test'").value.iloc[-1]
    assert (predicted == y.astype(str)).mean() == pytest.approx(accuracy, abs=0.1)
    with pytest.raises(InvalidArgument, match=r"images of shape \(1, 8, 8\)"):
        model.predict(x)


def test_a_folder_without_a_run_names_those_that_are_near(folder, tmp_path):
    with pytest.raises(RunNotFound, match="mine"):
        baldur.open(folder.parent / "other")
    with pytest.raises(RunNotFound, match="`baldur run DATA --out FOLDER` starts one"):
        baldur.open(tmp_path / "nothing")
