import numpy as np

from baldur.data.arrays import from_arrays
from baldur.data.dataset import equal_content, halves


def test_equal_content_is_listed_in_groups():
    assert equal_content("abcdef", [1, 2, 1, 3, 2, 1]) == (("a", "c", "f"), ("b", "e"))
    assert equal_content("abcd", [1, 1, 2, 2], most=1) == (("a", "b"),)


def test_halves_hold_what_is_usable_each_on_its_side():
    pool = from_arrays(np.arange(5.0).reshape(5, 1))
    labels = np.arange(5)
    train, y, test, z = halves(pool, labels, np.array([0, 1, 0, 1, 0], bool), np.array([1, 1, 1, 0, 1], bool))
    assert (list(train.ids), list(test.ids)) == (["0", "2", "4"], ["1"])
    assert (y.tolist(), z.tolist()) == ([0, 2, 4], [1])
    ((positions, x),) = train.batches(np.array([2, 0]), 5)
    assert (positions.tolist(), x.flatten().tolist()) == ([2, 0], [4.0, 0.0])
