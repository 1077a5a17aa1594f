import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from baldur.data.scanning import as_numpy, digest_of, first_of, scan
from baldur.errors import InvalidData

DTYPES = ["uint8", "int16", "int64", "float32", "float64", "bool"]


@given(st.sampled_from(DTYPES), st.integers(1, 300), st.integers(0, 5), st.booleans(), st.integers(1, 3))
def test_equal_rows_are_those_of_brute_force(dtype, width, seed, sparse, parts):
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, (12, width)).astype(dtype)
    if sparse:
        x[:, : width // 2] = 0
        x[:, -1] = rng.integers(0, 2, 12)
    x[7], x[11] = x[2], x[2]
    expected = [next(j for j in range(12) if (x[j] == x[i]).all()) for i in range(12)]
    found = scan(np.array_split(x, parts))
    assert found.first.tolist() == expected
    if dtype != "bool":
        assert (found.low, found.high) == (x.min(), x.max())


def test_rows_of_many_blocks_and_views_are_compared():
    x = np.random.default_rng(0).integers(0, 256, (3000, 16, 16, 3), np.uint8)
    x[2999], x[1500] = x[0], x[0]
    first = scan([np.moveaxis(x, 3, 1)]).first
    assert np.flatnonzero(first != np.arange(3000)).tolist() == [1500, 2999]
    assert first[[1500, 2999]].tolist() == [0, 0]


def test_rows_that_differ_in_one_byte_are_not_equal():
    x = np.zeros((784, 784), np.uint8)
    x[np.arange(784), np.arange(784)] = 1
    assert scan([x]).first.tolist() == list(range(784))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(bad):
    x = np.zeros((9, 3), np.float32)
    x[5, 1] = bad
    with pytest.raises(InvalidData, match="item 5 holds NaN or an infinite value"):
        scan([x])
    assert scan([x], finite=False).first.tolist() == [0, 0, 0, 0, 0, 5, 0, 0, 0]


@pytest.mark.parametrize("bad", [1e300, -3.5e38, 1e39])
def test_a_value_that_float32_does_not_hold_is_named(bad):
    x = np.zeros((9, 3))
    x[5, 1] = bad
    with pytest.raises(
        InvalidData, match=re.escape(f"item test/5 holds {bad:g}, but inputs are read as float32")
    ):
        scan([x[:3], x], prefixes=("train/", "test/"))
    x[5, 1] = 3.4e38
    assert scan([x]).high == 3.4e38


def test_items_of_every_kind_have_a_digest():
    items = [
        torch.zeros(3),
        torch.zeros(3, dtype=torch.bfloat16),
        np.zeros(3),
        Image.new("RGB", (2, 2)),
        {"a": 1, "b": (torch.zeros(1), "text", None)},
        [1.5, True],
    ]
    digests = [digest_of(item) for item in items]
    assert None not in digests
    assert digests == [digest_of(item) for item in items]
    assert digest_of(torch.zeros(3)) != digest_of(torch.zeros(3, 1))
    assert digest_of({"a": 1, "b": 2}) != digest_of({"a": 2, "b": 1})
    assert digest_of(object()) is None
    assert first_of([None, None, b"1", b"1"]).tolist() == [0, 1, 2, 2]
    assert as_numpy(torch.ones(2, dtype=torch.bfloat16)).tolist() == [1, 1]
