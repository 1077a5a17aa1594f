"""Models that a run exported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.tiny_runs import QUICK, blob_set, blobs, factory
from torch import nn

from baldur.errors import InvalidArgument
from baldur.runs import run
from baldur.runs.exported import load_model
from baldur.runs.opened import open as open_run
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


def test_an_exported_model_predicts_as_the_last_round_did(tmp_path):
    from baldur import report

    run.run(blob_set(), tmp_path / "run", network=factory, strategies=["bald"], **QUICK)
    with Store.open(tmp_path / "run") as store:
        report.export(store, tmp_path / "export")
        accuracy = [m.value for m in store.metrics("test") if m.metric == "accuracy"][-1]
    (folder,) = [p.parent for p in Path(tmp_path / "export").rglob("posterior.json")]
    model = load_model(folder, network=factory)
    assert model.classes == ("0", "1", "2")
    dataset = blob_set()
    predicted = model.predict_proba(dataset.test).argmax(1)
    assert (predicted == dataset.test_labels).mean() == pytest.approx(accuracy, abs=0.15)
    x, _ = blobs()
    rows = x[[int(i) for i in dataset.test.ids]]
    for raw in (rows, rows.astype(np.float64), torch.from_numpy(rows)):  # scaled as in the run
        assert (model.predict_proba(raw) == model.predict_proba(dataset.test)).all()
    with pytest.raises(InvalidArgument, match=r"items of shape \(4,\) were expected, not \(3,\)"):
        model.predict(rows[:, :3])


def test_a_model_of_a_table_finds_columns_by_name(tmp_path):
    rng = np.random.default_rng(0)
    y = np.where(np.arange(90) % 2, "yes", "no")
    table = pd.DataFrame(
        {
            "id": np.arange(90),
            "size": 1e4 + 1e3 * (y == "yes") + 300 * rng.normal(size=90),
            "colour": np.where(rng.random(90) < 0.9, y, "grey"),
            "noise": np.where(rng.random(90) < 0.1, np.nan, rng.normal(size=90)),
        }
    )
    options = QUICK | {"strategies": ["bald"], "epochs": 20}
    run.run((table, y), tmp_path / "run", **options)
    model = open_run(tmp_path / "run").model()
    p = model.predict_proba(table)
    assert (model.predict(table) == y).mean() > 0.8
    assert (model.predict_proba(table[["noise", "colour", "size"]]) == p).all()
    assert (model.predict_proba({name: table[name].tolist() for name in table}) == p).all()
    with pytest.raises(InvalidArgument, match="lacks the columns noise"):
        model.predict_proba(table.drop(columns="noise"))
    with pytest.raises(InvalidArgument, match="expected a data frame"):
        model.predict_proba(table[["size", "noise"]].to_numpy())
    run.run(
        table.assign(label=y), tmp_path / "run", **options | {"rounds": 3}
    )  # a frame with its labels: the same
    with pytest.raises(InvalidArgument, match="no column label; it has id, size"):
        run.run(table, tmp_path / "none", **options)


def by_width(shape, classes, width=1.0):
    """A network that an ensemble may ask for a share of."""
    return nn.Sequential(nn.Linear(shape[0], int(8 * width)), nn.ReLU(), nn.Linear(int(8 * width), classes))


def test_an_exported_ensemble_of_small_networks_is_loaded(tmp_path):
    from baldur import report

    options = QUICK | {"posterior": "ensemble(members=2, capacity=0.5)", "rounds": 0}
    run.run(blob_set(), tmp_path / "run", network=by_width, strategies=["random"], **options)
    with Store.open(tmp_path / "run") as store:
        (folder,) = [p for p in report.export(store, tmp_path / "export") if p.is_dir()]
    model = load_model(folder, network=by_width)
    assert [member.network[0].out_features for member in model.posterior.members] == [4, 4]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_takes_images_as_the_run_had_them(tmp_path, channels):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (60, 9, 10, channels), dtype=np.uint8)
    given = x[..., 0] if channels == 1 else x
    run.run((given, np.arange(60) % 2), tmp_path / "run", strategies=["random"], **QUICK)
    model = open_run(tmp_path / "run").model("random", seed=0)
    expected = model.predict_proba(x.transpose(0, 3, 1, 2))
    for same in (given, x, x.astype(np.float32)):
        assert (model.predict_proba(same) == expected).all()
    with pytest.raises(InvalidArgument, match=r"pixels from 0 to 255 were expected, .*; multiply by 255"):
        model.predict(given / 255)
    with pytest.raises(InvalidArgument, match="no items to predict"):
        model.predict(given[:0])
