"""Labels as folders of images, and the way back."""

import csv
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.runs.labelled_runs import AWKWARD, labelled_run, photographs, run_of_photographs
from tests.runs.test_labelled_tables import truth

from baldur import data
from baldur.errors import DataNotFound, InvalidArgument, Unsupported
from baldur.runs.items import item_records
from baldur.runs.labelled import export_labels
from baldur.runs.labelled_images import file_name
from baldur.runs.settings import create, to_toml
from baldur.store import Event, ItemRecord, Store

PLAIN = [name for name in AWKWARD if name.strip() == name]


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_photographs_lie_in_a_folder_of_their_class(tmp_path):
    store, _ = run_of_photographs(tmp_path, ("cat", "dog"))
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "imagefolder")
    files = sorted(path.relative_to(place).as_posix() for path in place.rglob("*.png"))
    assert files == ["cat/photo-2.png", "cat/photo.png", "dog/photo-2.png", "dog/photo.png"]
    for row in rows_of(place / "labels.csv"):
        assert (place / row["path"]).read_bytes() == (tmp_path / "photos" / row["id"]).read_bytes()
    assert set(data.load(str(place)).classes) == {"cat", "dog"}


def test_awkward_classes_come_back(tmp_path):
    store, labels = run_of_photographs(tmp_path, PLAIN)
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "imagefolder", link=True)
    rows = rows_of(place / "labels.csv")
    assert {row["id"]: row["label"] for row in rows} == labels
    by_path = {row["path"]: row["label"] for row in rows}
    assert truth(data.load(str(place / "labels.csv"))) == by_path
    folders = {row["path"].split("/")[0] for row in rows}
    assert {row["path"].count("/") for row in rows} == {1}
    assert len({folder.casefold() for folder in folders}) == len(PLAIN)
    assert all(path.is_symlink() for path in place.rglob("*.png"))


def test_items_without_a_label_are_apart(tmp_path):
    store, _ = run_of_photographs(tmp_path, ("cat", "dog"))
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "imagefolder", all=True)
    assert {path.name for path in place.iterdir()} == {"train", "unlabeled", "labels.csv"}
    loaded = data.load(str(place))
    assert loaded.classes == ("cat", "dog")
    assert sum(i.startswith("unlabeled/") for i in (*loaded.train.ids, *loaded.test.ids)) == 1
    assert len(truth(loaded)) == 4


NAMES = st.text(min_size=1) | st.sampled_from(
    [*AWKWARD, "con.txt", "a.", "...", ".x", "COM1", "\ud800", "-" * 500]
)


@given(NAMES)
def test_every_text_has_a_name_of_a_file(tmp_path_factory, text):
    name = file_name(text)
    assert name
    assert len(name.encode()) <= 120
    assert not set('<>:"/\\|?*') & set(name)
    assert name[0] not in ". "
    assert name[-1] not in ". "
    (tmp_path_factory.getbasetemp() / name).touch()


def test_plain_names_stay_and_others_differ():
    assert [file_name(name) for name in ("cat", "Käse", "猫", "a b", "x.png")] == [
        "cat",
        "Käse",
        "猫",
        "a b",
        "x.png",
    ]
    assert [file_name(name) for name in ("a/b", "..", "NUL", "dog.", " hen")] == [
        *("a%2Fb", "%2E%2E", "%4EUL", "dog%2E", "%20hen")
    ]
    assert file_name("x" * 200) != file_name("x" * 201)


ARRAYS = {
    "grey.npz": np.arange(6 * 64, dtype=np.uint8).reshape(6, 8, 8),
    "colour.npz": np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), np.uint8),
    "first.npz": np.random.default_rng(1).integers(0, 256, (6, 3, 8, 9), np.uint8),
    "mapped.npy": np.random.default_rng(2).integers(0, 256, (6, 8, 8), np.uint8),
    "deep.npz": np.random.default_rng(3).integers(0, 65536, (6, 1, 8, 8), np.uint16),
    "share.npy": np.random.default_rng(4).random((6, 1, 8, 8)).astype(np.float32),
}


