"""Ask and tell."""

import numpy as np
import pytest
from tests.runs.people import answered, begun, elsewhere, truth
from tests.tiny_runs import QUICK, blobs

import baldur
from baldur.errors import AnswersRefused, InvalidArgument
from baldur.runs import asking
from baldur.store import Store


@pytest.fixture
def run(tmp_path):
    yield begun(tmp_path / "run")
    with Store.open(tmp_path / "run") as store:
        asking.let_go(store)


def ids(items):
    return [item.id for item in items]


def test_the_same_items_come_until_they_are_answered(run):
    first = ids(run.ask(3))
    assert ids(run.ask(3)) == first
    assert ids(run.ask(2)) == first[:2]
    run.tell({first[0]: truth()[first[0]]})
    assert ids(run.ask(2)) == first[1:]
    run.skip(first[1])
    assert first[1] not in ids(run.ask(5))


def test_a_model_is_trained_once_enough_labels_are_new(run):
    assert run.ask(1)[0].guess is None
    answered(run)
    items = run.ask(4)
    assert run.status()["round"] == 1
    chosen = [item for item in items if item.score is not None]
    assert chosen
    for item in chosen:
        assert item.guess == max(item.probabilities, key=item.probabilities.get)
        assert sum(item.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert "believes" in item.why
        assert item.x.shape == (4,)
    assert run.model().predict(blobs()[0][:5]).shape == (5,)
    assert run.ask(4, train=False)[0].id == items[0].id


def test_without_training_nothing_is_trained(run):
    for _ in range(3):
        items = run.ask(4, train=False)
        run.tell({item.id: truth()[item.id] for item in items})
    assert run.status()["round"] == 0


def test_one_class_alone_trains_nothing(run):
    items = run.ask(6)
    run.tell({item.id: "red" for item in items})
    assert run.ask(1)[0].guess is None
    assert run.status()["round"] == 0


def test_answers_that_cannot_be_believed_are_named_and_the_rest_is_taken(run):
    a, b, c, *_ = ids(run.ask(4))
    run.tell({c: "red"})
    with pytest.warns(AnswersRefused, match="3 of 4 answers were refused, the first for 'x'"):
        told = run.tell({"x": "red", a: "purple", c: "blue", b: "green"})
    assert told.taken == (b,)
    assert set(told.refused) == {"x", a, c}
    assert "did you mean" not in told.refused["x"]
    assert "relabel" not in told.refused["x"]
    assert run.tell({b: "green"}).known == (b,)
    assert run.relabel({c: "blue"}).taken == (c,)
    assert dict(zip(run.labels().item, run.labels().label, strict=True)) == {b: "green", c: "blue"}


def test_each_kind_of_answer_is_an_event(run):
    a, b, c, d = ids(run.ask(4))
    run.tell({a: "red"}, by="ann")
    run.relabel({a: "blue"}, by="bob")
    run.untell(a)
    run.skip([b])
    run.unlabelable(c)
    run.note({d: "blurred"})
    run.note({d: "blurred"})
    with Store.open(run.folder) as store:
        kinds = [row.kind for row in store.ledger()]
    assert kinds == ["label", "correction", "withdrawal", "skip", "unlabelable", "note", "note"]
    assert run.labels().empty
    assert {b, c}.isdisjoint(ids(run.ask(4)))


def test_the_same_correction_may_come_again_after_another(run):
    (a,) = ids(run.ask(1))
    run.tell({a: "red"})
    for value in ("blue", "red", "blue"):
        assert run.relabel({a: value}).taken == (a,)
        assert run.labels().label.tolist() == [value]


@pytest.mark.parametrize("between", ["untell", "unlabelable"])
def test_the_same_answer_after_another_event_is_stored(run, between):
    (a,) = ids(run.ask(1))
    for _ in range(3):
        assert run.tell({a: "red"}).taken == (a,)
        assert run.labels().item.tolist() == [a]
        assert getattr(run, between)(a).taken == (a,)
        assert getattr(run, between)(a).known == (a,)
        assert run.labels().empty


def test_a_repeated_correction_is_one(run):
    (a,) = ids(run.ask(1))
    run.tell({a: "red"})
    assert run.relabel({a: "blue"}).taken == (a,)
    assert run.relabel({a: "blue"}).known == (a,)
    run.rename_class("blue", "navy")
    assert run.tell({a: "navy"}).known == (a,)


def test_numbers_are_names_of_classes(tmp_path):
    run = baldur.open(tmp_path, blobs()[0], classes=[0, 1, 2])
    a, b, c = ids(run.ask(3))
    assert run.tell({a: 0, b: np.int64(2), c: 1.0}).taken == (a, b, c)
    assert sorted(run.labels().label) == ["0", "1", "2"]


def test_items_that_are_given_back_go_to_others(run):
    first = ids(run.ask(3))
    run.give_back(first[0])
    run.give_back()
    assert ids(run.ask(3)) == first


OTHER = """
import sys, baldur
run = baldur.open(sys.argv[1])
print(*(item.id for item in run.ask(3)))
"""


def test_another_process_gets_other_items_and_a_later_one_the_same(run):
    mine = ids(run.ask(3))
    theirs = elsewhere(OTHER, run.folder)
    assert set(theirs).isdisjoint(mine)
    assert elsewhere(OTHER, run.folder) == theirs  # as after a restart
    with Store.open(run.folder) as store:
        asking.let_go(store)
    assert elsewhere(OTHER, run.folder) == mine


def test_a_run_that_compares_asks_nobody(tmp_path):
    baldur.run(blobs(), tmp_path, strategies=["random"], **QUICK)
    run = baldur.open(tmp_path)
    for ask in (run.ask, lambda: run.tell({"1": "red"}), lambda: run.skip("1"), lambda: run.add_class("x")):
        with pytest.raises(InvalidArgument, match="compares strategies"):
            ask()


def test_k_is_at_least_one(run):
    with pytest.raises(InvalidArgument, match="at least 1, not 0"):
        run.ask(0)


def test_classes_change_while_people_label(run):
    answered(run, 8)
    run.ask(1)
    assert run.status()["round"] == 1
    assert run.rename_class("red", "crimson") == ("crimson", "green", "blue")
    assert set(run.labels().label) <= {"crimson", "green", "blue"}
    item = next(item for item in run.ask(8) if item.probabilities)
    assert set(item.probabilities) == {"crimson", "green", "blue"}
    run.merge_classes(["green", "blue"], "cold")
    run.add_class("violet")
    right = {"red": "crimson", "green": "cold", "blue": "cold"}
    items = run.ask(8)
    run.tell({item.id: right[truth()[item.id]] for item in items})
    run.ask(1)
    assert run.status()["round"] == 2
    assert run.model().classes == ("crimson", "cold", "violet")
    assert run.model().predict_proba(blobs()[0][:4]).shape == (4, 3)


def test_items_may_be_taken_out(run):
    first = ids(run.ask(2))
    run.withdraw(first[0])
    assert first[0] not in ids(run.ask(9))
    run.withdraw(first[0], back=True)
    with pytest.raises(InvalidArgument, match="there is no item 'x'"):
        run.withdraw("x")


def test_a_trainer_at_work_keeps_nobody_waiting(run):
    answered(run)
    with Store.open(run.folder) as store, store.lock("trainer"):
        assert len(run.ask(4)) == 4
    assert run.status()["round"] == 0


def test_the_quality_is_known_once_test_items_have_labels(tmp_path):
    run = begun(tmp_path, test_labels=12, retrain_after=8)
    assert "not known yet" in str(run.quality())
    for _ in range(8):
        answered(run, 10)
    run.ask(1)
    quality = run.quality()
    assert quality.test_labels >= 10
    assert 0 <= quality.low <= quality.accuracy <= quality.high <= 1
    assert "random items that no model was trained on" in str(quality)


def test_everything_may_be_labelled(run):
    while items := run.ask(40):
        run.tell({item.id: truth()[item.id] for item in items})
    with Store.open(run.folder) as store:
        reserved = {place.id for place in store.places() if place.split == "reserve"}
    assert len(run.labels()) >= 90 - len(reserved)
    assert run.status()["state"] == "waiting"
