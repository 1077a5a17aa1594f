"""The loop with parts of five lines each: it knows nothing of networks."""

from dataclasses import replace

import numpy as np
import pytest
from tests.loop.fakes import BUDGET, IDS, TRUTH, FakeLearner, FakeOracle, Killed, last, parts

from baldur.errors import InvalidArgument, InvalidLabel, NonFiniteScore
from baldur.loop import Event, Measured, advance
from baldur.protocols import Choice


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

    def measure(posterior, labelled, seed):
        return Measured({("accuracy", "test"): next(accuracies)}, {})

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
        (choosing(), InvalidArgument, "chose 0; 1 to 2"),
        (
            lambda *_: None,
            InvalidArgument,
            "returned an object of the type NoneType; it must return a protocols",
        ),
        (lambda *_: {"item-1": 0.0}, InvalidArgument, "returned an object of the type dict"),
        (choosing("a", "b"), InvalidArgument, "'a', which is not in the unlabelled pool"),
        (
            lambda p, known, u, k, *_: Choice(tuple(u.ids[:3]), np.zeros(3)),
            InvalidArgument,
            "chose 3; 1 to 2",
        ),
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
