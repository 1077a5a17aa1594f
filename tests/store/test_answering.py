"""Answers of an oracle to the requests of a round, and corrections."""

import pytest
from tests.store.one_round import go_through

from baldur.errors import InvalidLabel, StoreError


def test_answers_enter_the_ledger_once_and_in_the_order_of_the_requests(run, trial):
    for _ in range(2):
        trial.answer(0, {"c": "dog", "a": "cat"}, "ann", source="page")
    rows = [(row.number, row.item, row.value, row.annotator, row.source) for row in run.ledger()]
    assert rows == [(1, "a", "cat", "ann", "page"), (2, "c", "dog", "ann", "page")]
    assert trial.open_requests(0) == ["b"]


def test_a_refused_answer_leaves_nothing_behind(run, trial):
    with pytest.raises(InvalidLabel, match=r"'fish' for 'b'.*cat, dog, bird"):
        trial.answer(0, {"a": "cat", "b": "fish"}, "ann")
    with pytest.raises(StoreError, match="did not ask for 'z'"):
        trial.answer(0, {"a": "cat", "z": "cat"}, "ann")
    trial.answer(0, {"a": "cat"}, "ann")
    with pytest.raises(StoreError, match="'ann' answered 'cat' for 'a'"):
        trial.answer(0, {"b": "cat", "a": "dog"}, "ann")
    assert [row.item for row in run.ledger()] == ["a"]


def test_the_newest_event_is_the_current_label_and_names_what_it_supersedes(run, trial):
    trial.answer(0, {"a": "cat", "b": "cat"}, "ann")
    trial.answer(0, {"a": "dog"}, "bob")
    assert [(row.item, row.value, row.annotator) for row in trial.labels()] == [
        ("b", "cat", "ann"),
        ("a", "dog", "bob"),
    ]
    assert [row.value for row in trial.labels(cut=2)] == ["cat", "cat"]
    assert [(row.item, row.value) for row in run.labels()] == [("b", "cat"), ("a", "dog")]
    assert [row.supersedes for row in run.ledger()] == [None, None, None], (
        "another annotator supersedes nobody"
    )
    go_through(trial, 0, following="a")
    trial.answer(1, {"a": "bird"}, "ann")
    assert run.ledger()[-1].supersedes == 1


def test_a_correction_is_a_newer_event_and_earlier_cuts_stay(run, trial):
    trial.answer(0, {"a": "cat", "b": "cat", "c": "dog"}, "ann")
    cut = trial.cut(0)
    for _ in range(2):
        trial.correct({"a": "dog", "b": "cat"}, "ann")
    assert {row.item: row.value for row in trial.labels(cut)} == {"a": "cat", "b": "cat", "c": "dog"}
    assert {row.item: row.value for row in trial.labels()} == {"a": "dog", "b": "cat", "c": "dog"}
    trial.correct({"a": "cat"}, "bob")
    events = [(row.value, row.annotator, row.supersedes) for row in run.ledger() if row.item == "a"]
    assert events == [("cat", "ann", None), ("dog", "ann", 1), ("cat", "bob", 4)]
    with pytest.raises(InvalidLabel, match="'horse'"):
        trial.correct({"a": "horse"}, "ann")


def test_only_what_has_a_label_can_be_corrected(trial):
    trial.answer(0, {"a": "cat"}, "ann")
    with pytest.raises(StoreError, match="'b' has no label yet"):
        trial.correct({"a": "dog", "b": "dog"}, "ann")
    assert [row.value for row in trial.labels()] == ["cat"]
