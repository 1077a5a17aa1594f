from collections import UserDict

import numpy as np
import pytest
import torch
from tests.tiny_runs import Flaky
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from baldur.data import from_dataset
from baldur.errors import InvalidArgument, InvalidLabel, UnreadableItems


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
    with pytest.raises(InvalidLabel):
        from_dataset(Squares(lambda i: i / 2))
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


def test_items_of_different_shapes_are_named():
    class Uneven(Squares):
        def __getitem__(self, i):
            return torch.zeros(3, 8 + i % 2, 8), i % 3

    pool, _ = from_dataset(Uneven())
    with pytest.raises(InvalidArgument, match=r"different shapes, \(3, 8, 8\) and \(3, 9, 8\); resize them"):
        list(pool.batches(np.arange(7), 4))
