"""A trial that people label: rounds close early, nothing that somebody holds is chosen, and classes may change."""

from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from tests.loop.fakes import IDS, TRUTH, FakeOracle, parts

from baldur.loop import Budget, Stopping, advance
from baldur.loop.rounds import mixed
from baldur.protocols import View
from baldur.stopping import Rule
from baldur.store import Event, ItemRecord, Request, Store

BUDGET = Budget(rounds=0, query_size=4, retrain_after=2)


class Nobody(FakeOracle):
    """People answer by events, so the oracle itself says nothing."""

    def ask(self, ids):
        return {}


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "run", settings="", classes=("even", "odd"), seed=0, frontier=100) as store:
        store.record_items(ItemRecord(i, n, key=n) for n, i in enumerate(IDS))
        yield store


@pytest.fixture
def trial(store):
    return store.trial("last", 0)


def people(**changes):
    return parts(oracle=Nobody(), initial=lambda rng: IDS[:4], **changes)


def tell(trial, *items, kind="label"):
    value = TRUTH if kind == "label" else dict.fromkeys(IDS, "")
    told = trial.tell([Event(str(uuid4()), kind, i, "ann", value[i]) for i in items])
    assert not told.refused


def states(store, round):
    return {row.item: row.state for row in store.requests() if row.round == round}


def test_a_round_closes_once_enough_labels_are_new(store, trial):
    assert advance(trial, people(), BUDGET) == "waiting"
    tell(trial, IDS[0])
    assert advance(trial, people(), BUDGET) == "waiting"
    assert trial.latest().round == 0
    trial.queue.offer("bob", 1, 60)  # holds the second item
    tell(trial, IDS[2])
    assert advance(trial, people(), BUDGET) == "waiting"
    assert trial.latest().round == 1
    assert states(store, 0) == dict(zip(IDS[:4], ["answered", "open", "answered", "skipped"], strict=True))
    assert IDS[1] not in states(store, 1)  # bob has it
    assert list(states(store, 1)) == [IDS[11], IDS[10], IDS[9], IDS[8]]
    tell(trial, IDS[1])  # late, and of the next round
    assert [row.labels for row in store.metrics()] == [2]
    tell(trial, IDS[3])
    assert advance(trial, people(), BUDGET) == "waiting"
    assert [row.labels for row in store.metrics()] == [2, 4]


def test_a_request_that_nobody_can_answer_keeps_no_round_open(store, trial):
    advance(trial, people(), BUDGET)
    store.withdraw_items(IDS[1:3], "ann")
    tell(trial, IDS[3], kind="unlabelable")
    tell(trial, IDS[0])
    assert advance(trial, people(), BUDGET) == "waiting"
    assert trial.latest().round == 1


def test_items_that_were_added_while_a_round_trained_ask_for_new_parts(store, trial):
    advance(trial, people(), BUDGET)
    store.add_items([ItemRecord("new", key=50)], "ann")
    trial.tell([Event("e", "label", "new", "ann", "odd")])
    tell(trial, IDS[0])
    assert advance(trial, people(), BUDGET) == "changed"


def test_a_trial_of_people_never_ends_by_itself(store, trial):
    for i in IDS:
        assert advance(trial, people(), BUDGET) == "waiting"
        tell(trial, i)
    assert advance(trial, people(), BUDGET) == "waiting"
    assert store.metrics()[-1].labels == len(IDS)
    assert states(store, trial.latest().round) == {}
    tell(trial, IDS[5], kind="withdrawal")
    assert [one.item for one in trial.queue.offer("ann", 5, 60)] == [IDS[5]]


def test_skipped_items_are_left_out_of_one_choice_only(store, trial):
    advance(trial, people(), BUDGET)
    tell(trial, IDS[11], kind="skip")  # the strategy would take it first
    tell(trial, IDS[0], IDS[1])
    advance(trial, people(), BUDGET)
    assert list(states(store, 1)) == [IDS[10], IDS[9], IDS[8], IDS[7]]
    tell(trial, IDS[10], IDS[9])
    advance(trial, people(), BUDGET)
    assert next(iter(states(store, 2))) == IDS[11]


def test_what_cannot_be_labelled_or_is_out_of_the_pool_is_never_chosen(store, trial):
    advance(trial, people(), BUDGET)
    tell(trial, IDS[11], kind="unlabelable")
    store.withdraw_items([IDS[10], IDS[0]], "ann")
    tell(trial, IDS[0], IDS[1], IDS[2])
    mine = people()
    advance(trial, mine, BUDGET)
    (_, labelled, unlabelled, _) = mine.learner.seen[0]
    assert labelled.pool.ids == [IDS[1], IDS[2]]
    assert not {IDS[0], IDS[10], IDS[11]} & set(unlabelled.ids)
    assert next(iter(states(store, 1))) == IDS[9]


