"""Raw items of every form give the inputs that the run had."""

import csv
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from baldur import data
from baldur.data.applying import Applying
from baldur.data.scaling import scaled
from baldur.errors import DataNotFound, InvalidArgument, InvalidData

pyarrow = pytest.importorskip("pyarrow")


def all_of(pool):
    return torch.cat([x for _, x in pool.batches(np.arange(len(pool)), 3)])


def expected(dataset):
    """Inputs by id of all items of a data set."""
    found = {}
    for pool in (dataset.train, dataset.test):
        if len(pool):
            found |= dict(zip(pool.ids, all_of(pool).numpy(), strict=True))
    return found


def given(dataset, what):
    """Inputs by id, the paths, and the unreadable items."""
    inputs, paths, lost = {}, {}, {}
    for part in Applying(dataset.preprocessing).parts(what):
        paths |= dict(zip(part.ids, part.paths, strict=True))
        lost |= {part.ids[i]: why for i, why in part.unreadable.items()}
        if part.pool is not None:
            inputs |= dict(zip((part.ids[i] for i in part.read), all_of(part.pool).numpy(), strict=True))
    return inputs, paths, lost


def same(one, other):
    assert list(one) == list(other)
    assert all((one[id] == other[id]).all() for id in one)


@pytest.fixture(params=["RGB", "L", "some"])
def photos(tmp_path, request):
    """Photographs in folders: in colour, grey, or grey with some colours among the new ones."""
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        for i in range(6):
            side = (20 + i, 24)
            pixels = rng.integers(0, 256, (*side, 3) if request.param == "RGB" else side, dtype=np.uint8)
            (tmp_path / "photos" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / kind / f"{i}.png")
    return tmp_path / "photos"


def test_images_are_read_as_in_the_run(photos, tmp_path):
    dataset = data.load(str(photos), image_size=16, cache=tmp_path / "cache")
    ids = sorted(expected(dataset))
    known = {id: expected(dataset)[id] for id in ids}
    inputs, paths, lost = given(dataset, photos)
    same(inputs, known)
    assert paths == {id: str(photos / id) for id in ids}
    assert not lost
    files = [photos / id for id in ids]
    same(dict(zip(ids, given(dataset, files)[0].values(), strict=True)), known)
    assert list(given(dataset, [str(file) for file in files])[0]) == [str(file) for file in files]
    one, _, _ = given(dataset, str(files[0]))
    same(one, {files[0].name: known[ids[0]]})
    pictures = [Image.open(file) for file in files]
    same(dict(zip(ids, given(dataset, pictures)[0].values(), strict=True)), known)
    same(given(dataset, pictures[0])[0], {"0": known[ids[0]]})
    arrays = [np.asarray(picture) for picture in pictures]
    same(dict(zip(ids, given(dataset, arrays)[0].values(), strict=True)), known)
    same(given(dataset, np.stack([arrays[0]] * 2))[0], {"0": known[ids[0]], "1": known[ids[0]]})
    for name, lines in {
        "list.csv": "path,label,other\n" + "".join(f"photos/{id},owl,1\n" for id in ids),
        "list.jsonl": "".join(json.dumps({"path": f"photos/{id}", "label": 3}) + "\n" for id in ids),
    }.items():
        (tmp_path / name).write_text(lines)
        inputs, paths, _ = given(dataset, tmp_path / name)
        assert list(inputs) == [f"photos/{id}" for id in ids]
        same(dict(zip(ids, inputs.values(), strict=True)), known)
    frame = pd.DataFrame({"path": [str(file) for file in files], "id": range(len(files))})
    inputs, paths, _ = given(dataset, frame)
    assert list(inputs) == [str(i) for i in range(len(files))]
    same(dict(zip(ids, inputs.values(), strict=True)), known)
    frame.to_parquet(tmp_path / "list.parquet")
    assert list(given(dataset, tmp_path / "list.parquet")[0]) == list(inputs)
    pd.DataFrame({"image": [{"bytes": file.read_bytes()} for file in files], "label": "x"}).to_parquet(
        tmp_path / "images.parquet"
    )
    same(dict(zip(ids, given(dataset, tmp_path / "images.parquet")[0].values(), strict=True)), known)


