"""The loop with parts of five lines each: it knows nothing of networks."""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from baldur import stopping as stopping_
from baldur.errors import InvalidArgument, InvalidLabel, NonFiniteScore
from baldur.loop import Budget, Event, Measured, Parts, Stopping, advance
from baldur.protocols import Choice, Posterior
from baldur.stopping import named
from baldur.store import Store

IDS = [f"item-{i}" for i in range(12)]
TRUTH = {i: "odd" if n % 2 else "even" for n, i in enumerate(IDS)}


class FakePool:
    ids = IDS
    groups = None

    def __len__(self):
        return len(IDS)

    def batches(self, positions, size):
        yield positions, positions


class FakePosterior(Posterior):
    """Believes in a number that depends on everything that it was fitted on."""

    def __init__(self, number):
        self.number = number

    def draw(self, T=None, seed=0):
        raise NotImplementedError

    def save(self, folder):
        (folder / "number").write_text(str(self.number))


class FakeLearner:
    def __init__(self):
        self.seen = []

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        self.seen.append((round, labelled, unlabelled, previous))
        return FakePosterior(seed % 1000 + sum(labelled.labels.tolist()))

    def load(self, folder: Path):
        return FakePosterior(int((folder / "number").read_text()))


class FakeOracle:
    annotator = "me"

    def __init__(self, willing=99):
        self.willing = willing
        self.asked = []

    def ask(self, ids):
        self.asked.append(list(ids))
        return {i: TRUTH[i] for i in ids[: self.willing]}


def last(posterior, labelled, unlabelled, k, rng, scorer):
    scores = np.arange(len(unlabelled), dtype=np.float64) + posterior.number
    order = np.argsort(-scores, kind="stable")[:k]
    return Choice(tuple(unlabelled.ids[i] for i in order), scores[order], {}, scores)


def parts(**changes):
    made = Parts(
        pool=FakePool(),
        classes=("even", "odd"),
        learner=FakeLearner(),
        strategy=last,
        oracle=FakeOracle(),
        scorer=lambda seed: None,
        measure=lambda posterior, seed: Measured({("accuracy", "test"): posterior.number / 1000}, {}),
        initial=lambda rng: [IDS[i] for i in rng.permutation(len(IDS))[:3]],
    )
    return replace(made, **changes)


BUDGET = Budget(rounds=2, query_size=2)


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path / "run", settings="", classes=("even", "odd")) as store:
        yield store


def test_rounds_are_fitted_measured_and_chosen_in_turn(store):
    trial, events = store.trial("last", 0), []
    mine = parts(observe=events.append)
    assert advance(trial, mine, BUDGET) == "done"
    assert (trial.state, trial.reason) == ("done", "2 rounds")
    assert [(m.round, m.labels) for m in store.metrics()] == [(0, 3), (1, 5), (2, 7)]
    assert [e.phase for e in events if e.metrics is None] == ["label", "fit", "measure", "choose"] * 2 + [
        *("label", "fit", "measure")
    ]
    assert events[-1] == Event("last", 0, 2, "measure", 7, {("accuracy", "test"): store.metrics()[-1].value})
    for round, labelled, unlabelled, _ in mine.learner.seen:
        assert len(labelled) == 3 + 2 * round
        assert set(labelled.pool.ids).isdisjoint(unlabelled.ids)
        assert set(labelled.pool.ids) | set(unlabelled.ids) == set(IDS)
        assert [mine.classes[c] for c in labelled.labels] == [TRUTH[i] for i in labelled.pool.ids]
    assert [p is not None for *_, p in mine.learner.seen] == [False, True, True]


def test_a_trial_ends_when_its_accuracy_is_reached(store):
    trial = store.trial("last", 0)
    budget = replace(BUDGET, rounds=50, until=0.1)
    accuracies = iter((0.05, 0.09, 0.1, 0.2))
    measure = lambda posterior, seed: Measured({("accuracy", "test"): next(accuracies)}, {})  # noqa: E731
    assert advance(trial, parts(measure=measure), budget) == "done"
    assert (trial.reason, trial.latest().round) == ("accuracy 0.1 reached", 2)
    assert advance(trial, parts(measure=measure), budget) == "done"  # and stays so


def test_only_random_candidates_are_chosen_among(store):
    seen = []

    def spying(posterior, labelled, unlabelled, k, rng, scorer):
        seen.append(unlabelled.ids)
        return last(posterior, labelled, unlabelled, k, rng, scorer)

    trial = store.trial("last", 0)
    budget = replace(BUDGET, rounds=4, candidates=5, query_size=2)
    mine = parts(strategy=spying)
    advance(trial, mine, budget)
    assert [len(ids) for ids in seen] == [5, 5, 5, 3]  # of 9, 7, 5 and 3 unlabelled items
    assert all(ids == sorted(ids, key=IDS.index) for ids in seen)
    assert seen[0] != IDS[:5]
    assert not any(
        set(ids) & set(labelled.pool.ids)
        for ids, (_, labelled, *_) in zip(seen, mine.learner.seen, strict=False)
    )
    assert [row.item for row in trial.ranking(0)] == seen[0][
        ::-1
    ]  # `last` scores by place: ids belong to scores


