"""Runs that version 0.1.0 began, before its modules were moved: this version goes on with them to the same end.

`named` was killed while the second member of an ensemble was trained; everything in it has a name. `objects` was killed
while it chose; its strategies, network and learner were handed over in Python.
"""

import json
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.tiny_runs import blobs

from baldur import learners, networks, strategies
from baldur.posteriors import fit
from baldur.runs.exported import load_model
from baldur.runs.run import run
from baldur.store import Store
from baldur.training import Recipe

pytestmark = pytest.mark.usefixtures("without_charts")

HERE = Path(__file__).parent / "made_by_0_1"
QUICK = {
    "seeds": 1,
    "rounds": 3,
    "query_size": 4,
    "initial": 12,
    "draws": 4,
    "epochs": 2,
    "epoch_size": 32,
    "threads": 1,
    "checkpoint_seconds": 0,
}


def named(folder):
    return run(
        "digits",
        folder,
        strategies=["random", "power_bald(beta=4)", "baldur.strategies:core_set"],
        network="mlp(width=0.25)",
        learner="ceal(threshold=0.1) + supervised",
        posterior="ensemble(members=2, each='mc-dropout', together='turn')",
        stop=["budget(500)"],
        schedule="cosine",
        loss="symmetric_cross_entropy",
        noise=0.1,
        reading=1,
        scaling="none",
        **QUICK,
    )


def objects(folder):
    learner = learners.ceal(
        learners.Supervised(
            partial(networks.mlp, (4,), 3, width=0.25),
            classes=3,
            recipe=Recipe(epochs=2, epoch_size=32),
            posterior=partial(fit.swag, rank=2),
        ),
        model="previous",  # what a learner of Python does is its own matter: this was the default
    )
    return run(
        blobs(),
        folder,
        strategies=["random", strategies.bald, partial(strategies.power_bald, beta=4.0)],
        network=networks.mlp,
        learner=learner,
        reading=1,
        scaling="none",
        stop="stabilising-predictions(window=3)",
        **QUICK,
    )


def unpacked(name, folder):
    with tarfile.open(HERE / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def history(folder):
    """Picks, and metrics by where they belong, without those that the old version did not measure."""
    with Store.open(folder) as store:
        picks = [[r.strategy, r.seed, r.round, r.rank, r.item] for r in store.requests()]
        measured = [m for m in store.metrics() if m.split != "training"]
        metrics = {(m.strategy, m.seed, m.round, m.metric, m.split): m.value for m in measured}
    return picks, metrics


@pytest.mark.parametrize("make", [named, objects])
def test_it_goes_on_to_the_same_end(make, tmp_path):
    begun = unpacked(make.__name__, tmp_path / "old")
    said = json.loads(begun.with_suffix(".json").read_text())
    expected = {tuple(row[:5]): row[5] for row in said["metrics"]}
    before = history(begun)[1]
    assert 0 < len(before) < len(expected)
    assert make(begun).state == "done"
    picks, metrics = history(begun)
    assert picks == said["picks"]
    assert metrics == pytest.approx(expected, rel=1e-5)
    make(tmp_path / "new")
    new_picks, new_metrics = history(tmp_path / "new")
    assert new_picks == picks
    if all(new_metrics[key] == value for key, value in before.items()):  # this machine computes the same bits
        assert new_metrics == metrics


def tripled():
    x, y = blobs(30)
    return np.tile(x, (3, 1)), np.tile(y, 3)


def test_a_split_with_copies_on_both_sides_stays_until_a_new_run(tmp_path):
    """A run of the second format, as it was before copies were kept together."""
    run(tripled(), tmp_path / "old", reading=1, **QUICK | {"rounds": 1})
    with Store.open(tmp_path / "old") as store, store.lock("trainer"):
        text = store.settings.replace("format = 3", "format = 2").replace("reading = 1\n", "")
        assert "reading" not in text
        store.change_settings(text)
        before = store.preprocessing["facts"]["fingerprint"]
    assert run(tripled(), tmp_path / "old", **QUICK).state == "done"
    assert len(history(tmp_path / "old")[0]) == 2 * (12 + 3 * 4)
    run(tripled(), tmp_path / "new", **QUICK)
    with Store.open(tmp_path / "new") as store:
        assert store.preprocessing["facts"]["fingerprint"] != before


def test_it_goes_on_by_its_folder_alone(tmp_path):
    from typer.testing import CliRunner

    from baldur.cli import app

    begun = unpacked("named", tmp_path)
    said = json.loads(begun.with_suffix(".json").read_text())
    done = CliRunner().invoke(app, ["run", "--out", str(begun), "--quiet"])
    assert done.exit_code == 0, done.output
    assert history(begun)[0] == said["picks"]


@pytest.mark.parametrize(
    ("name", "network"), [("named", None), ("objects", partial(networks.mlp, width=0.25))]
)
def test_an_exported_model_is_read(name, network, tmp_path):
    model = load_model(unpacked("exported", tmp_path) / name, network)
    shape = model.preprocessing["input_shape"]
    assert model.posterior.draw(2)(torch.zeros(3, *shape)).shape == (3, 2, len(model.classes))