def test_a_repeated_choice_sees_what_the_first_one_saw(store, trial):
    def failing(posterior, labelled, unlabelled, k, rng, scorer):
        raise KeyboardInterrupt

    advance(trial, people(), BUDGET)
    tell(trial, IDS[0], IDS[1])
    with pytest.raises(KeyboardInterrupt):
        advance(trial, people(strategy=failing), BUDGET)
    tell(trial, IDS[11])  # after the round had looked
    advance(trial, people(), BUDGET)
    assert trial.latest().round == 1
    assert IDS[11] in states(store, 1)
    assert trial.open_requests(1)


def test_added_items_belong_to_later_rounds_only(store, trial):
    mine = people(since={IDS[11]: 10**6})
    advance(trial, mine, BUDGET)
    tell(trial, IDS[0], IDS[1])
    advance(trial, mine, BUDGET)
    assert IDS[11] not in mine.learner.seen[0][2].ids
    mine = people(since={IDS[11]: 1})
    tell(trial, IDS[2], IDS[3])
    advance(trial, mine, BUDGET)
    assert IDS[11] in mine.learner.seen[0][2].ids


def test_a_change_of_classes_asks_for_new_parts(store, trial):
    advance(trial, people(), BUDGET)
    tell(trial, IDS[0], IDS[1])
    store.change_classes("rename", ["odd"], "uneven", "ann")
    assert advance(trial, people(), BUDGET) == "changed"
    assert trial.latest().state == "labelled"
    mine = people(classes=("even", "uneven"))
    assert advance(trial, mine, BUDGET) == "waiting"
    assert mine.learner.seen[0][1].labels.tolist() == [0, 1]


def test_guesses_are_kept_for_those_who_will_be_asked(store, trial):
    def guess(posterior, pool, seed):
        return np.log(np.full((len(pool), 2), 0.5))

    advance(trial, people(guess=guess), BUDGET)
    tell(trial, IDS[0], IDS[1])
    advance(trial, people(guess=guess), BUDGET)
    kept = np.load(trial.find(0, "guesses"))
    assert set(states(store, 1)) <= set(kept["ids"].tolist())
    assert kept["probabilities"].shape == (len(kept["ids"]), 2)


def test_test_items_are_asked_for_among_the_others(store, trial):
    whole = parts().pool
    rule = Rule("tests", lambda history: "", splits=frozenset({"reserve"}), wanted=lambda history: 2)
    stopping = Stopping(
        rule,
        lambda posterior, pool, seed: np.log(np.full((len(pool), 2), 0.5)),
        reserve=View(whole, np.arange(9, 12)),
    )
    pool = View(whole, np.arange(9))
    mine = people(pool=pool, stopping=stopping)
    budget = replace(BUDGET, query_size=6)
    advance(trial, mine, budget)
    tell(trial, IDS[0], IDS[1])
    advance(trial, mine, budget)
    asked = list(states(store, 1))
    assert asked == [IDS[8], IDS[7], IDS[6], IDS[5], IDS[9], IDS[4], IDS[3], IDS[10]]
    tell(trial, IDS[9], IDS[8], IDS[7])
    mine = people(pool=pool, stopping=stopping)
    advance(trial, mine, budget)
    assert IDS[9] not in mine.learner.seen[0][1].pool.ids  # never trained on
    assert IDS[9] not in states(store, 2)
    assert ("items", "reserve", 1.0) in {(m.metric, m.split, m.value) for m in store.metrics()}


def test_test_items_are_spread_evenly():
    requests = [Request(str(n), n, 1.0) for n in range(9)]
    order = mixed(requests, ["x", "y", "z"])
    assert [r.item for r in order] == ["0", "1", "2", "3", "x", "4", "5", "6", "7", "y", "8", "z"]
    assert [r.rank for r in order] == list(range(12))
    assert [r.score for r in order if r.item in "xyz"] == [None] * 3


def test_a_test_item_that_is_put_off_holds_up_no_other(store, trial):
    whole = parts().pool
    rule = Rule("tests", lambda history: "", splits=frozenset({"reserve"}), wanted=lambda history: 3)
    stopping = Stopping(
        rule,
        lambda posterior, pool, seed: np.log(np.full((len(pool), 2), 0.5)),
        reserve=View(whole, np.arange(9, 12)),
        interval=lambda wrong, guess, level: (float(wrong.mean()), float(wrong.mean())),
    )
    pool = View(whole, np.arange(9))
    advance(trial, people(pool=pool, stopping=stopping), BUDGET)
    tell(trial, IDS[9], kind="skip")
    tell(trial, IDS[0], IDS[1], IDS[10], IDS[11])
    advance(trial, people(pool=pool, stopping=stopping), BUDGET)
    assert set(IDS[9:]).isdisjoint(states(store, 1))
    counted = {m.metric: m.value for m in store.metrics() if m.split == "reserve"}
    assert counted["items"] == 2