def test_a_pool_that_is_exhausted_ends_the_trial(store):
    trial = store.trial("last", 0)
    assert advance(trial, parts(), replace(BUDGET, rounds=50, query_size=5)) == "done"
    assert trial.reason == "pool exhausted"
    assert [m.labels for m in store.metrics()] == [3, 8, 12]


def test_answers_that_come_late(store):
    """The oracle says "not yet": nothing is trained on, and calling again goes on."""
    trial, slow = store.trial("last", 0), FakeOracle(willing=2)
    assert advance(trial, parts(oracle=slow), BUDGET) == "waiting"
    assert (trial.state, trial.reason) == ("waiting", "for 1 of the labels asked for in round 0")
    assert store.metrics() == []
    assert advance(trial, parts(oracle=FakeOracle(willing=0)), BUDGET) == "waiting"
    assert advance(trial, parts(oracle=slow), BUDGET) == "done"
    assert slow.asked[1] == slow.asked[0][2:]
    assert len(store.ledger()) == 7


def test_the_same_seed_begins_with_the_same_items(store):
    for strategy in ("last", "first"):
        advance(store.trial(strategy, 4), parts(), BUDGET)
    advance(store.trial("last", 5), parts(), BUDGET)
    first = {(r.strategy, r.seed): [] for r in store.requests()}
    for r in store.requests():
        if r.round == 0:
            first[r.strategy, r.seed].append(r.item)
    assert first["last", 4] == first["first", 4] != first["last", 5]


def test_no_pick_depends_on_labels_that_were_not_asked_for(store):
    """The labels of everything else are poisoned: the picks stay the same until they are revealed."""
    advance(store.trial("last", 0), parts(), BUDGET)
    honest = [r for r in store.requests() if r.round < 2]

    class Poisoned(FakeOracle):
        def ask(self, ids):
            known = {r.item for r in honest}
            return {i: TRUTH[i] if i in known else "odd" for i in ids}

    advance(store.trial("other", 0), parts(oracle=Poisoned()), BUDGET)
    assert [r.item for r in store.requests() if r.strategy == "other" and r.round < 2] == [
        r.item for r in honest
    ]


def test_a_lost_posterior_is_fitted_again(store):
    trial = store.trial("last", 0)

    class Stopping(Exception):
        pass

    def stop(event):
        if event.phase == "choose":
            raise Stopping

    with pytest.raises(Stopping):
        advance(trial, parts(observe=stop), BUDGET)
    trial.find(0, "posterior").joinpath("number").write_text("damaged")
    assert advance(trial, parts(), BUDGET) == "done"
    advance(store.trial("again", 0), parts(), BUDGET)
    items = {s: [r.item for r in store.requests() if r.strategy == s] for s in ("last", "again")}
    assert items["last"] == items["again"]


def choosing(*ids, scores=None, pool_scores=None):
    scores = np.zeros(len(ids)) if scores is None else np.array(scores)
    return lambda *_: Choice(ids, scores, {}, pool_scores)


@pytest.mark.parametrize(
    ("strategy", "error", "words"),
    [
        (choosing("item-1", "item-1"), InvalidArgument, "twice"),
        (choosing(), InvalidArgument, "chose 0 items; 1 to 2"),
        (choosing("a", "b"), InvalidArgument, "'a', which is not in the unlabelled pool"),
        (lambda p, known, u, k, *_: Choice(tuple(u.ids[:3]), np.zeros(3)), InvalidArgument, "chose 3 items"),
        (lambda p, known, u, k, *_: Choice((u.ids[0],), np.array([np.nan])), NonFiniteScore, "not finite"),
        (
            lambda p, known, u, k, *_: Choice((u.ids[0],), np.zeros(1), {}, np.zeros(3)),
            NonFiniteScore,
            r"\(3,\) for 9",
        ),
    ],
)
def test_a_strategy_of_ones_own_is_checked(store, strategy, error, words):
    with pytest.raises(error, match=words):
        advance(store.trial("mine", 0), parts(strategy=strategy), BUDGET)
    assert len(store.ledger()) == 3


def test_a_label_that_is_no_class_is_refused(store):
    class Wrong(FakeOracle):
        def ask(self, ids):
            return dict.fromkeys(ids, "prime")

    with pytest.raises(InvalidLabel, match="'prime'"):
        advance(store.trial("last", 0), parts(oracle=Wrong()), BUDGET)
    assert store.ledger() == []


def test_scores_ranking_and_pictures_are_kept(store):
    trial = store.trial("last", 0)
    advance(trial, parts(picture=lambda ids: "+".join(ids).encode()), BUDGET)
    scores = np.load(trial.find(1, "scores"))
    ranking = trial.ranking(1)
    assert len(scores) == len(ranking) == 7
    assert [row.score for row in ranking] == sorted(scores, reverse=True)
    asked = [r.item for r in store.requests() if r.round == 2]
    assert [row.item for row in ranking[:2]] == asked
    assert trial.find(2, "picks").read_bytes() == "+".join(asked).encode()


