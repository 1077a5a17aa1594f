"""The queue: who was offered which item, and until when."""

import datetime
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.store.one_round import CLASSES

from baldur.store import Event, ItemRecord, Request, Store, queue


@pytest.fixture
def trial(asking):
    trial = asking.trial("bald", 0)
    trial.begin([Request("c", 0), Request("e", 1), Request("a", 2)])
    return trial


def offered(trial, holder, k=2, minutes=60.0):
    return [one.item for one in trial.queue.offer(holder, k, minutes)]


def test_who_asks_again_gets_the_same_items(trial):
    assert offered(trial, "ann") == ["c", "e"]
    assert offered(trial, "ann") == ["c", "e"]
    assert offered(trial, "ann", k=1) == ["c"]
    assert offered(trial, "ann", k=3) == ["c", "e", "a"]


def test_nobody_else_gets_an_item_that_is_held(trial):
    assert offered(trial, "ann") == ["c", "e"]
    assert offered(trial, "bob", k=5) == ["a", "b", "d"]
    assert trial.queue.leased() == set("abcde")


def test_the_queue_goes_on_with_the_random_order_and_leaves_out_test_items(trial):
    assert offered(trial, "ann", k=9) == ["c", "e", "a", "b", "d"]
    purposes = [one.purpose for one in trial.queue.offer("ann", 9, 60)]
    assert purposes == ["train", "test", "train", "train", "train"]


def test_a_test_item_is_only_offered_when_it_is_asked_for(asking):
    trial = asking.trial("bald", 0)
    trial.begin([])
    assert offered(trial, "ann", k=9) == ["a", "b", "c", "d"]


def test_an_answer_ends_the_lease(trial):
    offered(trial, "ann")
    trial.tell([Event("1", "label", "c", "ann", "cat"), Event("2", "note", "e", "ann", "blurred")])
    assert offered(trial, "ann") == ["e", "a"]
    trial.tell([Event("3", "unlabelable", "e", "ann")])
    assert offered(trial, "ann", k=9) == ["a", "b", "d"]


def test_a_skipped_item_comes_back_last(trial):
    trial.tell([Event("1", "skip", "c", "ann")])
    assert offered(trial, "ann", k=9) == ["e", "a", "b", "d", "c"]


def test_an_item_that_was_labelled_and_then_skipped_is_done(trial):
    trial.tell([Event("1", "label", "c", "ann", "cat"), Event("2", "skip", "c", "bob")])
    assert offered(trial, "ann", k=9) == ["e", "a", "b", "d"]


def test_a_label_that_was_taken_back_is_asked_for_again(trial):
    trial.tell([Event("1", "label", "b", "ann", "cat"), Event("2", "withdrawal", "b", "ann")])
    assert offered(trial, "ann", k=9) == ["c", "e", "a", "d", "b"]
    trial.tell([Event("3", "label", "b", "ann", "dog")])
    trial.queue.give_back(list("ceadb"))
    assert offered(trial, "bob", k=9) == ["c", "e", "a", "d"]


def test_items_that_are_given_back_go_to_the_next(trial):
    offered(trial, "ann")
    trial.queue.give_back(["c", "e"], "bob")  # not the holder
    assert offered(trial, "bob", k=1) == ["a"]
    trial.queue.give_back(["c", "e"], "ann")
    assert offered(trial, "bob", k=9) == ["a", "c", "e", "b", "d"]


def test_an_item_out_of_the_pool_is_not_offered(asking, trial):
    offered(trial, "ann")
    asking.withdraw_items(["c", "b"], "ann")
    assert offered(trial, "ann", k=9) == ["e", "a", "d"]
    asking.withdraw_items(["b"], "ann", back=True)
    assert offered(trial, "ann", k=9) == ["e", "a", "d", "b"]


class Clock(datetime.datetime):
    """A clock that the test sets."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + cls.ahead


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(queue, "datetime", Clock)
    monkeypatch.setattr(Clock, "ahead", timedelta(0))
    return Clock


def test_a_lease_that_ran_out_goes_to_the_next_and_a_late_answer_is_taken(trial, clock):
    assert offered(trial, "ann", minutes=10) == ["c", "e"]
    clock.ahead = timedelta(minutes=11)
    assert trial.queue.leased() == set()
    assert offered(trial, "bob") == ["c", "e"]
    assert trial.tell([Event("1", "label", "c", "ann", "cat")]).accepted == ("1",)
    assert offered(trial, "bob") == ["e", "a"]
    told = trial.tell([Event("2", "label", "c", "bob", "dog")])
    assert "'ann' said 'cat'" in told.refused["2"]


def test_leases_hold_when_the_clock_is_set_back(trial, clock):
    assert offered(trial, "ann", minutes=10) == ["c", "e"]
    clock.ahead = -timedelta(days=1)
    assert offered(trial, "bob") == ["a", "b"]
    clock.ahead = -timedelta(days=1) + timedelta(minutes=11)  # and last no longer than they would have
    assert offered(trial, "eve") == ["c", "e"]


def test_new_labels_are_counted_since_the_last_cut(trial):
    assert (trial.queue.new(), trial.queue.waiting()) == (0, 3)
    trial.tell([Event("1", "label", "c", "ann", "cat"), Event("2", "label", "e", "ann", "cat")])
    assert (trial.queue.new(), trial.queue.waiting()) == (2, 1)
    trial.cut(0)
    assert trial.queue.new() == 0
    trial.tell([Event("3", "correction", "c", "ann", "dog"), Event("4", "correction", "c", "ann", "cat")])
    assert trial.queue.new() == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "label", "skip", "unlabelable", "withdrawal", "give back"]),
        st.sampled_from(["ann", "bob", "eve"]),
        st.integers(0, 7),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_an_item_has_one_holder_and_no_label(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("run") / "run"
    with Store.create(folder, settings="", classes=CLASSES, seed=0, frontier=70) as store:
        store.record_items(
            ItemRecord(str(n), n, key=10 * n, split="reserve" if n >= 7 else "train") for n in range(8)
        )
        trial = store.trial("bald", 0)
        trial.begin([Request("7", 0), Request("3", 1)])
        held: dict[str, str] = {}
        for number, (what, who, n) in enumerate(steps):
            if what == "offer":
                items = [one.item for one in trial.queue.offer(who, n, 60)]
                mine = {item for item, holder in held.items() if holder == who}
                assert all(held.get(item, who) == who for item in items)
                assert len(items) == len(set(items))
                assert set(items) >= mine or len(items) == n
                held |= dict.fromkeys(items, who)
            elif what == "give back":
                trial.queue.give_back([str(n)], who)
                if held.get(str(n)) == who:
                    del held[str(n)]
            else:
                told = trial.tell([Event(str(number), what, str(n), who, "cat" if what == "label" else "")])
                if told.accepted:
                    held.pop(str(n), None)
            closed = {row.item for row in trial.labels()} | trial.left_out()
            assert trial.queue.leased() == held.keys()
            assert not closed & held.keys()
