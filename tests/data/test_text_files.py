"""Folders of .txt files, and lists of texts."""

import numpy as np
import pandas as pd
import pytest

from baldur.data import load, load_for_labelling
from baldur.data.origins import records_of
from baldur.data.text_files import are_texts
from baldur.errors import InvalidArgument, InvalidData

ABOUT = {"owl": "the owl flies at night over the wood", "cat": "a cat sleeps all day in the house"}


def folder(root, n=12, splits=("",)):
    for split in splits:
        for name, text in ABOUT.items():
            (root / split / name).mkdir(parents=True)
            for i in range(n):
                (root / split / name / f"{i}.txt").write_text(f"{text} {split} {i} times", encoding="utf-8")
    return root


def test_subfolders_are_classes(tmp_path):
    dataset = load(str(folder(tmp_path / "t")))
    assert dataset.classes == ("cat", "owl")
    assert len(dataset.train) + len(dataset.test) == 24
    record = next(records_of(dataset))
    assert record.shown == {"text": (tmp_path / "t" / record.id).read_text()}
    assert record.path == str(tmp_path / "t" / record.id)


def test_splits_are_kept(tmp_path):
    dataset = load(str(folder(tmp_path / "t", splits=("train", "test"))))
    assert {id.split("/")[0] for id in dataset.test.ids} == {"test"}


def test_loose_files_have_no_label(tmp_path):
    for i, text in enumerate(ABOUT.values()):
        (tmp_path / f"{i}.txt").write_text(text)
    dataset = load_for_labelling(tmp_path, classes=["owl", "cat"])
    assert (dataset.labels == -1).all()
    assert list(dataset.train.ids) == ["0.txt", "1.txt"]
    mixed = load_for_labelling(folder(tmp_path / "more"), classes=["owl", "cat"])
    assert (mixed.labels >= 0).all()


def test_a_file_that_is_not_utf_8_is_left_out(tmp_path):
    root = folder(tmp_path / "t")
    (root / "owl" / "bad.txt").write_bytes(b"\xff\xfe\x00 caf\xe9")
    assert dict(load(str(root)).quarantined) == {"owl/bad.txt": "is not UTF-8; save it with this encoding"}


def test_a_folder_with_images_is_no_folder_of_texts(tmp_path):
    folder(tmp_path / "t")
    (tmp_path / "t" / "owl" / "a.png").write_bytes(b"")
    with pytest.raises(InvalidData, match="cat has no image"):
        load(str(tmp_path / "t"))


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series])
def test_lists_of_texts(kind):
    texts = [f"{text} {i} times" for text in ABOUT.values() for i in range(5)]
    given = kind(texts)
    assert are_texts(given)
    if kind is tuple:
        return  # a tuple is inputs and labels
    bare = load_for_labelling(given, classes=["owl", "cat"])
    assert len(bare.train) == 10
    assert (bare.labels == -1).all()
    known = load_for_labelling((given, ["owl", None] * 5), classes=["owl", "cat"])
    assert (known.labels >= 0).sum() == 5
    assert next(records_of(known)).shown == {"text": texts[0]}


def test_what_is_no_text():
    assert not are_texts([np.zeros(3), np.ones(3)])
    assert not are_texts(np.zeros(3))
    assert not are_texts(pd.DataFrame({"a": ["x"]}))
    assert not are_texts("one text")
    assert not are_texts([])
    assert are_texts(["a", None, float("nan")])
    with pytest.raises(InvalidArgument, match="leave out --label"):
        load_for_labelling(["a b c", "d e f"], classes=["owl", "cat"], label="x")
