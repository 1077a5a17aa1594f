import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.oracles.answers import Answer, blank, is_blank, read_answers

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_what_is_asked_for_is_blank_until_somebody_writes(tmp_path_factory, asked):
    path = tmp_path_factory.mktemp("run") / "requests.csv"
    path.write_text(blank(asked.items()), encoding="utf-8", newline="")
    assert is_blank(path)
    assert read_answers(path) == ([], [])
    if asked:
        path.write_bytes(path.read_bytes()[:-2] + b"cat")
        assert not is_blank(path)
        ((answer,), faults) = read_answers(path)
        assert (answer.label, faults) == ("cat", [])
        if list(asked)[-1].strip():
            assert answer.id == list(asked)[-1]


@pytest.mark.parametrize("text", ["", "id,path\n", "id,path,label,note\na,,,x\n", "\xff"])
def test_other_files_are_not_blank(tmp_path, text):
    path = tmp_path / "requests.csv"
    path.write_bytes(text.encode("latin-1"))
    assert not is_blank(path)


def test_spaces_are_taken_off_where_only_that_is_known():
    answer = Answer(" a ", " cat", "answers.csv, line 2")
    assert answer.as_known({" a "}, {"cat"}) == Answer(" a ", "cat", "answers.csv, line 2")
