import numpy as np
import pandas as pd
import pytest

from baldur.data.cells import (
    columns_of,
    encoded,
    is_frame,
    numbers_of,
    texts_of,
    vocabulary,
    why_by_name,
    why_by_names,
)
from baldur.errors import InvalidArgument


def test_values_as_texts():
    assert texts_of([" a ", None, np.nan, 1.0, 1.5, True, pd.NA, pd.NaT]) == [
        "a",
        "",
        "",
        "1",
        "1.5",
        "True",
        "",
        "",
    ]
    assert texts_of(np.array([1, 2])) == ["1", "2"]


def test_texts_that_are_all_numbers_are_numbers():
    assert vocabulary({"1", "2.5", "?", "NA"}) == ()
    assert vocabulary({"1", "x", "?"}) == ("1", "x", "")
    assert vocabulary({"?"}) == ("",)
    assert np.array_equal(encoded(["1", "?", "2.5"], ()), [1, np.nan, 2.5], equal_nan=True)
    assert encoded(["x", "?", "1"], ("1", "x", "")).tolist() == [1, 2, 0]
    assert numbers_of("a", ["1", None, 2]).tolist()[::2] == [1, 2]
    with pytest.raises(InvalidArgument, match=r"column a .* it has 'x'"):
        numbers_of("a", ["1", "x"])


def test_columns_of_a_frame_or_a_mapping():
    frame = pd.DataFrame({"a": pd.array([1, None], "Int64"), 3: ["x", "y"]})
    found = columns_of(frame)
    assert list(found) == ["a", "3"]
    assert np.array_equal(found["a"], [1, np.nan], equal_nan=True)
    assert (is_frame(frame), is_frame(frame["a"]), is_frame({})) == (True, False, False)
    with pytest.raises(InvalidArgument, match="two columns called a"):
        columns_of(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(InvalidArgument, match="not ndarray"):
        columns_of(np.zeros((2, 2)))


def test_names_of_ids():
    assert all(map(why_by_name, ["id", "row_number", "sample-id", "GUID", "caseID", "__index_level_0__"]))
    assert not any(map(why_by_name, ["acid", "grid", "humid", "fluid", "index_of_refraction", "row_width"]))


def test_the_facts_about_exported_labels_are_no_inputs_if_all_of_them_are_there():
    facts = ["annotator", "time", "round"]
    assert list(why_by_names(["x", "row_id", *facts])) == ["row_id", *sorted(facts)]
    assert why_by_names(["x", *facts[1:]]) == {}