def test_colours_in_new_images_become_grey(photos, tmp_path):
    dataset = data.load(str(photos), image_size=16, cache=tmp_path / "cache")
    shape = dataset.preprocessing["shape"]
    Image.new("RGB", (30, 30), (255, 0, 0)).save(photos / "cat" / "0.png")
    inputs, _, _ = given(dataset, photos)
    assert {tuple(x.shape) for x in inputs.values()} == {tuple(shape)}
    if shape[0] == 1:
        assert inputs["cat/0.png"].mean() == pytest.approx((0.299 - 0.449) / 0.226, abs=1e-3)


def test_what_cannot_be_read_is_named_and_the_rest_is_taken(photos, tmp_path):
    dataset = data.load(str(photos), image_size=16, cache=tmp_path / "cache")
    (photos / "cat" / "0.png").write_bytes(b"nothing")
    (photos / "dog" / "note.txt").write_text("no image")
    inputs, _, lost = given(dataset, photos)
    assert lost == {"cat/0.png": "not an image"}
    assert len(inputs) == 11
    inputs, _, lost = given(dataset, [photos / "cat" / "1.png", photos / "gone.png", photos / "dog"])
    assert list(lost) == [str(photos / "gone.png")]
    assert "No such file" in lost[str(photos / "gone.png")]
    assert len(inputs) == 7
    with pytest.raises(DataNotFound, match="there is nothing at"):
        given(dataset, tmp_path / "none")
    (tmp_path / "table.csv").write_text("a,label\n1,cat\n")
    with pytest.raises(InvalidData, match="has the columns a, label, but the run has images"):
        given(dataset, tmp_path / "table.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text("")
    with pytest.raises(InvalidData, match=r"has no image, but \.txt files"):
        given(dataset, tmp_path / "empty")


def table(n=40):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": 1e4 + 1e3 * rng.normal(size=n),
            "colour": rng.choice(["red", "green, dark", "blue"], n),
            "count": np.where(rng.random(n) < 0.2, np.nan, rng.integers(0, 9, n)),
        }
    )


@pytest.mark.parametrize("trained", ["csv", "jsonl", "parquet", "frame"])
def test_columns_are_found_by_name(tmp_path, trained):
    frame = table()
    labelled = frame.assign(label=np.where(np.arange(40) % 2, "a", "b"))

    def saved(frame, form, name="data"):
        path = tmp_path / f"{name}.{form}"
        if form == "csv":
            frame.to_csv(path, index=False)
        elif form == "jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=15)
        else:
            frame.to_parquet(path)
        return path

    if trained == "frame":
        dataset = data.load_for_labelling(labelled)
    else:
        dataset = data.load(str(saved(labelled, trained)), cache=tmp_path / "cache")
    known = dict(sorted(expected(dataset).items(), key=lambda one: int(one[0])))
    new = frame[["count", "colour", "size"]].assign(label="unseen", extra=1.5, split="wrong")
    for form in ("csv", "jsonl", "parquet"):
        inputs, paths, _ = given(dataset, saved(new, form, "new"))
        assert list(inputs) == list(known)
        assert all(np.allclose(inputs[id], known[id], atol=1e-6) for id in known)
        assert set(paths.values()) == {None}
        with pytest.raises(InvalidArgument, match=r"lacks the columns (colour|size|count); it has"):
            given(dataset, saved(new.drop(columns="colour"), form, "less"))
        ids = saved(new.assign(id=[f"row {i}" for i in range(40)]), form, "ids")
        assert list(given(dataset, ids)[0])[:2] == ["row 0", "row 1"]
    same(given(dataset, new)[0], known)
    same(given(dataset, {name: new[name].tolist() for name in new})[0], known)
    with pytest.raises(InvalidArgument, match="expected a data frame"):
        given(dataset, frame[["size"]].to_numpy())
    with pytest.raises(InvalidArgument, match="the column size was learned as numbers, but it has 'tall'"):
        given(dataset, new.assign(size="tall"))


