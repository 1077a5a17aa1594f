"""Each item has a record with what a page needs to show it, for each format and front."""

import io
import json
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.data.test_labelling import BOTH, PIXELS, SOME, WITH, WITHOUT, X, opened, parquet, table

from baldur.data import load_for_labelling
from baldur.data.origins import chosen, of_stream, plain, records_of
from baldur.data.pictures import picture_of

FRONTS = {f"{name}, no labels": make for name, make in WITHOUT.items()} | WITH
TABLES = ("CSV", "JSONL", "Parquet", "data frame", "dict of columns")
VECTORS = ("npy", "npz", "array", "tensor", "list of rows", "pair without", "TensorDataset")


def pixels_of(png):
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize("front", FRONTS)
def test_the_record_of_each_item(front, tmp_path):
    dataset = opened(FRONTS[front](tmp_path), tmp_path, classes=BOTH)
    records = list(records_of(dataset))
    assert [r.id for r in records] == list(dataset.train.ids)
    for position, record in enumerate(records):
        i = int("".join(filter(str.isdigit, record.id.rsplit("/")[-1])))
        assert (record.split, record.group) == ("train", None)
        assert json.loads(json.dumps(record.shown)) == record.shown
        image = "image" in front or "folder" in front or "manifest" in front or "list of arrays" in front
        if image:
            assert (pixels_of(picture_of(dataset, position)) == PIXELS[i]).all()
            assert record.shown is None
        if "folder" in front or "manifest" in front:
            assert (np.asarray(Image.open(record.path)) == PIXELS[i]).all()
            assert (record.size, record.part) == (Path(record.path).stat().st_size, None)
        elif record.path is not None:
            assert Path(record.path).is_absolute()
            assert (Path(record.path).parent, record.part) == (tmp_path, i)
        if (
            front.startswith(TABLES)
            and "manifest" not in front
            and " of images" not in front
            and "lists" not in front
        ):
            row = {
                "u": pytest.approx(X[i, 0], rel=1e-6),
                "v": pytest.approx(X[i, 1], rel=1e-6),
                "text": f"sentence {i}",
            }
            told = record.shown["row"]
            assert {name: float(told[name]) for name in "uv"} | {"text": told["text"]} == row
        elif front.startswith(VECTORS) and not image:
            assert list(record.shown["row"].values()) == pytest.approx(X[i].tolist())
            assert picture_of(dataset, position) is None


def test_texts_beside_an_embedding_are_what_people_see(tmp_path):
    texts = [f"sentence {i}" for i in range(6)]
    one = opened(parquet(tmp_path, x=X.tolist(), review=texts), tmp_path, classes=BOTH)
    assert [r.shown for r in records_of(one)] == [{"text": text} for text in texts]
    two = opened(parquet(tmp_path, x=X.tolist(), title=texts, place=list("abcdef")), tmp_path, classes=BOTH)
    assert [r.shown["row"] for r in records_of(two)] == [
        {"title": t, "place": "abcdef"[i]} for i, t in enumerate(texts)
    ]
    beside = opened(parquet(tmp_path, image=[png() for _ in range(6)], place=texts), tmp_path, classes=BOTH)
    assert [r.shown["text"] for r in records_of(beside)] == texts


def png():
    file = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(file, "PNG")
    return file.getvalue()


def test_test_items_follow_the_pool(tmp_path):
    frame = pd.DataFrame(table(SOME, split=["test", "", "test", "", "", ""], group=list("axbycd")))
    frame.to_csv(tmp_path / "t.csv", index=False)
    for what in (frame, tmp_path / "t.csv"):
        records = list(records_of(opened(what, tmp_path, classes=BOTH)))
        assert [r.id for r in records] == ["1", "3", "4", "5", "0", "2"]
        assert [r.split for r in records] == ["train"] * 4 + ["test"] * 2
        assert [r.group for r in records] == ["x", "y", "c", "d", "a", "b"]
        assert [r.shown["row"]["text"][-1] for r in records] == ["1", "3", "4", "5", "0", "2"]
        assert {*records[0].shown["row"]} == {"u", "v", "text"}


def test_a_stream_is_read_in_any_order():
    read = []

    def stream():
        for i in range(100):
            read.append(i)
            yield {"text": str(i)}

    rng = np.random.default_rng(0)
    for order in (np.arange(100), np.arange(0, 100, 7), np.array([], np.intp), np.array([99]), rng.permutation(100),
                  np.array([5, 6, 90, 2, 3, 4, 4])):  # fmt: skip
        read.clear()
        told = list(of_stream(["/a", "/b"], [60, 40], stream, order))
        assert [int(o.shown["text"]) for o in told] == order.tolist()
        assert [(o.path, o.part) for o in told] == [
            ("/a", i) if i < 60 else ("/b", i - 60) for i in order.tolist()
        ]
        assert len(read) <= 300


def test_values_as_json_holds_them():
    values = [
        np.float32(1.5),
        np.int64(3),
        np.nan,
        float("inf"),
        None,
        pd.NaT,
        pd.NA,
        np.bool_(True),
        "é",
        pd.Timestamp(0),
    ]
    told = [plain(value) for value in values]
    assert told == [1.5, 3, None, None, None, None, None, True, "é", "1970-01-01 00:00:00"]
    assert json.dumps(told)
    wide = {f"n{i}": True for i in range(60)} | {"text": False}
    assert len(chosen(wide)) == 50
    assert chosen(wide)[-1] == "text"


def test_many_items_need_no_memory():
    x = np.zeros((10**5, 2), np.float32)
    x[:, 0] = np.arange(len(x))
    dataset = load_for_labelling(x, classes=BOTH)
    tracemalloc.start()
    count = sum(1 for _ in records_of(dataset))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == len(x)
    assert peak < 20e6


def test_origins_can_be_pickled(tmp_path):
    for front in ("folder", "CSV", "Parquet", "npy", "data frame"):
        dataset = opened(WITH[front](tmp_path), tmp_path)
        again = pickle.loads(pickle.dumps(dataset.origins))
        assert list(again(np.arange(6))) == list(dataset.origins(np.arange(6)))
