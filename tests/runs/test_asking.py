"""Ask and tell."""

import jaxtyping
import numpy as np
import pandas as pd
import pytest
import torch
from tests.runs.killed import kill_people
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


def test_items_are_offered_without_guesses_if_their_file_is_lost(run):
    answered(run)
    run.ask(4)
    with Store.open(run.folder) as store:
        (trial,) = store.trials()
        trial.find(0, "guesses").unlink()
    items = run.ask(4)
    assert len(items) == 4
    assert {item.guess for item in items} == {None}


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


FORKED = """
import os, sys, baldur
run = baldur.open(sys.argv[1])
print(*(item.id for item in run.ask(3)), flush=True)
if os.fork() == 0:
    print(*(item.id for item in run.ask(3)), flush=True)
    os._exit(0)
os.wait()
"""


def test_a_forked_process_gets_other_items(run):
    assert len(set(elsewhere(FORKED, run.folder))) == 6


def test_a_run_whose_beginning_was_interrupted_says_so(tmp_path):
    Store.create(tmp_path, settings="", classes=("a", "b"), seed=0).close()
    with pytest.raises(InvalidArgument, match=r"interrupted; finish it with baldur.open\(.*data="):
        baldur.open(tmp_path).ask(1)


def test_the_url_of_the_database_is_used_for_leases_too(tmp_path, monkeypatch):
    begun(tmp_path / "run", db=f"sqlite:///{tmp_path / 'other.db'}")
    opened, plain = [], Store.open
    monkeypatch.setattr(
        asking.Store, "open", lambda folder, url=None: opened.append(url) or plain(folder, url=url)
    )
    with plain(tmp_path / "run") as store:
        asking.holder_of(store)
        asking.let_go(store)
        assert opened == [store.url]


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


@pytest.mark.parametrize("k", [0, -1, "3", None, 2.5, float("nan")])
def test_k_is_a_whole_number_of_at_least_one(run, k):
    with pytest.raises(InvalidArgument, match="whole number of at least 1"):
        run.ask(k)


def test_more_items_than_there_are_may_be_asked_for(run):
    assert len(run.ask(10**30)) == len(run.ask(np.int64(1000))) > 60


def test_items_and_answers_may_have_other_types(run):
    a, b, c, d, e, f, g, h = run.ask(8)
    assert run.tell({int(a.id): np.str_("red")}).taken == (a.id,)
    assert run.tell({b: " red "}).taken == (b.id,)
    assert run.tell(pd.Series({np.int64(c.id): "red"})).taken == (c.id,)
    assert run.tell([(d.id, "red")]).taken == (d.id,)
    assert run.skip(int(e.id)).taken == (e.id,)
    assert run.skip(np.array([int(f.id)])).taken == (f.id,)
    assert run.skip(pd.Series([g.id])).taken == (g.id,)
    assert run.skip(h).taken == (h.id,)
    assert {h} == {h}


@pytest.mark.parametrize("answers", [None, "red", 5, ["red"], pd.DataFrame({"id": ["1"], "label": ["red"]})])
def test_what_is_no_answer_is_refused_in_words(run, answers):
    with pytest.raises(InvalidArgument, match="give the answers by item id"):
        run.tell(answers)


def test_what_is_no_item_or_no_annotator_is_refused_in_words(run):
    for call in (run.skip, run.untell, run.unlabelable, run.withdraw):
        with pytest.raises(InvalidArgument, match="give an item, its id, or several of them, not None"):
            call(None)
    with pytest.raises(InvalidArgument, match=r"or several of them, not 2\.5"):
        run.give_back(2.5)
    for by in (5, "  "):
        with pytest.raises(InvalidArgument, match="the annotator must be a name"):
            run.tell({"1": "red"}, by=by)
    assert run.labels().empty


@pytest.mark.parametrize("label", [None, float("nan"), "", ["red"], np.array(["red"]), 0, True, "Red"])
def test_what_is_no_class_is_refused_and_named(run, label):
    with pytest.warns(AnswersRefused, match="is not a class; the classes are red, green, blue"):
        assert run.tell({run.ask(1)[0].id: label}).taken == ()


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ([0, 1], [0, torch.tensor(1), np.array(0), 1.0, "1", np.float32(0)]),
        ([True, False], [True, np.False_, torch.tensor(True), "False"]),
        ([0.5, 1.5], [0.5, np.float64(1.5), torch.tensor(0.5), "1.5"]),
    ],
)
def test_classes_may_be_numbers_of_any_kind(tmp_path, classes, labels):
    run = baldur.open(tmp_path, blobs()[0], classes=classes)
    items = run.ask(len(labels))
    told = run.tell({item.id: label for item, label in zip(items, labels, strict=True)})
    assert len(told.taken) == len(labels)


def test_classes_are_changed_by_name(run, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert run.add_class(5)[-1] == "5"
    assert run.rename_class(5, " five ")[-1] == "five"
    with pytest.raises(InvalidArgument, match="in a list, not 'red'"):
        run.merge_classes("red", "warm")


def test_an_answer_that_is_sent_again_is_known(run):
    (a,) = ids(run.ask(1))
    run.tell({a: "red"})
    assert run.relabel({a: "blue"}).taken == (a,)
    assert run.relabel({a: "blue"}).known == (a,)
    with Store.open(run.folder) as store:
        assert len(store.ledger()) == 2


@pytest.mark.parametrize("out", ["never", "withdraw", "unlabelable"])
def test_labels_that_no_model_learns_from_train_nothing(run, out):
    """A round that closed with test labels alone could never be trained."""
    with Store.open(run.folder) as store:
        train, test = ([p.id for p in store.places() if p.split == s] for s in ("train", "reserve"))
    run.tell({i: truth()[i] for i in test} | {train[0]: truth()[train[0]]})
    if out != "never":
        run.tell({i: truth()[i] for i in train[1:9]})
        getattr(run, out)(train[1:9])
    assert len(run.ask(3)) == 3
    assert run.status()["round"] == 0
    run.tell({i: truth()[i] for i in train[9:19]})
    run.ask(1)
    assert run.status()["round"] == 1


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
    assert "random items that are kept for testing" in str(quality)


def test_everything_may_be_labelled(run):
    while items := run.ask(40):
        run.tell({item.id: truth()[item.id] for item in items})
    with Store.open(run.folder) as store:
        reserved = {place.id for place in store.places() if place.split == "reserve"}
    assert len(run.labels()) >= 90 - len(reserved)
    assert run.status()["state"] == "waiting"


def test_killed_while_somebody_labels_nothing_is_lost_or_doubled(tmp_path):
    kill_people(tmp_path, kills=5, seed=0, epochs=5, longest=0.4)


def test_a_correction_of_a_closed_round_counts_from_the_next_round_on(run):
    first = answered(run)
    for _ in range(3):
        answered(run)
    before, rounds = run.metrics(), run.status()["round"]
    wrong = {i: "blue" if truth()[i] == "red" else "red" for i in first}
    assert run.relabel(wrong, by="bob").taken == tuple(first)
    assert run.metrics().equals(before)
    run.ask(1)
    assert run.status()["round"] == rounds + 1
    old = run.metrics().query("round < @rounds").reset_index(drop=True)
    assert old.equals(before.query("round < @rounds").reset_index(drop=True))
    with Store.open(run.folder) as store:
        (trial,) = store.trials()
        learned = {row.item: row.value for row in trial.labels(trial.cut_of(rounds))}
    assert {i: learned[i] for i in first} == wrong
