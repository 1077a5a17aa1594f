import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from baldur.data.arrays import ArrayPool, Normalise, as_pool, class_indices, digests, from_arrays
from baldur.errors import InvalidArgument, InvalidData, InvalidLabel


def read(pool, positions=None, size=3):
    at = np.arange(len(pool)) if positions is None else np.array(positions, np.intp)
    return list(pool.batches(at, size))


@given(st.lists(st.integers(0, 9), max_size=25), st.integers(1, 7))
def test_batches_give_the_rows_asked_for_in_that_order(positions, size):
    x = np.arange(20, dtype=np.float32).reshape(10, 2)
    batches = read(from_arrays(x), positions, size)
    assert [len(p) for p, _ in batches[:-1]] == [size] * (len(batches) - 1)
    assert [i for p, _ in batches for i in p] == positions
    assert [row for _, b in batches for row in b.tolist()] == x[positions].tolist()


@pytest.mark.parametrize("positions", [[0, 1, 2], [2, 0]], ids=["consecutive", "scattered"])
@pytest.mark.parametrize("make", [np.asarray, torch.asarray], ids=["numpy", "torch"])
def test_writing_into_a_batch_leaves_the_callers_array_alone(make, positions):
    x = make(np.ones((4, 2), np.float32))
    for _, batch in read(from_arrays(x), positions):
        batch.zero_()
    assert x.min() == 1


def test_a_read_only_memory_map_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6).reshape(3, 2))
    pool = from_arrays(np.load(tmp_path / "x.npy", mmap_mode="r"))
    ((_, batch),) = read(pool)
    assert batch.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_trees_of_arrays_keep_their_shape():
    pool = from_arrays({"a": np.zeros((3, 2)), "b": (torch.ones(3), np.arange(3))})
    ((_, batch),) = read(pool)
    assert batch["a"].dtype == torch.float32
    assert batch["b"][0].tolist() == [1, 1, 1]
    assert batch["b"][1].dtype == torch.int64


def test_views_transposed_and_of_foreign_byte_order_become_plain_tensors():
    x = np.arange(24, dtype=">i4").reshape(2, 3, 4).transpose(0, 2, 1)
    for positions in ([0, 1], [1, 0]):
        ((_, batch),) = read(from_arrays(x), positions)
        assert batch.is_contiguous()
        assert batch.tolist() == x[positions].tolist()


def test_ids_are_positions_or_what_was_given():
    assert from_arrays(np.zeros((2, 1))).ids == ("0", "1")
    pool = from_arrays(np.zeros((2, 1)), y=[1, -1], ids=np.array(["a", "b"]), groups=["g", "h"])
    assert (pool.ids, pool.groups, pool.labels.tolist()) == (("a", "b"), ("g", "h"), [1, -1])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"x": np.zeros((3, 1)), "y": [0, 1]}, "y has 2"),
        ({"x": np.zeros((3, 1)), "ids": ["a", "b"]}, "ids has 2"),
        ({"x": np.zeros((3, 1)), "ids": ["a", "b", "a"]}, "'a' occurs twice"),
        ({"x": (np.zeros((3, 1)), np.zeros((2, 1)))}, r"\[2, 3\]"),
        ({"x": np.array(["a", "b"])}, "numbers"),
        ({"x": np.array([{}, {}])}, "numbers"),
        ({"x": np.float32(1)}, "no axis"),
        ({"x": np.zeros((3, 0))}, r"the shape \(3, 0\), so an item has no values"),
        ({"x": np.ma.masked_equal([[0.0], [1.0]], 1)}, "masked array, whose mask would be lost"),
        ({"x": csr_matrix(np.eye(3))}, "not a sparse csr_matrix; give x.toarray()"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(InvalidArgument, match=says):
        from_arrays(**arguments)


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ([(4,), (4,), (5,)], r"item 2 has the shape \(5,\), but item 0 has the shape \(4,\)"),
        ([(1, 8, 8), (3, 8, 8)], r"item 1 has the shape \(3, 8, 8\)"),
        ([(4,), ()], r"item 1 has the shape \(\)"),
    ],
)
@pytest.mark.parametrize("kind", [list, tuple, "objects"])
def test_items_of_different_shapes_are_named(shapes, says, kind):
    items = [np.zeros(shape) for shape in shapes]
    x = np.empty(len(items), object)
    x[:] = items
    with pytest.raises(InvalidArgument, match=says):
        from_arrays(x if kind == "objects" else {"a": [item.tolist() for item in items]})


def test_labels_of_other_rows_are_refused():
    x, y = pd.DataFrame({"a": [1.0, 2.0]}), pd.Series([0, 1], index=[1, 0])
    with pytest.raises(InvalidArgument, match="different indexes"):
        from_arrays(x, y)
    assert from_arrays(x, y.loc[x.index]).labels.tolist() == [1, 0]


def test_arrays_in_an_array_of_objects_need_to_be_stacked():
    x = np.empty(2, object)
    x[:] = [np.zeros(3), np.zeros(3)]
    with pytest.raises(InvalidArgument, match=r"2 items are arrays in an array of objects; give np.stack"):
        from_arrays(x)


@pytest.mark.parametrize("y", [[0.0, 1.0], [[0, 1]], ["a", "b"], [0, -2]])
def test_labels_are_class_indices(y):
    with pytest.raises(InvalidLabel):
        class_indices(y)


def test_a_batch_needs_a_size():
    with pytest.raises(InvalidArgument, match="at least 1"):
        read(from_arrays(np.zeros((2, 1))), size=0)


def test_normalise_maps_pixels_channel_by_channel_and_leaves_them_alone():
    x = torch.tensor([[[[0]], [[255]]]], dtype=torch.uint8)
    out = Normalise((0.5, 0.2), (0.25, 0.4))(x)
    assert out.dtype == torch.float32
    assert out.flatten().tolist() == pytest.approx([-2.0, 2.0])
    assert x.flatten().tolist() == [0, 255]
    assert Normalise((0.0,), (1.0,), 16.0)(torch.tensor([[[[4]]]], dtype=torch.uint8)).item() == 0.25


def test_a_pool_stays_and_an_array_becomes_one():
    pool = from_arrays(np.zeros((2, 1)))
    assert as_pool(pool) is pool
    assert isinstance(as_pool(np.zeros((2, 1))), ArrayPool)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(1, 5))
def test_digests_are_equal_where_rows_are(values, chunk):
    found = digests(np.array(values, np.int16).reshape(-1, 1), chunk)
    assert [[a == b for b in found] for a in found] == [[a == b for b in values] for a in values]


def test_digests_refuse_what_is_not_finite():
    with pytest.raises(InvalidData, match="item 5"):
        digests(np.array([0, 1, 2, 3, 4, np.nan]).reshape(-1, 1), chunk=4)
