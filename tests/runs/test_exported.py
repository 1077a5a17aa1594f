"""Models that a run exported."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.tiny_runs import QUICK, blob_set, blobs, factory
from torch import nn

from baldur.errors import InvalidArgument, InvalidData, ItemsLeftOut
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
    assert (predicted == dataset.test_labels).mean() == accuracy
    assert (model.predict_proba(dataset.test, seed=1) != model.predict_proba(dataset.test)).any()
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


def photos(folder, n=12):
    rng = np.random.default_rng(0)
    for i in range(2 * n):
        path = folder / ("day" if i % 2 else "night") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(128 * (i % 2), 128 + 128 * (i % 2), (20, 24, 3), dtype=np.uint8)).save(
            path
        )
    return folder


class Halves(nn.Module):
    """An encoder."""

    def forward(self, x):
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


@pytest.mark.parametrize("encoder", [None, f"{__name__}:Halves"])
def test_the_test_files_of_a_run_get_the_accuracy_that_was_measured(tmp_path, encoder):
    options = QUICK | {"strategies": ["random"], "image_size": 8, "epochs": 8}
    run.run(str(photos(tmp_path / "photos")), tmp_path / "run", network=factory, encoder=encoder, **options)
    ids = [f"{p.parent.name}/{p.name}" for p in (tmp_path / "photos").rglob("*.png")]
    with Store.open(tmp_path / "run") as store:
        accuracy = [m.value for m in store.metrics("test") if m.metric == "accuracy"][-1]
        test = sorted(id for id, item in store.some_items(ids).items() if item.split == "test")
    model = open_run(tmp_path / "run").model(network=factory)
    files = [tmp_path / "photos" / id for id in test]
    predicted = model.predict(files)
    assert (predicted == [file.parent.name for file in files]).mean() == accuracy
    table = model.predictions(tmp_path / "photos")
    assert list(table) == ["id", "path", "prediction", "probability", "day", "night"]
    assert table.set_index("id").loc[test, "prediction"].tolist() == predicted.tolist()
    assert (table[["day", "night"]].max(axis=1) == table["probability"]).all()
    bad = next(file for file in sorted((tmp_path / "photos").rglob("*.png")) if file not in files)
    bad.write_bytes(b"")
    with pytest.warns(ItemsLeftOut, match="1 item could not be read: .*: not an image"):
        predicted = model.predict([*files[:2], bad])
    assert predicted[-1] == ""
    assert (predicted[:2] != "").all()
    with pytest.raises(InvalidData, match=r"no item can be read; the first is .*: not an image"):
        model.predict(bad)
    with pytest.warns(ItemsLeftOut):
        assert len(model.predictions(tmp_path / "photos")) == 23


def test_a_class_with_the_name_of_a_column(tmp_path):
    x, y = blobs()
    run.run((x, np.array(["id", "class", "path"])[y]), tmp_path / "run", strategies=["random"], **QUICK)
    table = open_run(tmp_path / "run").model().predictions(x)
    assert list(table) == ["id", "prediction", "probability", "class", "class id", "class path"]
