"""Names and calls written as text."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import pytest
from torch import nn

from baldur.core.ranges import Count, NotNegative, Risk, Share
from baldur.core.written import check, fits, split
from baldur.errors import InvalidSettings


def test_texts_are_cut_outside_of_brackets_and_quotes():
    assert split("a(x=[1+2], y='+)')+ b", "+") == ["a(x=[1+2], y='+)')", "b"]


@pytest.mark.parametrize(
    ("value", "annotation", "said"),
    [
        (1, float, True), (True, float, False), (True, int, False), (1, bool, False), (1.0, int, False),
        (None, int | None, True), ("a", int | None, False), ("a", Literal["a"], True), (True, Literal[1], False),
        ([1, 2.5], Sequence[float], True), ("ab", Sequence[str], False), ((1, "a"), Sequence[float], False),
        ([1, 2], tuple[float, float], True), ([1], tuple[float, float], False), ([1], tuple[int, ...], True),
        ("a", Callable[[int], int], False), (print, Callable[[int], int] | None, True), (1, Any, True),
        (["a"], Sequence[type[nn.Module]], False), ({"a": 1}, dict[str, int], True), (1, "Unknown", True),
    ],
)  # fmt: skip
def test_a_value_is_held_against_its_annotation(value, annotation, said):
    assert fits(value, annotation) is said


def call(
    x, *, beta: NotNegative = 1.0, targets: Count | str = 100, race: Risk | None = None, share: Share = 0.5
):
    """A function whose options have ranges."""


@pytest.mark.parametrize(
    "options", [{"beta": 0}, {"targets": 1}, {"targets": "all"}, {"race": None}, {"race": 0.01}, {"share": 1}]
)
def test_a_value_in_its_range_is_taken(options):
    check("call", call, 1, options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beta": -1}, "beta must be a number of at least 0, not -1"),
        ({"beta": float("nan")}, "beta must be a number of at least 0, not nan"),
        ({"targets": 0}, "targets must be a whole number of at least 1 or a text, not 0"),
        ({"race": 1}, "race must be a number of at least 0 and less than 1 or None, not 1"),
        ({"share": 1.5}, "share must be a number of at least 0 and at most 1, not 1.5"),
    ],
)
def test_a_value_out_of_its_range_is_named(options, words):
    with pytest.raises(InvalidSettings) as raised:
        check("call", call, 1, options)
    assert words in str(raised.value)


def test_ranges_are_not_shown_in_the_call():
    with pytest.raises(
        InvalidSettings, match=r"call\(beta: float = 1.0, targets: int \| str = 100, race: float"
    ):
        check("call", call, 1, {"gamma": 1})
