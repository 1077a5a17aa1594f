import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from baldur.data import from_dataset
from baldur.errors import InvalidArgument, InvalidLabel


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