@pytest.mark.parametrize("kind", ["vectors", "images", "bytes"])
def test_arrays_in_files_and_in_memory(tmp_path, kind):
    rng = np.random.default_rng(0)
    shape = {"vectors": (5,), "images": (9, 10, 3), "bytes": (7,)}[kind]
    x = rng.normal(size=(30, *shape)).astype(np.float32)
    if kind != "vectors":
        x = rng.integers(0, 256, (30, *shape), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(30) % 2)
    dataset = scaled(data.load(str(tmp_path / "data.npz"), test_fraction=0.2))
    known = dict(sorted(expected(dataset).items(), key=lambda one: int(one[0])))
    np.save(tmp_path / "new.npy", x)
    np.savez(tmp_path / "parts.npz", x_train=x[:20], x_test=x[20:], y_train=np.zeros(20), y_test=np.zeros(10))
    for what in (tmp_path / "data.npz", tmp_path / "new.npy", x, torch.from_numpy(x)):
        same(given(dataset, what)[0], known)
    bare, pairs = TensorDataset(torch.from_numpy(x)), TensorDataset(torch.from_numpy(x), torch.zeros(30))
    for what in (bare, pairs):
        same(given(dataset, what)[0], known)
    assert list(given(dataset, tmp_path / "parts.npz")[0])[19:21] == ["train/19", "test/0"]
    with pytest.raises(InvalidArgument, match="were expected, not"):
        given(dataset, x[:, :4])
    np.savez(tmp_path / "other.npz", a=x, b=x)
    with pytest.raises(InvalidData, match=r"has a, b; x, or x_train and x_test are needed"):
        given(dataset, tmp_path / "other.npz")


def test_lists_of_numbers_in_parquet(tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    pd.DataFrame({"v": list(x), "label": ["a", "b"] * 10}).to_parquet(tmp_path / "data.parquet")
    dataset = scaled(data.load(str(tmp_path / "data.parquet"), cache=tmp_path / "cache"))
    known = dict(sorted(expected(dataset).items(), key=lambda one: int(one[0])))
    rows = [*x, x[0][:2]]
    pd.DataFrame({"w": range(21), "v": rows}).to_parquet(tmp_path / "new.parquet")
    inputs, _, lost = given(dataset, tmp_path / "new.parquet")
    same(inputs, known)
    assert "has 2 numbers" in lost["20"]
    pd.DataFrame({"w": range(21)}).to_parquet(tmp_path / "none.parquet")
    with pytest.raises(InvalidData, match="lacks the columns v; it has w"):
        given(dataset, tmp_path / "none.parquet")


def test_image_files_for_a_run_on_arrays_of_images(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (12, 14, 14), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(12) % 2)
    dataset = data.load(str(tmp_path / "data.npz"), test_fraction=0.2)
    known = dict(sorted(expected(dataset).items(), key=lambda one: int(one[0])))
    (tmp_path / "files").mkdir()
    for i in range(12):
        Image.fromarray(x[i]).save(tmp_path / "files" / f"{i:02}.png")
    inputs, _, _ = given(dataset, tmp_path / "files")
    same({str(int(id[:2])): values for id, values in inputs.items()}, known)


def test_a_named_set():
    dataset = data.load("digits")
    inputs, _, _ = given(dataset, "digits")
    known = expected(dataset)
    assert inputs.keys() == known.keys()
    assert all((inputs[id] == known[id]).all() for id in known)


class Mean(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x.mean((2, 3)), x.std((2, 3))], 1)


def test_an_encoder_comes_before_the_model(photos, tmp_path):
    dataset = scaled(
        data.load(str(photos), image_size=16, cache=tmp_path / "cache", encoder=f"{__name__}:Mean")
    )
    ids = sorted(expected(dataset))
    known = {id: expected(dataset)[id] for id in ids}
    inputs, _, _ = given(dataset, photos)
    assert list(inputs) == ids
    assert all(np.allclose(inputs[id], known[id], atol=1e-5) for id in ids)
    pictures = [Image.open(photos / id) for id in ids]
    assert all(
        np.allclose(x, known[id], atol=1e-5)
        for x, id in zip(given(dataset, pictures)[0].values(), ids, strict=True)
    )
    features = np.stack([np.ones(6, np.float32)] * 4)
    assert len(given(dataset, features)[0]) == 4
    dataset.preprocessing["sha256"] = "0"
    with pytest.raises(InvalidData, match="is not the one that the run used"):
        given(dataset, photos)


def test_a_list_is_read_from_its_own_folder(photos, tmp_path, monkeypatch):
    dataset = data.load(str(photos), image_size=16, cache=tmp_path / "cache")
    with (tmp_path / "photos" / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path"], [r"cat\0.png"], ["cat/0.png"], [str(photos / "dog" / "1.png")]])
    monkeypatch.chdir("/")
    inputs, paths, lost = given(dataset, photos / "list.csv")
    assert not lost
    assert len(paths) == 3 == len(inputs)
