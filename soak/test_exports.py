"""Exported labels, read by the libraries that they are meant for. Run after: pip install datasets pycocotools."""

import json

import pytest
from tests.runs.labelled_runs import AWKWARD, labelled_run, run_of_photographs

from baldur.runs.labelled import export_labels
from baldur.store import ItemRecord

pytestmark = pytest.mark.filterwarnings("default")

CLASSES = [
    name for name in (*AWKWARD, "01", "1", "NA", "2020-01-01", "2020-01-01T00:00:00") if name.strip() == name
]


def test_datasets_reads_images(tmp_path):
    datasets = pytest.importorskip("datasets")
    store, labels = run_of_photographs(tmp_path, CLASSES)
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "huggingface", all=True)
    read = datasets.load_dataset(str(place), cache_dir=str(tmp_path / "cache"))["train"]
    assert {row["id"]: row["label"] for row in read} == labels | {f"{2 * len(CLASSES)}/photo.png": None}
    assert read[0]["image"].size == (7, 9)


@pytest.mark.parametrize("format", ["imagefolder"])
def test_datasets_reads_a_folder_of_classes(tmp_path, format):
    datasets = pytest.importorskip("datasets")
    store, _ = run_of_photographs(tmp_path, ("cat", "dog"))
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", format)
    read = datasets.load_dataset("imagefolder", data_dir=str(place), cache_dir=str(tmp_path / "cache"))[
        "train"
    ]
    assert read.features["label"].names == ["cat", "dog"]
    assert len(read) == 4


def test_datasets_reads_texts_and_rows(tmp_path):
    datasets = pytest.importorskip("datasets")
    labels = {f"0{n}": name for n, name in enumerate(CLASSES)}
    for kind, shown in (("text", {"text": 'a "text",\n'}), ("row", {"row": {"x": 1.5, "day": "2020-01-01"}})):
        records = [ItemRecord(i, n, shown=shown) for n, i in enumerate(labels)]
        with labelled_run(tmp_path / kind, records, labels) as store:
            place = export_labels(store, store.trials()[0], tmp_path / f"{kind}-out", "huggingface")
        read = datasets.load_dataset(str(place), cache_dir=str(tmp_path / "cache"))["train"]
        assert {row["id"]: row["label"] for row in read} == labels
        assert all(row.items() >= (shown.get("row") or shown).items() for row in read)


def test_pycocotools_reads_coco(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    store, labels = run_of_photographs(tmp_path, CLASSES)
    with store:
        place = export_labels(store, store.trials()[0], tmp_path / "out", "coco", all=True)
    read = coco.COCO(str(place / "annotations.json"))
    assert len(read.getImgIds()) == len(labels) + 1
    found = {}
    for annotation in read.loadAnns(read.getAnnIds()):
        (image,), (category,) = (
            read.loadImgs(annotation["image_id"]),
            read.loadCats(annotation["category_id"]),
        )
        found[image["item"]] = category["name"]
        assert read.annToMask(annotation).shape == (image["height"], image["width"])
        assert read.annToMask(annotation).all()
    assert found == labels
    assert json.loads((place / "annotations.json").read_text())["licenses"] == []
