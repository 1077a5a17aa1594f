"""Columns that a user names."""

import pytest

from baldur.data.by_name import by_name
from baldur.errors import InvalidArgument, InvalidData

COLUMNS = ["nr", "question", "label", "kind", "n", "group"]


def test_facts_have_their_usual_names_unless_others_are_given():
    assert by_name().facts(COLUMNS) == {"label": "label", "group": "group"}
    assert by_name(label="kind", id="nr").facts(COLUMNS) == {"id": "nr", "label": "kind", "group": "group"}


def test_a_column_whose_place_is_taken_is_left_out():
    told = by_name(label="kind", id="nr")
    row = told.renamed({"nr": 1, "question": "who?", "label": "a", "kind": "b", "n": 2, "group": "g"})
    assert row == {"id": 1, "question": "who?", "label": "b", "n": 2, "group": "g"}
    assert told.notes(COLUMNS) == ["left out: label (other columns are named)"]


def test_named_inputs_leave_out_all_others():
    told = by_name(label="kind", text="question")
    assert told.left_out(COLUMNS) == ["nr", "label", "n"]
    assert by_name(inputs="n").named == ("n",)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"label": "knd"}, "no column 'knd' .*did you mean 'kind'"),
        ({"label": "kind", "inputs": ["kind"]}, "as label and as inputs; give one"),
        ({"inputs": ["group"]}, "has the name of a fact about a row"),
    ],
)
def test_wrong_names(named, says):
    with pytest.raises(InvalidData, match=says):
        by_name(**named).check(COLUMNS, "the table")


def test_a_name_is_a_text():
    with pytest.raises(InvalidArgument, match="label must be the name of a column, not 3"):
        by_name(label=3)
    with pytest.raises(InvalidArgument, match="text must be the name"):
        by_name(text="")
