"""How the loop keeps and compares the predictions that criteria look at."""

import math
from dataclasses import dataclass, replace
from unittest.mock import Mock

import numpy as np
from tests.loop.fakes import BUDGET, IDS, FakeLearner, FakePool, Killed, parts

from baldur import stopping as stopping_
from baldur.data import from_arrays
from baldur.loop import Stopping, advance
from baldur.protocols import Labelled, View
from baldur.stopping import named
from baldur.store import Round, Store


@dataclass
class Clock:
    """Kills at the n-th thing that happens."""

    left: float = math.inf

    def tick(self):
        self.left -= 1
        if self.left < 0:
            raise Killed


def settling(clock):
    """Predictions that get surer with every label, and the seeds and items that were asked about."""
    asked = []

    def predict(posterior, pool, seed):
        clock.tick()
        asked.append((seed, list(pool.ids)))
        odd = np.array([IDS.index(i) % 2 for i in pool.ids])
        p = np.where(odd == 1, 0.15 + 0.06 * posterior.labels, 0.1)
        return np.log(np.stack([1 - p, p], 1))

    return predict, asked


class CountingLearner(FakeLearner):
    """Believes in how many labels there are."""

    def fit(self, labelled, unlabelled, **told):
        posterior = super().fit(labelled, unlabelled, **told)
        posterior.labels = len(labelled)
        posterior.number = len(labelled)
        return posterior

    def load(self, folder):
        posterior = super().load(folder)
        posterior.labels = posterior.number
        return posterior


def stopping(criterion, clock=None, **more):
    clock = clock or Clock()
    predict, asked = settling(clock)
    made = parts(learner=CountingLearner(), stopping=Stopping(criterion, predict, **more))
    return replace(made, observe=lambda event: clock.tick()), asked


LONG = replace(BUDGET, rounds=50, query_size=1)


def test_a_criterion_ends_a_trial_with_its_reason(store):
    trial = store.trial("last", 0)
    mine, _ = stopping(stopping_.budget(100) | stopping_.overall_uncertainty(0.65))
    assert advance(trial, mine, LONG) == "done"
    assert trial.reason.startswith("mean normalised entropy 0.")
    assert 0 < trial.latest().round < 9
    assert advance(trial, mine, LONG) == "done"
    rounds = store.trial("rounds", 0)
    assert advance(rounds, mine, replace(LONG, rounds=1)) == "done"
    assert rounds.reason == "1 rounds", "the budget of rounds is active whatever the criterion says"


def test_a_budget_is_spent_to_the_last_label_and_no_further(store):
    trial = store.trial("last", 0)
    mine, _ = stopping(stopping_.budget(8))
    assert advance(trial, mine, replace(LONG, query_size=3)) == "done"
    assert [row.labels for row in trial.past()] == [3, 6, 8]
    assert trial.reason == "the budget of 8 labels is spent"


def test_a_criterion_sees_the_unlabelled_part_of_one_fixed_set(store):
    seen = []

    def look(history):
        seen.append(history)
        return ""

    trial = store.trial("last", 0)
    mine, asked = stopping(stopping_.Rule("look", look, rounds=3))
    advance(trial, mine, replace(LONG, rounds=4))
    assert len({seed for seed, _ in asked}) == 1
    assert all(ids == IDS for _, ids in asked)
    assert [[len(p) for p in history.predictions] for history in seen] == [
        [9],
        [8, 8],
        [7] * 3,
        [6] * 3,
        [5] * 3,
    ]
    assert [history.labels for history in seen][-1] == [3, 4, 5, 6, 7]
    known = {row.item for row in trial.labels()}
    odd = [IDS.index(i) % 2 for i in IDS if i not in known]
    for predicted, labels in zip(seen[-1].predictions, (5, 6, 7), strict=True):
        assert np.allclose(np.exp(predicted[:, 1]), [0.15 + 0.06 * labels if o else 0.1 for o in odd])
    assert [round for round in range(5) if trial.find(round, "stop")] == [2, 3, 4]
    requests = [r.score for r in store.requests() if r.round == 4]
    assert [len(scores) for scores in seen[-1].scores] == [0, 1, 1, 1, 1]
    assert seen[-1].scores[-1].tolist() == requests
    assert seen[-1].values("accuracy", "test") == [row.value for row in store.metrics("test")]


