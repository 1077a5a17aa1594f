import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.data import split
from baldur.errors import InvalidArgument, InvalidData

labels = st.lists(st.integers(-1, 4), min_size=1, max_size=80).map(lambda v: np.array(v, np.int64))


@given(labels, st.floats(0.05, 0.95), st.integers(0, 5))
def test_every_class_is_held_out_in_proportion(y, fraction, seed):
    test = split(y, fraction, seed)
    assert not test[y < 0].any()
    for c in np.unique(y[y >= 0]):
        held, n = test[y == c].sum(), (y == c).sum()
        assert held < n
        assert abs(held - fraction * n) <= 1


def test_the_seed_decides():
    y = np.repeat(np.arange(4), 50)
    assert (split(y, 0.2, 1) == split(y, 0.2, 1)).all()
    assert (split(y, 0.2, 1) != split(y, 0.2, 2)).any()
    assert split(y, 0.2, 1).sum() == 40


def test_what_rounding_leaves_over_is_held_out_too():
    y = np.repeat(np.arange(8), 4)  # 0.8 of an item in each class
    assert split(y, 0.2, 0).sum() == 6


@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(0, 9)), min_size=1, max_size=60), st.integers(0, 3))
def test_a_group_is_on_one_side(pairs, seed):
    y, groups = np.array([c for c, _ in pairs], np.int64), [str(g) for _, g in pairs]
    try:
        test = split(y, 0.3, seed, groups)
    except InvalidData:
        return
    for g in set(groups):
        assert len({bool(t) for t, h in zip(test, groups, strict=True) if h == g}) == 1
    assert not test[y < 0].any()
    assert set(y[(y >= 0) & ~test]) == set(y[y >= 0])


def test_groups_come_near_the_share():
    rng = np.random.default_rng(0)
    y, groups = rng.integers(0, 5, 1000), [str(g) for g in rng.integers(0, 300, 1000)]
    assert abs(split(y, 0.2, 0, groups).sum() - 200) <= 3


def test_one_group_cannot_be_split():
    with pytest.raises(InvalidData, match="Name the split"):
        split(np.zeros(10, np.int64), 0.2, 0, ["patient"] * 10)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_the_share_lies_between_0_and_1(fraction):
    with pytest.raises(InvalidArgument, match="between 0 and 1"):
        split(np.zeros(3, np.int64), fraction, 0)


def test_lengths_agree():
    with pytest.raises(InvalidArgument, match="3 labels, but 1 groups"):
        split(np.zeros(3, np.int64), 0.5, 0, ["a"])
