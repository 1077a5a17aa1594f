"""What several annotators agree on."""

import inspect

import numpy as np
import pytest

from baldur.errors import InvalidArgument, InvalidLabel
from baldur.oracles import Simulated
from baldur.oracles.crowd import Crowd
from baldur.oracles.noisy import Noisy, Recorded, uniform
from baldur.testing import verify_oracle

CLASSES = ("cat", "dog", "emu", "fox")
IDS = [f"item-{i}" for i in range(600)]
LABELS = np.arange(600) % 4
TRUE = {i: CLASSES[c] for i, c in zip(IDS, LABELS, strict=True)}


def annotators(*rates):
    truth = Simulated(IDS, LABELS, CLASSES)
    return [
        Noisy(truth, CLASSES, uniform(r, 4), seed=0, annotator=f"annotator {a}") for a, r in enumerate(rates)
    ]


def given(*columns, ids=("a", "b", "c")):
    return [Recorded(ids, np.array(column), CLASSES, f"annotator {a}") for a, column in enumerate(columns)]


def right(answers):
    return np.mean([answers[i] == TRUE[i] for i in answers])


def test_the_majority():
    crowd = Crowd(given([0, 1, 2], [0, 2, 3], [1, 2, -1]), CLASSES)
    assert crowd.annotator == "majority of 3"
    assert crowd.ask(["a", "b", "c"]) == {"a": "cat", "b": "emu"}  # one vote on c is not there yet
    assert crowd.votes(["c", "b"]) == {
        "annotator 0": {"c": "emu", "b": "dog"},
        "annotator 1": {"c": "fox", "b": "emu"},
        "annotator 2": {"b": "emu"},
    }


def test_more_votes_are_better():
    errors = [1 - right(Crowd(annotators(*[0.3] * n), CLASSES, votes=n).ask(IDS)) for n in (1, 3, 7)]
    assert errors[0] == pytest.approx(0.3, abs=0.06)
    assert errors[0] > 1.4 * errors[1] > 2 * errors[2] > 0


def test_some_of_many_are_asked():
    crowd = Crowd(annotators(0.1, 0.1, 0.1, 0.1, 0.1), CLASSES, votes=2)
    votes = crowd.votes(IDS)
    assert [sum(i in said for said in votes.values()) for i in IDS] == [2] * 600
    assert all(190 < len(said) < 290 for said in votes.values())  # 240 each, standard deviation 12
    assert Crowd(annotators(0.1, 0.1, 0.1, 0.1, 0.1), CLASSES, votes=2, seed=1).votes(IDS) != votes
    assert crowd.votes(IDS[::-1])["annotator 3"] == votes["annotator 3"]


def test_a_tie_goes_to_whom_was_asked_first_and_that_is_anybody():
    crowd = Crowd(given([0] * 200, [1] * 200, ids=IDS[:200]), CLASSES, votes=2)
    answers = list(crowd.ask(IDS[:200]).values())
    assert 70 < answers.count("cat") < 130
    assert answers.count("cat") + answers.count("dog") == 200


def test_what_is_known_of_the_annotators_counts():
    """One is good and two are wrong half the time: the majority is often wrong where the good one knows better."""
    crowd = Crowd(annotators(0.5, 0.05, 0.5), CLASSES, aggregate="dawid-skene")
    simple = Crowd(annotators(0.5, 0.05, 0.5), CLASSES)
    earlier, later = IDS[:200], IDS[200:]
    assert crowd.ask(later) == simple.ask(later)  # nothing is known yet
    crowd.recall(crowd.votes(earlier) | {"a stranger": {"item-0": "cat"}})
    answers = crowd.ask(later)
    assert right(answers) > 0.9 > 0.8 > right(simple.ask(later))
    assert {i: a for part in (later[:50], later[50:]) for i, a in crowd.ask(part).items()} == answers
    verify_oracle(crowd, later[:20], CLASSES)
    crowd.recall({})
    assert crowd.ask(later) == simple.ask(later)
    simple.recall(simple.votes(earlier))
    assert simple.ask(later) == Crowd(annotators(0.5, 0.05, 0.5), CLASSES).ask(later)


def test_the_contract_holds():
    verify_oracle(Crowd(annotators(0.5, 0.5, 0.5), CLASSES), IDS[:20], CLASSES)
    verify_oracle(Crowd(given([0, -1, 2], [1, 1, 2]), CLASSES, votes=1), ["a", "b", "c"], CLASSES)


def test_refused():
    with pytest.raises(InvalidArgument, match="2 annotators cannot give 3 votes"):
        Crowd(annotators(0.1, 0.1), CLASSES)
    with pytest.raises(InvalidArgument, match="name of its own"):
        Crowd(annotators(0.1) * 3, CLASSES)
    with pytest.raises(InvalidArgument, match="not by 'mean'"):
        inspect.unwrap(Crowd.__init__)(
            object.__new__(Crowd), annotators(0.1), CLASSES, votes=1, aggregate="mean"
        )
    stranger = Recorded(["a"], np.array([0]), ("horse", "cow"), "ann")
    with pytest.raises(InvalidLabel, match="'ann' answers 'horse'"):
        Crowd([stranger], CLASSES, votes=1).ask(["a"])
