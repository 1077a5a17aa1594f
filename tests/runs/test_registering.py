"""The random order of the items of a run in which people label."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from baldur import data
from baldur.runs.registering import frontier_of, key_of, placed
from baldur.store import ItemRecord


@given(n=st.integers(0, 200), share=st.floats(0, 0.5), seed=st.integers(0, 5), groups=st.integers(0, 20))
def test_the_end_of_the_order_is_kept_for_testing(n, share, seed, groups):
    names = [f"g{i % groups}" for i in range(n)] if groups else None
    pool = data.from_arrays(np.zeros((n, 1)), groups=names)
    frontier = frontier_of(seed, pool, share)
    records = [ItemRecord(i, group=names[int(i)] if names else None) for i in pool.ids]
    made = [placed(record, seed, frontier) for record in records]
    tests = [record for record in made if record.split == "reserve"]
    assert len(tests) <= share * n
    if names is None:
        assert len(tests) == int(share * n)
        last = sorted(made, key=lambda record: record.key)[n - len(tests) :]
        assert {record.id for record in last} == {record.id for record in tests}
    else:
        assert {r.group for r in tests}.isdisjoint({r.group for r in made} - {r.group for r in tests})


def test_an_item_has_the_same_place_whatever_comes_with_it():
    assert key_of(3, "a/b.png") == key_of(3, "a/b.png") != key_of(4, "a/b.png")
    assert 0 <= key_of(0, "x") < 2**63


def test_named_test_items_have_no_place():
    record = ItemRecord("a", split="test")
    assert placed(record, 0, 0) == record
