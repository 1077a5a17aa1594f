import pytest

from baldur.core.sizes import bytes_of, counted
from baldur.errors import InvalidSettings


def test_sizes_have_units():
    assert [bytes_of(size) for size in ("1GiB", "500 MB", "1.5kb", 7)] == [2**30, 500 * 10**6, 1500, 7]
    with pytest.raises(InvalidSettings, match="such as '1GiB'"):
        bytes_of("much")


def test_one_is_not_several():
    assert [counted(n, "item") for n in (0, 1, 2000)] == ["0 items", "1 item", "2,000 items"]
    assert counted(2, "row is", "rows are") == "2 rows are"
