from collections import UserDict

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny_runs import Flaky
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from baldur.data import from_dataset, in_memory
from baldur.errors import InvalidArgument, InvalidLabel, UnreadableItems


class Items(Dataset):
    """Items as they are given."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def everything(pool):
    ((_, x),) = pool.batches(np.arange(len(pool)), 1000)
    return x


class Squares(Dataset):
    def __init__(self, label=lambda i: i % 3):
        self.label = label

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return {"n": torch.tensor([float(i)]), "square": i * i}, self.label(i)


def test_items_are_read_and_collated_when_asked_for():
    pool, labels = from_dataset(Squares())
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert pool.ids == tuple("0123456")
    (_, first), (at, second) = pool.batches(np.array([5, 0, 3]), 2)
    assert first["n"].tolist() == [[5.0], [0.0]]
    assert (at.tolist(), second["square"].tolist()) == ([3], [9])


def test_labels_may_be_tensors():
    assert from_dataset(Squares(lambda i: torch.tensor(i)))[1].tolist() == list(range(7))


def test_tensors_are_taken_as_they_are():
    x = torch.arange(6.0).reshape(3, 2)
    pool, labels = from_dataset(TensorDataset(x, torch.tensor([1, 0, 1])))
    ((_, batch),) = pool.batches(np.arange(3), 3)
    assert torch.equal(batch, x)
    assert batch.data_ptr() != x.data_ptr()
    assert labels.tolist() == [1, 0, 1]


def test_what_is_no_set_of_pairs_is_refused():
    class Endless(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(InvalidArgument, match="Endless"):
        from_dataset(Endless())
    with pytest.raises(InvalidArgument, match="item 0 is not a pair"):
        from_dataset(TensorDataset(torch.zeros(2, 1)))
    with pytest.raises(InvalidArgument, match="has no items"):
        from_dataset(Items([]))
    with pytest.raises(InvalidArgument, match="at least 1"):
        list(from_dataset(Squares())[0].batches(np.arange(2), 0))


def test_all_that_fail_in_a_batch_are_named_at_once():
    pool, _ = from_dataset(Flaky())
    pool.source.gone, pool.source.left = {2, 5, 60}, 0
    with pytest.raises(UnreadableItems) as caught:
        list(pool.batches(np.arange(90), 30))
    assert caught.value.reasons.keys() == {"2", "5"}
    with pytest.raises(UnreadableItems, match=r"^5: FileNotFoundError.*Subset"):
        from_dataset(Flaky([5], after=0))


def test_the_next_batch_is_read_meanwhile_and_the_order_stays():
    read = []

    class Watched(Flaky):
        def __getitem__(self, i):
            read.append(i)
            return super().__getitem__(i)

    pool, _ = from_dataset(Watched())
    for ahead in (True, False):
        read.clear()
        batches = type(pool)(pool.source, pool.ids, ahead=ahead).batches(np.arange(90), 30)
        positions, x = next(batches)
        assert (positions.tolist(), x.numpy().tolist()) == (list(range(30)), pool.source.x[:30].tolist())
        batches.close()
        assert read == list(range(60 if ahead else 30))


class Texts(Squares):
    """Sequences of 1 to 7 tokens, as a tokenizer gives them."""

    def __getitem__(self, i):
        return UserDict({"input_ids": [i + 1] * (i + 1), "attention_mask": [1] * (i + 1)}), i % 3


def test_sequences_of_different_lengths_are_padded_to_the_longest_of_a_batch():
    pool, _ = from_dataset(Texts())
    first, second = (x for _, x in pool.batches(np.array([0, 2, 1]), 2))
    assert first["input_ids"].tolist() == [[1, 0, 0], [3, 3, 3]]
    assert first["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert second["input_ids"].tolist() == [[2, 2]]


class Augmented(Dataset):
    """Each item is mirrored at random, or its label is."""

    def __init__(self, what):
        self.what, self.rng = what, np.random.default_rng(0)

    def __len__(self):
        return 50

    def __getitem__(self, i):
        x, y, turned = torch.arange(4.0) + i, i % 2, self.rng.random() < 0.5
        return (x.flip(0) if turned and self.what == "x" else x), (
            1 - y if turned and self.what == "y" else y
        )


@pytest.mark.parametrize("what", ["x", "y"])
def test_items_that_change_when_they_are_read_again_are_refused(what):
    with pytest.raises(InvalidArgument, match=r"another one when it is read again.*augmentation.*augment="):
        from_dataset(Augmented(what))
    assert from_dataset(Augmented("nothing"))[1].tolist() == [0, 1] * 25


def test_nan_is_no_change():
    pool, labels = from_dataset(Items([(torch.tensor([np.nan, 1.0]), np.nan), (torch.zeros(2), 1.0)]))
    assert len(pool) == 2
    assert np.isnan(labels[0])


PICTURES = {
    "L": [[[128 / 255]]],
    "RGB": [[[1.0]], [[0.0]], [[0.0]]],
    "RGBA": [[[1.0]]] * 3,
    "LA": [[[1.0]]],
    "1": [[[1.0]]],
    "P": [[[1.0]], [[0.0]], [[0.0]]],
    "I;16": [[[1000 / 65535]]],
}


@pytest.mark.parametrize("mode", PICTURES)
def test_images_of_pillow_are_numbers_from_0_to_1(mode):
    colours = {"L": 128, "RGB": "red", "RGBA": (0, 0, 0, 0), "LA": (0, 0), "1": 1, "I;16": 1000}
    image = (
        Image.new("RGB", (5, 4), "red").convert("P")
        if mode == "P"
        else Image.new(mode, (5, 4), colours[mode])
    )
    x = everything(from_dataset(Items([(image, 0), (image, 1)]))[0])
    assert (x.dtype, x.shape[2:]) == (torch.float32, (4, 5))
    assert x[0, :, :1, :1].numpy() == pytest.approx(np.array(PICTURES[mode]), abs=1e-6)


@pytest.mark.parametrize("name", ["label", "labels", "target", "class", "y"])
def test_an_item_may_be_a_dict(name):
    pool, labels = from_dataset(Items([{"image": torch.ones(3) * i, name: f"c{i}"} for i in range(3)]))
    assert everything(pool).tolist() == [[0.0] * 3, [1.0] * 3, [2.0] * 3]
    assert labels.tolist() == ["c0", "c1", "c2"]
    pool, _ = from_dataset(Items([{"ids": torch.ones(3), "mask": torch.ones(3), name: 1}] * 2))
    assert everything(pool).keys() == {"ids", "mask"}


def test_further_values_of_an_item_are_not_used_and_that_is_said():
    pool, labels = from_dataset(Items([(torch.ones(2) * i, i % 2, {"file": f"{i}.png"}) for i in range(20)]))
    data = in_memory(pool, labels, test_fraction=0.2)
    assert data.classes == ("0", "1")
    assert data.notes == ("of each item, only (x, y) is used, and not the 1 further values",)


@pytest.mark.parametrize("make", [torch.tensor, np.array, list])
def test_one_hot_labels_are_classes(make):
    rows = np.eye(3)[np.arange(30) % 3].tolist()
    pool, labels = from_dataset(Items([(torch.ones(2), make(row)) for row in rows]))
    data = in_memory(pool, labels, test_fraction=0.2)
    assert (data.classes, np.bincount(data.labels).tolist()) == (("0", "1", "2"), [8, 8, 8])


@pytest.mark.parametrize(
    ("items", "error", "says"),
    [
        (
            [(torch.ones(2), 0), (torch.ones(3), 1)],
            InvalidArgument,
            r"item 1 .* shape \(3,\), but item 0 .* \(2,\)",
        ),
        (
            [(Image.new("L", (4, 4)), 0), (Image.new("L", (5, 4)), 1)],
            InvalidArgument,
            r"shape \(1, 4, 5\), but item 0 has the shape \(1, 4, 4\)\..*resize",
        ),
        ([({"a": torch.ones(2)}, 0), ({"b": torch.ones(2)}, 1)], InvalidArgument, "one form"),
        ([("a text", 0), ("another", 1)], InvalidArgument, r"cannot be joined .* \(it holds texts\)"),
        ([(None, 0), (None, 1)], InvalidArgument, "cannot be joined to a batch of tensors"),
        ([(torch.ones(2), torch.ones(2, 2))] * 2, InvalidLabel, r"label is a Tensor of shape \(2, 2\)"),
        ([(torch.ones(2), {"a": 1})] * 2, InvalidLabel, "label is a dict; give a name"),
        ([(torch.ones(2), [1, 0]), (torch.ones(2), 1)], InvalidLabel, "some labels are vectors"),
        ([(torch.ones(2), [1, 0]), (torch.ones(2), [1, 0, 0])], InvalidLabel, "different lengths"),
        (
            [{"image": 1}] * 2,
            InvalidArgument,
            "a dict with image; it needs an input, and the label under one of",
        ),
        ([{"label": 1}] * 2, InvalidArgument, "a dict with label; it needs an input"),
        ([(torch.ones(2),)] * 2, InvalidArgument, "not a pair"),
        ([torch.ones(2)] * 2, InvalidArgument, r"not a pair \(x, y\), but Tensor"),
    ],
)
def test_what_does_not_fit_is_a_sentence(items, error, says):
    with pytest.raises(error, match=says):
        from_dataset(Items(items))
