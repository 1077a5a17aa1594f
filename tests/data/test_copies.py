import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import TensorDataset

from baldur.data import from_arrays, from_dataset, in_memory, load
from baldur.data.copies import EARLIER, sides
from baldur.data.scanning import first_of
from baldur.data.splitting import split
from baldur.errors import InvalidData

items = st.lists(
    st.tuples(st.integers(0, 12), st.integers(-1, 2), st.integers(0, 4)), min_size=4, max_size=60
)


def decided(content, labels, **options):
    ids = [str(i) for i in range(len(labels))]
    y = np.array(labels, np.int64)
    return sides(ids, y, first_of(content), 0.3, 0, classes=("a", "b", "c"), **options)


@given(items, st.sampled_from(["random", "named", "groups"]))
def test_no_training_item_is_equal_to_a_test_item(rows, kind):
    content, labels, groups = (list(column) for column in zip(*rows, strict=True))
    options = {}
    if kind == "named":
        options["named"] = np.arange(len(rows)) % 3 == 0
    if kind == "groups":
        groups = [f"g{g}" for g in range(len(rows))] if len(set(groups)) < 3 else [str(g) for g in groups]
        options["groups"] = groups
    try:
        found = decided(content, labels, **options)
    except InvalidData:  # no group can be held out
        assert kind == "groups"
        return
    if any("says nothing" in note or "lie on both sides" in note for note in found.notes):
        return
    train, test = np.flatnonzero(found.kept & ~found.test), np.flatnonzero(found.kept & found.test)
    assert not {content[i] for i in train} & {content[i] for i in test}
    for c in {content[i] for i in train}:
        assert len({labels[i] for i in train if content[i] == c} - {-1}) <= 1
    assert {int(i) for i, _ in found.left_out} == set(np.flatnonzero(~found.kept))
    if kind == "named":
        assert (found.test == options["named"]).all()


@given(st.lists(st.integers(-1, 2), min_size=4, max_size=60), st.integers(0, 3))
def test_without_copies_the_split_is_that_of_earlier_versions(labels, seed):
    y, first = np.array(labels, np.int64), np.arange(len(labels))
    assert (split(y, 0.3, seed) == split(y, 0.3, seed, first=first)).all()


def test_copies_come_near_the_share():
    y = np.repeat(np.arange(4), 30)
    first = np.arange(120) // 3 * 3
    test = split(y, 0.2, 0, first=first)
    assert test.sum() == 24
    assert all(len(set(test[first == f])) == 1 for f in first)


def test_each_finding_is_said():
    content, labels = [0, 0, 1, 1, 2, 2, *range(3, 30)], [0, 0, 0, 1, 1, -1, *([0, 1, 2] * 9)]
    found = decided(content, labels)
    assert dict(found.left_out).keys() >= {"2", "3"}
    assert found.notes[0] == "2 items are left out, each equal to an item with another label: 2 (a) = 3 (b)"
    assert "2 items are kept, though equal to others: 0 = 1" in found.notes[-1]
    named = np.zeros(33, bool)
    named[[0, 2]] = True
    found = decided(content, labels, named=named)
    assert dict(found.left_out) == {"1": "is equal to a test item", "3": "is equal to a test item"}
    assert found.notes[0] == "2 items are left out, each equal to a test item: 0 = 1; 2 (a) = 3 (b)"
    assert (
        found.notes[1]
        == "1 item is in the test set, though equal to an item with another label: 2 (a) = 3 (b)"
    )


