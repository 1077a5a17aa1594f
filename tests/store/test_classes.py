"""Classes that are added, renamed and merged while people label."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.errors import InvalidArgument
from baldur.store import Event, Store
from baldur.store.classes import Change, Classes, classes_of


def labels(trial, cut=None):
    return {row.item: row.value for row in trial.labels(cut)}


def test_labels_are_read_through_later_changes(asking):
    trial = asking.trial("bald", 0)
    trial.tell([Event("1", "label", "a", "ann", "cat"), Event("2", "label", "b", "ann", "dog")])
    asking.change_classes("rename", ["cat"], "house cat", "ann")
    assert asking.classes == ("house cat", "dog", "bird")
    assert labels(trial) == {"a": "house cat", "b": "dog"}
    assert labels(trial, cut=2) == {"a": "cat", "b": "dog"}
    assert [row.value for row in asking.labels()] == ["house cat", "dog"]
    assert [row.value for row in asking.ledger()][:2] == ["cat", "dog"]  # as it was told
    asking.change_classes("merge", ["house cat", "dog"], "pet", "ann")
    assert asking.classes == ("pet", "bird")
    assert labels(trial) == {"a": "pet", "b": "pet"}
    assert trial.classes(3).names == ("house cat", "dog", "bird")
    with Store.open(asking.folder) as again:
        assert again.classes == ("pet", "bird")


def test_a_name_may_be_used_again_for_another_class(asking):
    trial = asking.trial("bald", 0)
    trial.tell([Event("1", "label", "a", "ann", "cat")])
    asking.change_classes("rename", ["cat"], "tiger", "ann")
    asking.change_classes("add", [], "cat", "ann")
    trial.tell([Event("2", "label", "b", "ann", "cat")])
    assert asking.classes == ("tiger", "dog", "bird", "cat")
    assert labels(trial) == {"a": "tiger", "b": "cat"}


def test_the_same_answer_under_its_new_name_is_no_contradiction(asking):
    trial = asking.trial("bald", 0)
    trial.tell([Event("1", "label", "a", "ann", "cat")])
    asking.change_classes("rename", ["cat"], "tiger", "ann")
    assert trial.tell([Event("2", "label", "a", "bob", "tiger")]).accepted == ("2",)
    assert "is not a class" in trial.tell([Event("3", "label", "b", "bob", "cat")]).refused["3"]


def test_a_change_that_is_sent_twice_counts_once(asking):
    for _ in range(2):
        asking.change_classes("add", [], "fish", "ann", "event")
    assert asking.classes == ("cat", "dog", "bird", "fish")


@pytest.mark.parametrize(
    ("verb", "old", "new", "words"),
    [
        ("add", [], "cat", "'cat' is a class already"),
        ("add", [], "  ", "a name that is not empty"),
        ("rename", ["fish"], "cod", "'fish' is not a class; the classes are cat, dog, bird"),
        ("rename", ["cat"], "dog", "'dog' is a class already"),
        ("merge", ["cat"], "pet", "give different names"),
        ("merge", ["cat", "cat"], "pet", "give different names"),
        ("merge", ["cat", "dog"], "bird", "'bird' is a class already"),
        ("merge", ["cat", "dog", "bird"], "pet", "needs two classes at least"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(asking, verb, old, new, words):
    with pytest.raises(InvalidArgument, match=words):
        asking.change_classes(verb, old, new, "ann")
    assert asking.classes == ("cat", "dog", "bird")


@given(
    st.lists(
        st.tuples(st.sampled_from(["rename", "merge"]), st.integers(0, 3), st.integers(0, 3)), max_size=8
    )
)
def test_a_label_always_has_a_class_of_its_time(steps):
    """Each label, followed through the changes one by one, ends in the class that `now` names."""
    names, changes, where = ["a", "b", "c", "d"], [], {name: name for name in "abcd"}
    for number, (verb, i, j) in enumerate(steps, 1):
        old = (
            sorted({names[i % len(names)], names[j % len(names)]})
            if verb == "merge"
            else [names[i % len(names)]]
        )
        if verb == "merge" and len(old) < 2:
            continue
        new = f"new {number}"
        changes.append(Change(number, verb, tuple(old), new))
        where = {name: new if at in old else at for name, at in where.items()}
        first = min(names.index(name) for name in old)
        names[first] = new
        names = [name for name in names if name not in old]
    classes = Classes(tuple(names), tuple(changes))
    assert {name: classes.now(name, 0) for name in "abcd"} == where
    assert set(where.values()) == set(names)
    rows = [_Row(change) for change in changes]
    assert classes_of("abcd", rows) == classes


class _Row:
    def __init__(self, change):
        import json

        self.number = change.number
        self.value = json.dumps({"verb": change.verb, "old": change.old, "new": change.new})
