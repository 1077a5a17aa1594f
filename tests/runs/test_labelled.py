"""The labels of a run, for other programs."""

import os

import pytest
from tests.runs.labelled_runs import labelled_run, run_of_photographs

from baldur import open as open_run
from baldur.errors import InvalidArgument, StoreError
from baldur.runs.labelled import FORMATS, LabelledItem, export_labels, labelled_items, new
from baldur.store import Event, ItemRecord

ROW = {"row": {"a": 1.5}}


@pytest.fixture
def run(tmp_path):
    records = [
        ItemRecord("a", 0, "/p/a.png", "g", "train"),
        ItemRecord("b", 1, "/p/x.npz", split="train", part=3),
        ItemRecord("c", 2, split="train", shown={"text": "hello"}),
        ItemRecord("d", 3, split="reserve", shown=ROW),
        ItemRecord("e", 4, split="train"),
        ItemRecord("t", 5, split="test"),
        ItemRecord("q", 6, state="quarantined", reason="is black"),
        ItemRecord("u", 7, split="train"),
    ]
    labels = {"d": "cat", "a": "dog", "b": "cat", "z": "dog"}
    with labelled_run(tmp_path / "run", records, labels, ("cat", "dog")) as store:
        store.trials()[0].tell([Event("u", "unlabelable", "u", "ann"), Event("w", "withdrawal", "b", "ann")])
        yield store


def test_an_item_has_its_place_its_values_and_its_label(run):
    a, d, z = labelled_items(run, run.trials()[0])
    assert a[:10] == ("a", "dog", "/p/a.png", None, None, None, "g", "train", "ann", a.time)
    assert d[:8] == ("d", "cat", None, None, None, {"a": 1.5}, None, "test")
    assert z[:3] == ("z", "dog", None), "an item that is in no record"
    assert a.time is not None
    assert a.round is None


def test_items_without_a_label_are_those_of_the_pool(run):
    every = labelled_items(run, run.trials()[0], all=True)
    assert [(item.id, item.label) for item in every] == [
        *(("a", "dog"), ("b", None), ("c", None), ("d", "cat"), ("e", None), ("z", "dog"))
    ]
    assert every[1] == LabelledItem("b", None, "/p/x.npz", 3)


def test_the_labels_are_those_of_one_trial(run, tmp_path):
    other = run.trial("random", 1)
    other.tell([Event("1", "label", "a", "bob", "cat")])
    assert [(item.label, item.annotator) for item in labelled_items(run, other)] == [("cat", "bob")]
    opened = open_run(run.folder)
    with pytest.raises(InvalidArgument, match="several trials match: 'bald' seed 0, 'random' seed 1"):
        opened.export(tmp_path / "x.csv")
    assert "bob" in opened.export(tmp_path / "x.csv", strategy="random").read_text()
    with pytest.raises(InvalidArgument, match="there is no trial with seed 7"):
        opened.export(tmp_path / "y.csv", seed=7)


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_is_overwritten_and_nothing_half_written_is_left(tmp_path, format, monkeypatch):
    (tmp_path / "there").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    store, _ = run_of_photographs(tmp_path, ("a", "b"))
    with store:
        trial = store.trials()[0]
        before = sorted(tmp_path.rglob("*"))
        for place in ("there", "full"):
            with pytest.raises(StoreError, match="exists already"):
                export_labels(store, trial, tmp_path / place, format)
        place = export_labels(store, trial, tmp_path / "new" / "place", format)
        assert place.exists()

        def fail(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr("pathlib.Path.rename", fail)
        with pytest.raises(KeyboardInterrupt):
            export_labels(store, trial, tmp_path / "other", format)
        assert sorted(set(tmp_path.rglob("*")) - set(before))[:2] == [
            tmp_path / "new",
            tmp_path / "new" / "place",
        ]
        assert {path.name for path in tmp_path.iterdir()} == {"there", "full", "run", "photos", "new"}


def test_a_table_that_is_there_already_may_be_written_again(run, tmp_path):
    for _ in range(2):
        export_labels(run, run.trials()[0], tmp_path / "labels.csv")
    run.trials()[0].tell([Event("2", "label", "c", "ann", "cat")])
    with pytest.raises(StoreError, match="nothing is overwritten"):
        export_labels(run, run.trials()[0], tmp_path / "labels.csv")


def test_a_run_without_labels_and_a_format_that_does_not_exist(tmp_path):
    with labelled_run(tmp_path / "run", [ItemRecord("a")], {}, ("cat", "dog")) as store:
        with pytest.raises(InvalidArgument, match="has no label yet"):
            export_labels(store, store.trials()[0], tmp_path / "x.csv")
        export_labels(store, store.trials()[0], tmp_path / "x.csv", all=True)
        with pytest.raises(InvalidArgument, match="one of csv, jsonl, parquet"):
            export_labels(store, store.trials()[0], tmp_path / "y", "yaml")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_place_that_may_not_be_written_to(run, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreError, match="cannot write"):
        export_labels(run, run.trials()[0], tmp_path / "closed" / "x.csv")


def test_an_empty_folder_becomes_the_place(tmp_path):
    (tmp_path / "empty").mkdir()
    with new(tmp_path / "empty") as part:
        part.mkdir()
        (part / "x").touch()
    assert [path.name for path in (tmp_path / "empty").iterdir()] == ["x"]