def test_a_batch_is_judged_before_it_is_trained_on(store):
    trial = store.trial("last", 0)
    mine, asked = stopping(stopping_.selected_accuracy(0.99))
    advance(trial, mine, replace(LONG, query_size=2))
    right = {row.round: row.value for row in store.metrics("query") if row.metric == "accuracy"}
    batches = [ids for _, ids in asked]
    for number, ids in enumerate(batches, 1):  # the model of 3 + 2 (number - 1) labels calls odd items odd
        p = 0.15 + 0.06 * (1 + 2 * number)
        assert right[number] == np.mean([IDS.index(i) % 2 == 0 or p > 0.5 for i in ids])
    assert trial.reason.startswith("accuracy 1.0000 on the last 2 items chosen")


def test_what_was_held_out_is_measured_and_recorded(store):
    def validate(posterior, labelled, seed):
        return {("accuracy", "validation"): 0.1 * len(labelled), ("items", "validation"): 1000.0}

    trial = store.trial("last", 0)
    events = []
    mine, _ = stopping(stopping_.target(0.55, split="validation"), validate=validate)
    advance(trial, replace(mine, observe=events.append), LONG)
    assert trial.latest().labels == 6
    assert "over 1000 validation items" in trial.reason
    assert ("accuracy", "validation") in events[-1].metrics
    assert [row.value for row in store.metrics("validation") if row.metric == "items"] == [1000.0] * 4


CRITERION = (
    "(stabilising_predictions(kappa=0.999, window=2) | max_uncertainty(-1)) & selected_accuracy(value=0.2)"
)


def test_killed_anywhere_it_stops_where_it_would_have(tmp_path):
    def story(folder, kills):
        text = ""
        with Store.create(folder, settings=text, classes=("even", "odd")) as store:
            for left in (*kills, math.inf):
                mine, _ = stopping(named(CRITERION), clock := Clock(left))
                trial = store.trial("last", 0)
                try:
                    advance(trial, mine, LONG)
                except Killed:
                    continue
            kept = sorted((row.kind, row.round, row.sha256) for row in store.artefacts())
            return trial.state, trial.reason, trial.past(), store.requests(), kept, clock.left

    *whole, _ = story(tmp_path / "whole", [])
    assert whole[0] == "done"
    assert "predictions are stable" in whole[1]
    for left in range(1, 40, 8):
        *killed, _ = story(tmp_path / f"killed-{left}", [left])
        assert killed == whole
    *killed, _ = story(tmp_path / "often", [2] * 20)
    assert killed == whole


def test_a_lost_file_of_predictions_only_delays_the_stop(store):
    trial = store.trial("last", 0)
    mine, _ = stopping(stopping_.stabilising_predictions(kappa=-1.0, window=2))

    def damage(event):
        if (event.round, event.phase) == (1, "fit"):
            trial.find(0, "stop").write_bytes(b"cut short")

    assert advance(trial, replace(mine, observe=damage), LONG) == "done"
    assert trial.latest().round == 3, "one round later than its window of three rounds would have had it"


class Looks:
    """A criterion that keeps the predictions that it was shown."""

    name, rounds, splits, limit = "looks", 3, frozenset(), None

    def __call__(self, history):
        self.seen = [p[:, 0].astype(int).tolist() for p in history.predictions]
        return ""


def test_successive_models_are_compared_on_the_same_items_whatever_was_left_out(tmp_path):
    x = np.zeros((2100, 1), np.float32)
    pool, looks = from_arrays(x), Looks()
    before = Stopping(looks, lambda posterior, items, seed: np.array([[float(i)] for i in items.ids]))
    with Store.create(tmp_path / "run", settings="", classes=["a"]) as store:
        trial = store.trial("bald", 0)
        nothing = Mock(), Mock(spec=Labelled)
        said = [Round(n, "fitted", 0, 0) for n in range(3)]
        before.measured(trial, said[0], *nothing, pool)
        before.reason(trial, said[0], View(pool, np.arange(10, 2100)))
        (stop_set,) = looks.seen
        outside = min(set(range(10, 2100)) - set(stop_set))
        gone = {stop_set[5], outside}
        less = View(pool, np.array([i for i in range(2100) if i not in gone]))
        after = replace(before, whole=pool)
        for latest in said[1:]:
            after.measured(trial, latest, *nothing, less)
        after.reason(trial, said[2], View(less, np.arange(10, len(less))))
        assert looks.seen == [[i for i in stop_set if i not in gone]] * 3