def test_copies_in_several_groups_stay_in_the_first_of_them():
    groups = [str(i // 3) for i in range(30)]
    content = [0, 1, 2, 0, *range(4, 30)]
    found = decided(content, [0, 1, 2] * 10, groups=groups)
    assert found.left_out == (("3", "is equal to an item of another group"),)


def test_a_table_whose_rows_cannot_be_told_apart_stays_whole():
    rng = np.random.default_rng(0)
    content, labels = rng.integers(0, 8, 200).tolist(), rng.integers(0, 3, 200).tolist()
    found = decided(content, labels, rows=True)
    assert found.kept.all()
    assert "the inputs do not tell all items apart" in found.notes[0]


def test_where_all_are_copies_it_is_said():
    found = decided([0] * 12, [0] * 12)
    assert found.test.sum() == 4
    assert "too few different items" in found.notes[-1]
    found = decided([0, 0, 1, 1], [0, 0, 1, 1], named=np.array([True, False] * 2))
    assert found.kept.all()
    assert "says nothing about new items" in found.notes[0]


def test_the_earlier_rules_leave_all_as_it_was():
    content, labels = [0, 0, 1, 1, *range(4, 20)], [0, 0, 0, 1] * 5
    found = decided(content, labels, reading=EARLIER)
    assert (found.test == split(np.array(labels), 0.3, 0)).all()
    assert (found.kept.all(), found.notes, len(found.duplicates)) == (True, (), 2)


X = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
TRIPLED, Y = np.tile(X, (3, 1)), np.tile(np.arange(40) % 2, 3)


class Pairs(torch.utils.data.Dataset):
    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return torch.from_numpy(TRIPLED[i]), int(Y[i])


def folder(path):
    for i, (x, y) in enumerate(zip(TRIPLED, Y, strict=True)):
        (path / f"c{y}").mkdir(parents=True, exist_ok=True)
        pixels = np.tile(np.uint8(128 + 40 * x), (6, 1))
        Image.fromarray(pixels).save(path / f"c{y}/{i}.png")
    return load(str(path), image_size=8, cache=path.parent / "cache")


def manifest(path):
    folder(path)
    lines = [f"c{y}/{i}.png,c{y}" for i, y in enumerate(Y)]
    (path / "m.csv").write_text("\n".join(["path,label", *lines]))
    return load(str(path / "m.csv"), image_size=8, cache=path.parent / "cache")


def npz(path):
    np.savez(path.with_suffix(".npz"), x=TRIPLED, y=Y)
    return load(str(path.with_suffix(".npz")))


def npy(path):
    path.mkdir()
    np.save(path / "x.npy", TRIPLED)
    np.save(path / "y.npy", Y)
    return load(str(path))


def parquet(path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"label": Y, "x": TRIPLED.tolist()}), path.with_suffix(".parquet"))
    return load(str(path.with_suffix(".parquet")), cache=path.parent / "cache")


def memory(pool, y=Y):
    return in_memory(pool, y, test_fraction=0.2)


SOURCES = {
    "folder": folder,
    "manifest": manifest,
    "npz": npz,
    "npy": npy,
    "parquet": parquet,
    "array": lambda _: memory(from_arrays(TRIPLED)),
    "tensor": lambda _: memory(from_arrays(torch.from_numpy(TRIPLED))),
    "tree": lambda _: memory(from_arrays({"a": TRIPLED, "b": (TRIPLED[:, :2],)})),
    "tensors": lambda _: memory(*from_dataset(TensorDataset(torch.from_numpy(TRIPLED), torch.from_numpy(Y)))),
    "data set": lambda _: memory(*from_dataset(Pairs())),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_tripled_source_of_any_kind_has_no_copies_on_both_sides(source, tmp_path):
    data = SOURCES[source](tmp_path / "d")
    assert len(data.duplicates) == 40
    group = {id: i for i, ids in enumerate(data.duplicates) for id in ids}
    assert not {group[i] for i in data.train.ids} & {group[i] for i in data.test.ids}
    assert (len(data.train), len(data.test)) == (96, 24)
    assert "120 items are kept, though equal to others" in data.notes[-1]


def test_a_named_test_split_loses_its_copies_from_training(tmp_path):
    file = tmp_path / "d.npz"
    x_test = np.concatenate([X[:3], -X[:3]])
    np.savez(file, x_train=X, y_train=np.arange(40) % 2, x_test=x_test, y_test=[0, 1, 0, 1, 1, 1])
    data = load(str(file))
    assert (len(data.train), len(data.test)) == (37, 6)
    assert list(data.train.ids) == [f"train/{i}" for i in range(3, 40)]
    assert data.labels.tolist() == (np.arange(3, 40) % 2).tolist()
    assert data.notes == (
        "3 items are left out, each equal to a test item: train/0 = test/0; train/1 = test/1; train/2 = test/2",
    )