def saved(folder, name):
    x = ARRAYS[name]
    if name.endswith(".npy"):
        np.save(folder / name, x)
    else:
        np.savez(folder / name, x=x, y=np.arange(len(x)) % 2)
    return folder / name


def pixels(x):
    """The picture of an item, as it should be."""
    x = np.moveaxis(x, 0, -1) if x.ndim == 3 and x.shape[0] in (1, 3) else x
    x = x[..., 0] if x.shape[-1] == 1 else x
    return np.round({np.dtype("u1"): 1, np.dtype("u2"): 255 / 65535}.get(x.dtype, 255) * x.astype(float))


@pytest.mark.parametrize("name", ARRAYS)
def test_items_of_arrays_are_drawn(tmp_path, name):
    path = saved(tmp_path, name)
    records = [ItemRecord(str(i), i, str(path), split="train", part=i) for i in range(6)]
    with labelled_run(tmp_path / "run", records, {str(i): "ab"[i % 2] for i in range(5)}) as store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "imagefolder")
    for i in range(5):
        with Image.open(place / "ab"[i % 2] / f"{i}.png") as picture:
            assert np.array_equal(np.asarray(picture), pixels(ARRAYS[name][i]))


def test_both_parts_of_an_array_are_found(tmp_path):
    x = ARRAYS["colour.npz"]
    np.savez(tmp_path / "x.npz", x_train=x, y_train=np.zeros(6), X_test=255 - x, y_test=np.zeros(6))
    records = [ItemRecord("train/2", 0, str(tmp_path / "x.npz"), part=2)]
    records += [ItemRecord("test/2", 1, str(tmp_path / "x.npz"), split="test", part=2)]
    with labelled_run(tmp_path / "run", records, {"train/2": "a", "test/2": "a"}) as store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "coco")
    for name, wanted in (("train-2.png", x[2]), ("test-2.png", 255 - x[2])):
        with Image.open(place / "images" / name) as picture:
            assert np.array_equal(np.asarray(picture), wanted)


def test_images_inside_parquet_and_of_a_named_data_set_are_drawn_from_the_data(tmp_path):
    import pyarrow
    from pyarrow import parquet

    paths = photographs(tmp_path / "photos", 6)
    content = {"id": [f"p/{i}.png" for i in range(6)], "image": [path.read_bytes() for path in paths]}
    file = tmp_path / "x.parquet"
    parquet.write_table(pyarrow.table(content | {"label": ["a", "b"] * 3}), file)
    for name, wanted in ((str(file), lambda id: Image.open(paths[int(id[2])])), ("digits", None)):
        dataset = data.load(name)
        folder, settings = tmp_path / f"{wanted is None}", to_toml(create(data=name))
        with Store.create(
            folder, settings=settings, classes=("a",), preprocessing=dataset.preprocessing
        ) as store:
            store.record_items(item_records(dataset))
            id = dataset.train.ids[1]
            assert store.trial("bald", 0).tell([Event("1", "label", id, "ann", "a")]).accepted
            place = export_labels(store, store.trials()[0], folder / "out", "imagefolder")
        (made,) = place.rglob("*.png")
        with Image.open(made) as picture:
            if wanted is not None:
                assert made.name == f"p-{id[2]}.png"
                with wanted(id) as original:
                    assert np.array_equal(np.asarray(picture), np.asarray(original))
            else:
                assert picture.size == (8, 8)


def test_a_folder_is_written_without_torch(tmp_path):
    from subprocess import run

    path = saved(tmp_path, "grey.npz")
    with labelled_run(tmp_path / "run", [ItemRecord("0", 0, str(path), part=0)], {"0": "a"}):
        pass
    code = (
        "import sys; from pathlib import Path; sys.modules['torch'] = None\n"
        "from baldur.store import Store; from baldur.runs.labelled import export_labels\n"
        "with Store.open(Path(sys.argv[1])) as store:\n"
        "    export_labels(store, store.trials()[0], Path(sys.argv[2]), 'coco')"
    )
    run([sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "out")], check=True)
    assert (tmp_path / "out" / "images" / "0.png").exists()


