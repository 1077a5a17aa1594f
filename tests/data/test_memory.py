import numpy as np
import pytest
import torch

from baldur.data import from_arrays, in_memory
from baldur.errors import InvalidArgument, InvalidLabel


def test_own_arrays_become_a_data_set():
    x = np.zeros((20, 3))
    x[:, 0] = np.arange(20) // 2
    data = in_memory(from_arrays(x), torch.arange(20) % 2, test_fraction=0.2)
    assert (len(data.train), len(data.test), data.classes) == (16, 4, ("0", "1"))
    assert data.preprocessing == {"kind": "array", "shape": [3], "dtype": "float32"}
    assert len(data.duplicates) == 10
    assert [int(i) % 2 for i in data.test.ids] == data.test_labels.tolist()


def test_groups_stay_together():
    groups = [str(i // 4) for i in range(40)]
    data = in_memory(from_arrays(np.zeros((40, 1)), groups=groups), np.arange(40) % 2, test_fraction=0.3)
    assert not set(data.train.groups) & set(data.test.groups)


def test_trees_are_taken():
    pool = from_arrays({"tokens": np.zeros((4, 2), np.int64), "mask": np.ones((4, 2), bool)})
    assert in_memory(pool, [0, 1, 0, 1], test_fraction=0.5).preprocessing == {"kind": "tree"}


def test_labels_fit_the_items_and_the_classes():
    pool = from_arrays(np.zeros((4, 1)))
    with pytest.raises(InvalidArgument, match="4 items, but 3 labels"):
        in_memory(pool, [0, 1, 0], test_fraction=0.5)
    with pytest.raises(InvalidLabel, match="label 2 at position 3"):
        in_memory(pool, [0, 1, 0, 2], test_fraction=0.5, classes=("a", "b"))
    assert in_memory(pool, [0, 1995, 0, 1995], test_fraction=0.5).classes == ("0", "1995")
    with pytest.raises(InvalidLabel, match="only 4 items"):  # as the first version did
        in_memory(pool, [0, 1, 0, 1995], test_fraction=0.5, reading=1)
