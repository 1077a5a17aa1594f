import os

import numpy as np
import pytest

from baldur.data import load
from baldur.errors import DataNotFound, InvalidData, InvalidLabel
from baldur.protocols import View

RNG = np.random.default_rng(0)


def npz(tmp_path, **arrays):
    np.savez(tmp_path / "d.npz", **arrays)
    return str(tmp_path / "d.npz")


def first(pool):
    return next(iter(pool.batches(np.arange(2), 2)))[1]


def test_one_part_is_split(tmp_path):
    data = load(npz(tmp_path, X=RNG.random((20, 3)), y=np.arange(20) % 4))
    assert (len(data.train), len(data.test), data.classes) == (16, 4, ("0", "1", "2", "3"))
    assert (first(data.train).shape, str(first(data.train).dtype)) == ((2, 3), "torch.float32")
    assert data.preprocessing == {"kind": "array", "shape": [3], "dtype": "float32"}


def test_two_parts_stay_as_they_are(tmp_path):
    x = np.arange(8.0).reshape(4, 2)
    path = npz(
        tmp_path, x_train=x, y_train=[0, 1, -1, 0], x_test=x[:1] + 1, y_test=[1], classes=["cat", "dog"]
    )
    data = load(path)
    assert (data.train.ids, data.test.ids) == (("train/0", "train/1", "train/2", "train/3"), ("test/0",))
    assert (data.labels.tolist(), data.test_labels.tolist(), data.classes) == (
        [0, 1, -1, 0],
        [1],
        ("cat", "dog"),
    )


@pytest.mark.parametrize("shape", [(9, 5, 6), (9, 5, 6, 1), (9, 1, 5, 6), (9, 5, 6, 3), (9, 3, 5, 6)])
def test_images_of_bytes_become_channels_height_width(tmp_path, shape):
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = load(npz(tmp_path, x_train=x, y_train=np.zeros(9, int), x_test=x, y_test=np.zeros(9, int)))
    channels = 3 if 3 in shape else 1
    assert first(data.train).shape == (2, channels, 5, 6)
    upright = x.transpose(0, 3, 1, 2) if shape[-1] in (1, 3) else x.reshape(9, channels, 5, 6)
    assert first(data.train).numpy() == pytest.approx(upright[:2] / 255, abs=1e-6)
    assert data.preprocessing["shape"] == [channels, 5, 6]


def test_rows_of_bytes_become_floats_and_tokens_stay_integers(tmp_path):
    data = load(npz(tmp_path, x=np.full((9, 2), 7, np.uint8), y=np.zeros(9, int)))
    assert first(data.train).tolist() == [[7.0, 7.0]] * 2
    assert len(data.duplicates[0]) == 9
    data = load(npz(tmp_path, x=np.full((9, 2), 7), y=np.zeros(9, int)))
    assert data.preprocessing["dtype"] == "int64"


def test_names_of_classes_may_be_labels(tmp_path):
    data = load(npz(tmp_path, x=RNG.random((9, 2)), y=["dog", "cat", ""] * 3))
    assert data.classes == ("cat", "dog")
    assert -1 in data.labels


@pytest.mark.parametrize(
    ("arrays", "error", "says"),
    [
        ({"a": [1]}, InvalidData, "no such arrays"),
        ({"x": [[1.0]]}, InvalidData, "has x;"),
        ({"x": [[1.0], [2.0]], "y": [0]}, InvalidData, "2 items, but 1 labels"),
        ({"x": [1.0], "y": [0]}, InvalidData, "of shape"),
        ({"x": [["a"]], "y": [0]}, InvalidData, "numbers"),
        ({"x": np.zeros((2, 0)), "y": [0, 1]}, InvalidData, "of shape"),
        ({"x": [[1.0], [2.0]], "y": 0}, InvalidData, r"labels have the shape \(\)"),
        ({"x": [[1.0], [np.nan]], "y": [0, 1]}, InvalidData, "item 1 holds NaN"),
        ({"x": [[1.0], [2.0]], "y": [[0, 1], [1, 1]]}, InvalidLabel, "position 1 is not one-hot"),
        ({"x": [[1.0], [2.0]], "y": [0, -1]}, InvalidLabel, "Is -1 a class, or a missing label"),
        ({"x": [[1.0], [2.0]], "y": [0, 1], "classes": ["a"]}, InvalidLabel, "label 1 at position 1"),
        ({"x": [[1.0], [2.0]], "y": ["a", "b"], "classes": ["a"]}, InvalidLabel, "'b'"),
        ({"x": np.array([{}, {}]), "y": [0, 1]}, InvalidData, "pickled"),
        (
            {"x_train": [[1.0]], "y_train": [0], "x_test": [[1.0, 2.0]], "y_test": [0]},
            InvalidData,
            "differ in shape",
        ),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, arrays, error, says):
    with pytest.raises(error, match=says):
        load(npz(tmp_path, **arrays))


@pytest.mark.parametrize("content", [b"", b"no arrays", b"PK\x03\x04 cut"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "d.npz").write_bytes(content)
    says = r"d\.npz cannot be read" if content[:2] == b"PK" else r"d\.npz is no \.npz file"
    with pytest.raises(InvalidData, match=says):
        load(str(tmp_path / "d.npz"))


@pytest.mark.parametrize(
    ("names", "asked"),
    [(("a.npy", "a_labels.npy"), "a.npy"), (("x.npy", "y.npy"), "x.npy"), (("x.npy", "y.npy"), "")],
)
def test_pairs_of_files_are_memory_mapped(tmp_path, names, asked):
    np.save(tmp_path / names[0], RNG.random((10, 2)))
    with pytest.raises(DataNotFound, match=names[1].replace(".", r"\.")):
        load(str(tmp_path / asked))
    np.save(tmp_path / names[1], np.arange(10) % 2)
    data = load(str(tmp_path / asked))
    assert (len(data.train), len(data.test)) == (8, 2)
    assert isinstance(data.train.whole.x, np.memmap)


def test_a_pickled_npy_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "a_labels.npy", [0])
    with pytest.raises(InvalidData, match="pickled"):
        load(str(tmp_path / "a.npy"))


@pytest.mark.parametrize("shape", [(20, 5, 5), (20, 5, 5, 3), (20, 3)])
def test_a_mapped_pool_stays_mapped_through_splits_and_views(tmp_path, shape):
    x = RNG.integers(0, 256, shape, np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.arange(20) % 2)
    data = load(str(tmp_path))
    unlabelled = View(data.train, np.arange(0, 16, 3))
    rows = unlabelled.whole.whole.x
    assert isinstance(rows, np.memmap)
    assert np.shares_memory(rows, rows.base)
    (_, some), _ = unlabelled.batches(np.arange(6), 4)
    assert (some.amax(), len(some)) == (pytest.approx(first_rows(x, data, unlabelled, 4).max()), 4)


def first_rows(x, data, unlabelled, n):
    return x[[int(i) for i in unlabelled.ids[:n]]] / 255


def test_a_mapped_file_that_is_cut_short_in_use_is_named(tmp_path):
    np.save(tmp_path / "x.npy", RNG.random((4000, 10)))
    np.save(tmp_path / "y.npy", np.arange(4000) % 2)
    data = load(str(tmp_path))
    os.truncate(tmp_path / "x.npy", 5000)
    with pytest.raises(InvalidData, match=r"x\.npy was cut short while it was in use"):
        list(data.train.batches(np.arange(3000), 100))
