"""What is held out for early stopping."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.learners.held_out import hold_out


def ids(n):
    return [str(i) for i in range(n)]


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=40),
    width=st.integers(1, 4),
    count=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_groups_stay_whole_and_every_class_stays_in_training(labels, width, count, seed):
    labels = np.array(labels)
    groups = [str(i // width) for i in range(len(labels))]
    try:
        kept, held = hold_out(labels, groups, count, seed)
    except InvalidArgument:
        assert width > 1 or count > len(labels) - len(np.unique(labels))
        return
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert 1 <= len(held) <= count
    assert width > 1 or len(held) == count
    assert not {groups[i] for i in kept} & {groups[i] for i in held}
    assert set(labels[kept]) == set(labels)


def test_classes_are_held_out_in_proportion():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    _, held = hold_out(labels, ids(100), 20, 0)
    assert np.bincount(labels[held]).tolist() == [12, 6, 2]


def test_the_seed_decides_and_new_labels_leave_most_as_it_was():
    labels = np.arange(200) % 2
    first = set(hold_out(labels[:150], ids(150), 20, 0)[1])
    assert first == set(hold_out(labels[:150], ids(150), 20, 0)[1])
    assert first != set(hold_out(labels[:150], ids(150), 20, 1)[1])
    assert len(first & set(hold_out(labels, ids(200), 20, 0)[1])) >= 10


def test_what_cannot_be_held_out_is_refused_with_what_can():
    with pytest.raises(InvalidArgument, match="hold out at most 7"):
        hold_out(np.arange(10) % 3, ids(10), 8, 0)
    with pytest.raises(InvalidArgument, match="no group"):
        hold_out(np.arange(10) % 2, ["a"] * 5 + ["b"] * 5, 3, 0)
