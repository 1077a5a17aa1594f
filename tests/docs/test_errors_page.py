"""docs/errors.md has the errors that Baldur gives for the bad input of the tests."""

import pytest
from tests.bad_input import CASES

from docs import make_errors


@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=lambda c: c.given)
def test_bad_input_is_named_and_the_page_says_how(case):
    answer = make_errors.answer(case)
    assert case.answer in answer
    assert make_errors.row(case.given, answer) in make_errors.PAGE.read_text(encoding="utf-8"), (
        "run `make docs`"
    )


def test_the_page_has_a_row_for_each_case():
    text = make_errors.PAGE.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and line != "| input | error |"]
    assert len(rows) == sum(map(len, CASES.values())), "run `make docs`"
    assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## {name}" for name in CASES]
