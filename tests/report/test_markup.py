from hypothesis import given
from hypothesis import strategies as st

from baldur.report.markup import Html, element, join, table


@given(st.text())
def test_text_never_becomes_markup(text: str) -> None:
    made = element("p", text, title=text)
    assert made.count("<") == 2
    assert made.count(">") == 2
    assert made.count('"') == 2


def test_markup_is_kept_and_attributes_are_named() -> None:
    assert (
        element("p", Html("<b>x</b>"), "<", class_="a", aria_label="b")
        == '<p class="a" aria-label="b"><b>x</b>&lt;</p>'
    )
    assert element("img", alt="x") == '<img alt="x">'
    assert isinstance(join(["a", Html("<i>")]), Html)


def test_a_table_names_rows_and_columns() -> None:
    made = table("What", ["Name", "N"], [["a", "1"]], numbers=range(1, 2))
    assert '<th scope="row">a</th><td class="number" data-head="N">1</td>' in made
    assert '<th scope="col">Name</th><th scope="col" class="number">N</th>' in made
    assert "<caption>What</caption>" in made