class Killed(Exception):
    pass


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
    mine, _ = stopping(stopping_.target(0.55), validate=validate)
    advance(trial, replace(mine, observe=events.append), LONG)
    assert trial.latest().labels == 6
    assert "over 1000 validation items" in trial.reason
    assert ("accuracy", "validation") in events[-1].metrics
    assert [row.value for row in store.metrics("validation") if row.metric == "items"] == [1000.0] * 4


CRITERION = (
    "(stabilising_predictions(kappa=0.999, window=2) | max_uncertainty(-1)) & selected_accuracy(value=0.2)"
)


MEMORY = Path("/dev/shm")


@pytest.fixture
def fast_path(tmp_path):
    """A folder in memory where that can be, for many small runs."""
    with TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def test_killed_anywhere_it_stops_where_it_would_have(fast_path):
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

    *whole, _ = story(fast_path / "whole", [])
    assert whole[0] == "done"
    assert "predictions are stable" in whole[1]
    for left in range(1, 40, 5):
        *killed, _ = story(fast_path / f"killed-{left}", [left])
        assert killed == whole
    *killed, _ = story(fast_path / "often", [2] * 20)
    assert killed == whole


def test_a_lost_file_of_predictions_only_delays_the_stop(store):
    trial = store.trial("last", 0)
    mine, _ = stopping(stopping_.stabilising_predictions(kappa=-1.0, window=2))

    def damage(event):
        if (event.round, event.phase) == (1, "fit"):
            trial.find(0, "stop").write_bytes(b"cut short")

    assert advance(trial, replace(mine, observe=damage), LONG) == "done"
    assert trial.latest().round == 3, "one round later than its window of three rounds would have had it"


def test_the_past_is_what_was_labelled_measured_and_scored(store):
    trial = store.trial("last", 0)
    assert trial.past() == []
    advance(trial, parts(), BUDGET)
    past = trial.past()
    assert [(row.round, row.labels) for row in past] == [(0, 3), (1, 5), (2, 7)]
    assert [row.metrics["accuracy", "test"] for row in past] == [row.value for row in store.metrics()]
    for row in past:
        asked = [r.score for r in store.requests() if r.round == row.round and r.score is not None]
        assert list(row.scores) == asked


class FineTuning(FakeLearner):
    """Begins with last round's posterior, as a warm start does."""

    def fit(self, labelled, unlabelled, *, previous=None, **told):
        posterior = super().fit(labelled, unlabelled, previous=previous, **told)
        posterior.number = (posterior.number + (7 * previous.number if previous else 0)) % 1000
        return posterior


def killed_at(phase, trial, learner=FineTuning):
    def observe(event):
        if (event.phase, event.round) == (phase, 2) and event.metrics is None:
            raise Killed

    with pytest.raises(Killed):
        advance(trial, parts(learner=learner(), observe=observe), FOUR)


FOUR = replace(BUDGET, rounds=4)


def course(store, strategy):
    return [(row.round, row.value) for row in store.metrics() if row.strategy == strategy], [
        row[2:] for row in store.requests() if row.strategy == strategy
    ]


@pytest.mark.parametrize("phase", ["measure", "choose"])
def test_a_lost_posterior_is_fitted_again_from_the_one_before(store, phase):
    advance(store.trial("whole", 0), parts(learner=FineTuning()), FOUR)
    trial = store.trial("last", 0)
    killed_at(phase, trial)
    assert [row.round for row in store.artefacts("posterior") if row.strategy == "last"] == [1, 2]
    trial.find(2, "posterior").joinpath("number").write_text("damaged")
    assert advance(trial, parts(learner=FineTuning()), FOUR) == "done"
    assert course(store, "last") == course(store, "whole")
    assert store.incidents() == []
    kept = [row.round for row in store.artefacts("posterior")]
    assert kept == [4, 4], "of a trial that is done only the last one stays"


@pytest.mark.parametrize(("phase", "lost"), [("choose", (1, 2)), ("fit", (1,))])
def test_that_the_one_before_was_lost_too_is_recorded(store, phase, lost):
    """A learner that looks at it takes another course, so it is seen; one that does not is not stopped."""
    advance(store.trial("whole", 0), parts(), FOUR)
    for learner in (FakeLearner, FineTuning):
        trial = store.trial(learner.__name__, 0)
        before = len(store.incidents())
        killed_at(phase, trial, learner)
        for round in lost:
            trial.find(round, "posterior").joinpath("number").write_text("damaged")
        assert advance(trial, parts(learner=learner()), FOUR) == "done"
        (row,) = store.incidents()[before:]
        assert (row.strategy, row.round) == (learner.__name__, 2)
        assert "fitted without the posterior of the round before" in row.what
    assert course(store, "FakeLearner") == course(store, "whole")
