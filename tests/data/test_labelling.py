"""Data that people will label: each format, given by its path and as objects in Python."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from baldur.data import Dataset, load_for_labelling
from baldur.errors import DataNotFound, InvalidArgument, InvalidData, InvalidLabel

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (6, 8, 8, 3), np.uint8)
SOME = ["owl", None, "tit", None, "owl", None]
CODES = [0, -1, 1, -1, 0, -1]
NONE = [-1] * 6
BOTH = ["owl", "tit"]


class Inputs(torch.utils.data.Dataset):
    """A data set of single inputs, or of pairs or dicts with a label that may be missing."""

    def __init__(self, form="x", rows=X):
        self.form, self.rows = form, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        x, y = torch.from_numpy(np.asarray(self.rows[i])), SOME[i]
        return {"x": x, "(x,)": (x,), "{x}": {"x": x}, "(x, y)": (x, y), "{x, y}": {"x": x, "label": y}}[
            self.form
        ]


def pictures(folder, names):
    for name, rows in zip(names, PIXELS, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rows).save(folder / name)
    return folder


def flat(at):
    return pictures(at, [f"{i}.png" for i in range(6)])


def nested(at):
    return pictures(at, [f"day {i // 3}/{i}.png" for i in range(6)])


def manifest(at, rows, name="items.csv"):
    flat(at)
    return written(at, rows, name)


def written(at, rows, name):
    if name.endswith("csv"):
        pd.DataFrame(rows).to_csv(at / name, index=False)
    else:
        (at / name).write_text("\n".join(map(json.dumps, rows)))
    return at / name


def table(labels=None, **more):
    columns = {"u": X[:, 0], "v": X[:, 1], "text": [f"sentence {i}" for i in range(6)]}
    return columns | ({} if labels is None else {"label": labels}) | more


def listed(labels=None):
    return [
        dict(zip(table(labels), map(plain, row), strict=True))
        for row in zip(*table(labels).values(), strict=True)
    ]


def plain(value):
    return float(value) if isinstance(value, np.floating) else value


def parquet(at, labels=None, **columns):
    frame = pd.DataFrame(columns or table())
    (frame if labels is None else frame.assign(label=labels)).to_parquet(at / "t.parquet")
    return at / "t.parquet"


def png(rows):
    file = io.BytesIO()
    Image.fromarray(rows).save(file, "PNG")
    return file.getvalue()


def npy(at, labels=None):
    np.save(at / "in.npy", X)
    if labels is not None:
        np.save(at / "in_labels.npy", labels)
    return at / "in.npy"


def npz(at, **arrays):
    np.savez(at / "in.npz", **arrays)
    return at / "in.npz"


WITHOUT = {
    "folder": flat,
    "nested folder": nested,
    "manifest": lambda at: manifest(at, [{"path": f"{i}.png"} for i in range(6)]),
    "JSONL manifest": lambda at: manifest(at, [{"path": f"{i}.png"} for i in range(6)], "m.jsonl"),
    "CSV": lambda at: written(at, table(), "t.csv"),
    "JSONL": lambda at: written(at, listed(), "t.jsonl"),
    "Parquet": parquet,
    "Parquet of images": lambda at: parquet(at, image=[png(rows) for rows in PIXELS]),
    "Parquet of lists": lambda at: parquet(at, x=X.tolist()),
    "npy": npy,
    "npz": lambda at: npz(at, x=X),
    "npz of images": lambda at: npz(at, x=PIXELS),
    "array": lambda at: X,
    "tensor": lambda at: torch.from_numpy(X),
    "list of rows": lambda at: X.tolist(),
    "list of arrays": lambda at: list(PIXELS),
    "images": lambda at: PIXELS,
    "pair without labels": lambda at: (X, None),
    "dict of tensors": lambda at: {"a": torch.from_numpy(X), "b": torch.ones(6, 2)},
    "data frame": lambda at: pd.DataFrame(table()),
    "dict of columns": lambda at: table(),
    "inputs of PyTorch": lambda at: Inputs(),
    "tuples of one": lambda at: Inputs("(x,)"),
    "dicts without labels": lambda at: Inputs("{x}"),
    "TensorDataset": lambda at: torch.utils.data.TensorDataset(torch.from_numpy(X)),
}
WITH = {
    "folder": lambda at: pictures(at, ["owl/0.png", "1.png", "tit/2.png", "3.png", "owl/4.png", "unlabeled/5.png"]),
    "manifest": lambda at: manifest(at, [{"path": f"{i}.png", "label": y} for i, y in enumerate(SOME)]),
    "JSONL manifest": lambda at: manifest(
        at, [{"path": f"{i}.png"} | ({"label": y} if y else {}) for i, y in enumerate(SOME)], "m.jsonl"
    ),
    "CSV": lambda at: written(at, table(SOME), "t.csv"),
    "JSONL": lambda at: written(at, listed(SOME), "t.jsonl"),
    "Parquet": lambda at: parquet(at, SOME),
    "Parquet of images": lambda at: parquet(at, SOME, image=[{"bytes": png(rows)} for rows in PIXELS]),
    "npy": lambda at: npy(at, np.array([y or "" for y in SOME])),
    "npz": lambda at: npz(at, x=X, y=np.array(CODES), classes=BOTH),
    "array and names": lambda at: (X, SOME),
    "array and an array": lambda at: (X, np.array([y or "" for y in SOME])),
    "tensor and a series": lambda at: (torch.from_numpy(X), pd.Series(SOME)),
    "data frame": lambda at: pd.DataFrame(table(SOME)),
    "data frame and names": lambda at: (pd.DataFrame(table()), pd.Series(SOME)),
    "pairs of PyTorch": lambda at: Inputs("(x, y)"),
    "dicts of PyTorch": lambda at: Inputs("{x, y}"),
}  # fmt: skip


def opened(what, at, **told):
    return load_for_labelling(what, cache=at / "cache", image_size=8, **told)


def check(dataset: Dataset, labels):
    """All items are in the pool, readable, and have these labels."""
    order = np.argsort([int("".join(filter(str.isdigit, i.rsplit("/")[-1]))) for i in dataset.train.ids])
    assert dataset.labels[order].tolist() == labels
    assert (len(dataset.train), len(dataset.test), len(dataset.test_labels)) == (6, 0, 0)
    assert dataset.classes == ("owl", "tit")
    assert not dataset.quarantined
    ((_, x),) = dataset.train.batches(np.arange(6), 6)
    leaves = x.values() if isinstance(x, dict) else [x]
    assert all(isinstance(leaf, torch.Tensor) and len(leaf) == 6 for leaf in leaves)


@pytest.mark.parametrize("front", WITHOUT)
def test_data_without_labels(front, tmp_path):
    what = WITHOUT[front](tmp_path)
    check(opened(what, tmp_path, classes=BOTH), NONE)
    if front == "nested folder":  # its subfolders could be classes
        assert opened(what, tmp_path).classes == ("day 0", "day 1")
        return
    with pytest.raises(InvalidData, match=r"there is no label, .* name all classes, such as classes="):
        opened(what, tmp_path)


@pytest.mark.parametrize("front", WITH)
def test_labels_with_gaps(front, tmp_path):
    what = WITH[front](tmp_path)
    check(opened(what, tmp_path), CODES)
    check(opened(what, tmp_path, classes="owl,tit"), CODES)
    other = opened(what, tmp_path, classes=["tit", "bat", "owl"])
    assert (other.labels == 2).sum() == 2
    with pytest.raises((InvalidLabel, InvalidData), match=r"tit.* not among the classes"):
        opened(what, tmp_path, classes=["owl", "bat"])


def test_numbers_are_positions_in_the_classes():
    check(load_for_labelling((X, CODES), classes=BOTH), CODES)
    check(load_for_labelling((X, [0, None, 1, np.nan, 0, -1]), classes=BOTH), CODES)
    check(load_for_labelling((X, np.eye(2)[[0, 1, 1, 1, 0, 0]]), classes=BOTH), [0, 1, 1, 1, 0, 0])


def test_a_named_test_part_stays(tmp_path):
    rows = table([*SOME[:3], "owl", "tit", "owl"], split=["", "train", "", "test", "test", ""])
    dataset = opened(pd.DataFrame(rows), tmp_path)
    assert (len(dataset.train), dataset.test.ids, dataset.test_labels.tolist()) == (4, ["3", "4"], [0, 1])
    folder = opened(
        pictures(tmp_path, [f"{s}/{i}.png" for i, s in enumerate(["train", "test/owl", "test/tit"] * 2)]),
        tmp_path,
    )
    assert (len(folder.train), len(folder.test)) == (2, 4)


def test_test_items_without_labels_are_in_the_pool(tmp_path):
    folder = opened(
        pictures(tmp_path, [f"{s}{i}.png" for i, s in enumerate(["owl/", "test/", ""] * 2)]),
        tmp_path,
        classes=BOTH,
    )
    assert (len(folder.train), len(folder.test)) == (6, 0)
    assert (
        "the items that the data name as test items have no labels, so they are in the pool, too"
        in folder.notes
    )
    only = opened(pd.DataFrame(table(split=["test"] * 6)), tmp_path, classes=BOTH)
    assert (len(only.train), len(only.test)) == (6, 0)
    later = pd.DataFrame(
        table(SOME, split=["test"] * 5 + ["train"])
    )  # their labels came while the run went on
    again = opened(later, tmp_path, classes=BOTH, order=only.train.ids, kept=only.preprocessing)
    assert (list(again.train.ids), len(again.test)) == (list(only.train.ids), 0)
    with pytest.raises(InvalidData, match="y_test has no label"):
        opened(npz(tmp_path, x_train=X, y_train=CODES, x_test=X + 1, y_test=NONE), tmp_path, classes=BOTH)


def test_a_data_set_of_its_own_or_with_a_name():
    made = load_for_labelling((X, SOME))
    assert load_for_labelling(made) is not None
    assert load_for_labelling(made, classes="tit,owl").labels.tolist() == [1, -1, 0, -1, 1, -1]
    digits = load_for_labelling("digits")
    assert (len(digits.train), len(digits.test)) == (1797, 0)
    assert load_for_labelling("digits", classes=range(12)).classes[-1] == "11"
    with pytest.raises(InvalidLabel, match="the labels 2, 3"):
        load_for_labelling("digits", classes=[0, 1])


def test_contradictory_copies_are_left_out_as_always():
    x = np.concatenate([X, X[:3], X + 1])
    known = ["owl", None, "tit", "tit", "tit", "owl", "tit", None, None, *["owl"] * 6]
    dataset = load_for_labelling((x, known))
    assert dataset.quarantined == tuple((i, "is equal to an item with another label") for i in "06")


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (pd.DataFrame({"text": [f"text {i}" for i in range(9)]}), r"text or an id.* name it with --text COLUMN"),
        (["?", "!"], "have no words in common"),
        ([__file__], "the inputs are paths; give the folder"),
        ([Path("a.png")], "the inputs are paths; give the folder"),
        (pd.DataFrame({"path": ["a.png", "b.png"]}), "the column path is a list of files; save it"),
        ({"x": X, "y": np.zeros(6)}, "the key y, which looks like labels"),
        ((X, SOME, SOME), "not a tuple of 3 values"),
        ((X, SOME[:3]), "6 items, but 3 labels"),
        ([[1, 2], [3]], "list of inputs cannot be made an array"),
        (Inputs(rows=[[1.0, 2.0], [3.0]]), "item 1 of the data set has the shape"),
        (("photos", "birds"), "not a tuple of"),
        (torch.utils.data.TensorDataset(torch.zeros(0, 2)), "there are 0 items"),
        (X[:0], "there are 0 items"),
        ([], "the list of inputs is empty"),
        ({}, "must have the same length"),
        (None, "inputs must be arrays of numbers"),
        (pd.DataFrame({"label": SOME}), "no column beside label"),
        (pd.DataFrame(), "no column beside label"),
    ],
)  # fmt: skip
def test_objects_that_cannot_be_used(what, says):
    with pytest.raises((InvalidArgument, InvalidData), match=says):
        load_for_labelling(what, classes=BOTH)


def test_lists_of_numbers_are_no_pairs():
    class Lists(Inputs):
        def __getitem__(self, i):
            return [1.0, 2.0, float(i)]

    with pytest.raises(InvalidArgument, match="a list of numbers, which may be an input or a pair"):
        load_for_labelling(Lists(), classes=BOTH)


def test_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(DataNotFound, match="nothing at that path"):
        load_for_labelling(tmp_path / "nothing", classes=BOTH)