ASKS = stopping_.Rule(
    "asks",
    lambda history: "enough" if len(history.labels) > 4 else "",
    splits=frozenset({"reserve"}),
    wanted=lambda history: 3 if len(history.labels) > 1 else 0,
)
"""Asks for three test labels after round 1, and stops after round 4."""


def with_reserve(criterion, learner=None):
    """Four of the twelve items are the reserve, in an order of its own."""
    pool, apart = FakePool(), [9, 2, 7, 4]
    kept = np.array([i for i in range(12) if i not in apart])
    mine, _ = stopping(criterion, reserve=View(pool, np.array(apart)))
    ids = [IDS[i] for i in kept]
    learner = learner or CountingLearner()
    return replace(mine, pool=View(pool, kept), initial=lambda rng: ids[:3], learner=learner), [
        IDS[i] for i in apart
    ]


def test_test_labels_are_asked_in_order_counted_and_never_trained_on(store):
    learner = CountingLearner()
    mine, reserve = with_reserve(ASKS, learner)
    trial = store.trial("last", 0)
    assert advance(trial, mine, LONG) == "done"
    assert trial.reason == "enough"
    asked = [request for request in store.requests() if request.round == 2]
    assert [request.item for request in asked][1:] == reserve[:3]
    assert [request.score for request in asked][1:] == [None] * 3
    assert [row.labels for row in trial.past()] == [3, 4, 8, 9, 10]
    for _, labelled, unlabelled, _ in learner.seen:
        assert not {*labelled.pool.ids, *unlabelled.ids} & {*reserve}
    assert [len(labelled) for _, labelled, _, _ in learner.seen] == [3, 4, 5, 6, 7]
    items = [row.value for row in store.metrics("reserve") if row.metric == "items"]
    assert items == [0, 0, 3, 3, 3]


def test_a_history_has_the_newest_model_on_the_reserve(store):
    seen = []
    look = stopping_.Rule("look", lambda h: seen.append(h) or ASKS(h), splits=ASKS.splits, wanted=ASKS.wanted)
    mine, reserve = with_reserve(look)
    trial = store.trial("last", 0)
    advance(trial, mine, LONG)
    odd = np.array([IDS.index(i) % 2 for i in reserve])
    for history, labels in zip(seen, (3, 4, 5, 6, 7), strict=True):
        p = np.where(odd == 1, 0.15 + 0.06 * labels, 0.1)
        assert history.tested is not None
        assert np.allclose(history.tested.guess, np.minimum(p, 1 - p))
        n = 3 if labels > 4 else 0
        wrong = ((p > 0.5) != odd)[:n].astype(float)
        assert history.tested.wrong.tolist() == wrong.tolist()
        mean = np.mean(np.minimum(p, 1 - p)) + np.mean(wrong - np.minimum(p, 1 - p)[:n]) if n else math.nan
        assert np.isclose(history.metrics[-1]["accuracy", "reserve"], 1 - np.clip(mean, 0, 1), equal_nan=True)


def test_test_labels_stay_within_a_budget(store):
    mine, _ = with_reserve(ASKS | stopping_.budget(6))
    trial = store.trial("last", 0)
    advance(trial, mine, LONG)
    assert [row.labels for row in trial.past()] == [3, 4, 6]
    assert trial.reason == "the budget of 6 labels is spent"


def save(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


def test_predictions_that_were_kept_without_ids_are_of_the_whole_stop_set(tmp_path):
    pool, looks = from_arrays(np.zeros((5, 1), np.float32)), Looks()
    with Store.create(tmp_path / "run", settings="", classes=["a"]) as store:
        trial, column = store.trial("bald", 0), np.arange(5.0)[:, None]
        trial.artefact(0, "stop", ".npz", lambda path: save(path, log_probs=column))
        for whole, seen in ((None, [[2, 3, 4]]), (pool, [])):
            stopping = Stopping(looks, lambda *told: column, whole=whole)
            stopping.reason(trial, Round(0, "measured", 0, 0), View(pool, np.arange(2, 5)))
            assert looks.seen == seen