def test_coco_is_what_its_definition_says(tmp_path):
    store, labels = run_of_photographs(tmp_path, PLAIN)
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "coco", all=True)
    told = json.loads((place / "annotations.json").read_text())
    assert set(told) == {"info", "licenses", "images", "annotations", "categories"}
    for part in ("images", "annotations", "categories"):
        ids = [row["id"] for row in told[part]]
        assert ids == sorted(set(ids))
        assert all(type(i) is int and i > 0 for i in ids)
    images = {row["id"]: row for row in told["images"]}
    names = {row["id"]: row["name"] for row in told["categories"]}
    assert list(names.values()) == PLAIN
    assert len(images) == len(labels) + 1, "an image without an annotation has no label"
    assert {images[a["image_id"]]["item"]: names[a["category_id"]] for a in told["annotations"]} == labels
    for image in images.values():
        with Image.open(place / "images" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"]) == (7, 9)
    for annotation in told["annotations"]:
        assert annotation["bbox"] == [0, 0, 7, 9]
        assert (annotation["area"], annotation["iscrowd"]) == (63, 0)
        assert annotation["segmentation"] == [[0, 0, 7, 0, 7, 9, 0, 9]]


def test_the_folder_for_datasets_has_metadata(tmp_path):
    store, labels = run_of_photographs(tmp_path, PLAIN)
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "huggingface")
    lines = [
        json.loads(line) for line in (place / "train" / "metadata.jsonl").read_text("utf-8").splitlines()
    ]
    assert {line["id"]: line["label"] for line in lines} == labels
    assert {line["file_name"] for line in lines} == {path.name for path in place.rglob("*.png")}
    assert [path.name for path in place.iterdir()] == ["train"]


def test_items_that_are_no_images_become_parquet_for_datasets(tmp_path, monkeypatch):
    from pyarrow import parquet

    records = [
        ItemRecord("01", 0, shown={"text": "hi\n"}),
        ItemRecord("02", 1, split="reserve", shown={"text": "ho"}),
    ]
    with labelled_run(tmp_path / "run", records, {"01": "1", "02": "01"}) as store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "huggingface")
        for split, label in (("train", "1"), ("test", "01")):
            (row,) = parquet.read_table(place / f"{split}.parquet").to_pylist()
            assert (row["label"], row["split"]) == (label, split)
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        for format in ("huggingface", "parquet"):
            with pytest.raises(Unsupported, match="pip install 'baldur"):
                export_labels(store, store.trials()[0], tmp_path / format, format)
            assert not (tmp_path / format).exists()


@pytest.mark.parametrize("format", ["imagefolder", "coco"])
def test_items_that_are_no_images_are_refused(tmp_path, format):
    x = tmp_path / "x.npy"
    np.save(x, np.zeros((4, 5)))
    for record in (ItemRecord("7"), ItemRecord("7", path=str(x), part=1)):
        folder = tmp_path / f"{record.path is None}"
        wrong = pytest.raises(InvalidArgument, match="give --format csv, jsonl or parquet")
        with labelled_run(folder, [record], {"7": "a"}) as store, wrong:
            export_labels(store, store.trials()[0], tmp_path / "out", format)


def test_a_file_that_is_gone_is_named_before_anything_is_written(tmp_path):
    paths = photographs(tmp_path / "photos", 3)
    records = [ItemRecord(str(i), i, str(path)) for i, path in enumerate(paths)]
    with labelled_run(tmp_path / "run", records, {str(i): "a" for i in range(3)}) as store:
        paths[1].unlink()
        with pytest.raises(
            DataNotFound, match=r"1 of 3 files are not there any more, such as \S*1/photo.png"
        ):
            export_labels(store, store.trials()[0], tmp_path / "out", "imagefolder")
    assert not (tmp_path / "out").exists()
