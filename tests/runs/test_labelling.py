"""The settings of a run in which people label, and the rule for its test labels."""

import numpy as np
import pytest

from baldur.data import Dataset, from_arrays
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.protocols import History
from baldur.runs import settings as settings_
from baldur.runs.labelling import STRATEGY, People, asks_for_tests, in_classes, settings_for_people
from baldur.store.classes import Change, Classes


def test_the_settings_of_a_run_of_people():
    made = settings_for_people({"data": "photos"})
    assert (made.compare.strategies, made.compare.oracle, made.compare.seeds) == ([STRATEGY], "people", 1)
    assert (made.compare.initial, made.compare.query_size, made.people.retrain_after) == (10, 30, 10)
    assert settings_for_people({"retrain_after": 50}).compare.query_size == 150
    assert settings_for_people({"learner": "fixmatch"}).learn.epochs == 4 * made.learn.epochs
    assert settings_.from_toml(settings_.to_toml(made)) == made


def test_settings_of_people_are_not_written_into_other_runs():
    assert "retrain_after" not in settings_.to_toml(settings_.create())


@pytest.mark.parametrize(
    ("told", "error", "words"),
    [
        ({"strategies": ["bald", "random"]}, InvalidArgument, "one strategy, not 2"),
        ({"seeds": 5}, InvalidArgument, "seeds must be 1"),
        ({"retrain_after": 0}, InvalidSettings, "at least 1"),
        ({"lease_minutes": 0}, InvalidSettings, "greater than 0"),
        ({"retrain_aftr": 3}, InvalidSettings, "did you mean 'retrain_after'"),
    ],
)
def test_settings_that_make_no_sense(told, error, words):
    with pytest.raises(error, match=words):
        settings_for_people(told)


def test_test_labels_are_asked_for_bit_by_bit():
    rule = asks_for_tests(10, 4)
    assert rule.test_labels(History([], [])) == 4
    assert rule.test_labels(History([8], [{("items", "reserve"): 5.0}])) == 9
    assert rule.test_labels(History([8], [{("items", "reserve"): 9.0}])) == 10
    assert rule(History([8], [{}])) == ""
    assert asks_for_tests(0, 4) is None


def test_labels_of_the_data_are_read_through_changes_of_classes():
    data = from_arrays_in(("a", "b", "c", "d"), labels=[0, 1, 2, 3, -1], tests=[3, 0, -1])
    changes = (
        Change(5, "merge", ("a", "c"), "ac"),
        Change(7, "rename", ("b",), "e"),
        Change(9, "add", (), "b"),
    )
    made = in_classes(data, Classes(("ac", "e", "b"), changes))
    assert made.classes == ("ac", "e", "b")
    assert made.labels.tolist() == [0, 1, 0, -1, -1]
    assert made.test_labels.tolist() == [-1, 0, -1]


def from_arrays_in(classes, labels, tests):
    pool, test = (from_arrays(np.zeros((len(y), 2), np.float32)) for y in (labels, tests))
    return Dataset("data", pool, np.array(labels), test, np.array(tests), classes, {})


def test_people_answer_by_events():
    assert People().ask(["a"]) == {}
