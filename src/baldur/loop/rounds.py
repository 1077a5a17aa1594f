"""Active learning, one round after the other: request, label, fit, measure, choose.

All state is in the store, and every step starts by reading it. So `advance` can simply be called again, after a late
answer or after a kill.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from baldur.core.seeds import derive, generator
from baldur.errors import DamagedArtefact, InvalidArgument, NonFiniteScore
from baldur.loop.parts import Budget, Event, Parts
from baldur.loop.stopping import Stopping
from baldur.protocols import (
    Choice,
    Corrects,
    Labelled,
    Panel,
    Posterior,
    View,
)
from baldur.store import PhaseHandle, Request, Round, Trial

State = Literal["done", "waiting", "changed"]

_TEST_AFTER = 4  # items for training between two test items, when people label
_GUESSED = 200  # items of a ranking that are kept with the model's guess


def advance(trial: Trial, parts: Parts, budget: Budget) -> State:
    """Advance a trial until its end, or until an answer is missing.

    Args:
        trial: The trial.
        parts: The parts of the trial.
        budget: The budget of the trial.

    Returns:
        "done", "waiting" for answers, or "changed": people changed the classes or added items, so the parts must be
        made anew. The store has the reason in words.
    """
    return _Going(trial, parts, budget).advance()


@dataclass
class _Going:
    """A trial in progress. Except for caches, all its state is in the store."""

    trial: Trial
    parts: Parts
    budget: Budget
    posterior: Posterior | None = None
    _positions: dict[str, int] = field(default_factory=dict)
    _cut: int | None = None
    _split: tuple[Labelled, View] | None = None
    _stopping: Stopping | None = None
    _tested: Mapping[str, int] = field(default_factory=dict)

    def advance(self) -> State:
        if self.trial.latest() is None:
            rng = generator(
                self.trial.seed, "initial"
            )  # the same for every strategy: trials of a seed are paired
            ids = self.parts.initial(rng)
            self.trial.begin([Request(i, rank) for rank, i in enumerate(ids)])
        while True:
            latest = self.trial.latest()
            assert latest is not None
            if latest.state == "requested":
                if not self._label(latest):
                    return "waiting"
            elif self._changed(latest):
                return "changed"
            elif latest.state == "labelled":
                self._fit(latest)
            elif latest.state == "fitted":
                self._measure(latest)
            elif latest.state == "closed":
                return "done"
            elif reason := self._ended(latest):
                return self._finish(latest, reason)
            elif not self._choose(latest):
                return self._finish(latest, "pool exhausted")

    def _changed(self, latest: Round) -> bool:
        """Whether people gave a round other classes than the parts have, or items that the parts do not have."""
        if self.budget.retrain_after is None:
            return False
        classes = self.trial.classes(latest.cut).names
        return classes != tuple(self.parts.classes) or self.trial.added(latest.cut) > self.parts.added

    def _ended(self, latest: Round) -> str:
        """Why there is nothing more to ask, if there is not."""
        until = self.budget.until
        if until is not None and self.trial.metric(latest.round, "accuracy") >= until:
            return f"accuracy {until:g} reached"
        if self.parts.stopping is not None:
            reason = self.parts.stopping.reason(self.trial, latest, self._sides(latest)[1])
            if reason:
                return reason
        endless = self.budget.retrain_after is not None
        return "" if endless or latest.round < self.budget.rounds else f"{self.budget.rounds} rounds"

    def _finish(self, latest: Round, reason: str) -> State:
        self.trial.forget("posterior", before=latest.round)
        self.trial.finish("done", reason)
        return "done"

    def _begin(self, latest: Round, phase: str) -> None:
        self.parts.observe(
            Event(self.trial.strategy, self.trial.seed, latest.round, phase, latest.labels or 0)
        )

    def _label(self, latest: Round) -> bool:
        self._begin(latest, "label")
        wanted = self.trial.open_requests(latest.round)
        with self.trial.phase(latest.round, "label") as phase:
            oracle = self.parts.oracle
            if isinstance(oracle, Corrects):
                known = {row.item: row.value for row in self.trial.labels()}
                known |= self.trial.said("oracle")  # a later label of a person is no reason to say it again
                self.trial.correct(oracle.corrections(known), oracle.annotator)
            if isinstance(oracle, Panel):
                oracle.recall(self.trial.votes())
            answers = oracle.ask(wanted) if wanted else {}
            votes = oracle.votes(list(answers)) if isinstance(oracle, Panel) else None
            self.trial.answer(latest.round, answers, oracle.annotator, votes=votes)
            people = self.budget.retrain_after is not None
            left = self.trial.queue.waiting() if people else len(wanted) - len(answers)
            closes = self._closes(left)
            if closes:
                phase.labelled()
        if not closes:
            self.trial.finish("waiting", f"for {left} of the labels asked for in round {latest.round}")
        return closes

    def _closes(self, left: int) -> bool:
        """Whether a round closes, with some of its requests still open."""
        if self.budget.retrain_after is None:
            return not left
        new = self.trial.queue.new()
        return new >= self.budget.retrain_after or (not left and new > 0)

    def _fit(self, latest: Round) -> None:
        self._begin(latest, "fit")
        previous = self._previous(latest)
        with self.trial.phase(latest.round, "fit") as phase:
            self.posterior = self._fitted(latest, previous, phase)
        # Last round's stays too: if this one's file is lost, the same fit needs it again.
        self.trial.forget("posterior", before=latest.round - 1)

    def _fitted(self, latest: Round, previous: Posterior | None, phase: PhaseHandle) -> Posterior:
        labelled, unlabelled = self._sides(latest)
        posterior = self.parts.learner.fit(
            labelled,
            unlabelled,
            seed=derive(self.trial.seed, "fit", latest.round),
            round=latest.round,
            previous=previous,
            checkpoint=self.trial.checkpoint(latest.round),
        )
        phase.artefact(latest.round, "posterior", "", _folder(posterior.save))
        if (sheet := self.parts.generated()) is not None:
            phase.artefact(latest.round, "generated", ".png", lambda path: _write(path, sheet))
        phase.fitted()
        return posterior

    def _previous(self, latest: Round) -> Posterior | None:
        """Last round's posterior, if it is at hand or still on disk; that it was lost is recorded."""
        if self.posterior is not None or latest.round == 0:
            return self.posterior
        try:
            folder = self.trial.find(latest.round - 1, "posterior")
            if folder is not None:
                return self.parts.learner.load(folder)
            why = "it is no longer there"
        except DamagedArtefact as error:  # many learners never look at it
            why = str(error)
        self.trial.incident(
            latest.round, f"round {latest.round} was fitted without the posterior of the round before: {why}"
        )
        return None

    def _believed(self, latest: Round) -> Posterior:
        """This round's posterior: in memory, on disk, or fitted again where its file was lost."""
        if self.posterior is None:
            try:
                folder = self.trial.find(latest.round, "posterior")
                self.posterior = None if folder is None else self.parts.learner.load(folder)
            except DamagedArtefact:
                pass  # the same seed and the same previous posterior fit the same one
            if self.posterior is None:
                self._begin(latest, "fit")
                previous = self._previous(latest)
                with self.trial.phase(latest.round, "fit") as phase:
                    self.posterior = self._fitted(latest, previous, phase)
        return self.posterior

    def _measure(self, latest: Round) -> None:
        posterior = self._believed(latest)
        self._begin(latest, "measure")
        with self.trial.phase(latest.round, "measure") as phase:
            seed = derive(self.trial.seed, "draws", latest.round)
            measured = self.parts.measure(posterior, self._sides(latest)[0], seed)
            arrays = measured.calibration
            if arrays:
                phase.artefact(latest.round, "calibration", ".npz", lambda path: _write_npz(path, arrays))
            metrics = dict(measured.metrics)
            labelled = self._sides(latest)[0]
            if self._stopping is not None:
                metrics |= self._stopping.measured(
                    self.trial, latest, posterior, labelled, self.parts.pool, self._tested
                )
            phase.measured(metrics)
        self.parts.observe(
            Event(
                *(self.trial.strategy, self.trial.seed, latest.round, "measure", latest.labels or 0), metrics
            )
        )

    def _choose(self, latest: Round) -> bool:
        """Whether there was anything left to choose."""
        labelled, unlabelled = self._sides(latest)
        unlabelled = self._candidates(latest, self._free(latest, unlabelled))
        if not len(unlabelled):
            return self._keep_open(latest)
        labels = len(labelled) + len(self._tested)
        posterior, k = self._believed(latest), self._wanted(labels)
        self._begin(latest, "choose")
        with self.trial.phase(latest.round, "choose") as phase:
            seed = self.trial.seed
            choice = self.parts.strategy(
                posterior,
                labelled,
                unlabelled,
                k,
                generator(seed, "select", latest.round),
                self.parts.scorer(derive(seed, "draws", latest.round)),
            )
            self._check(choice, unlabelled, k)
            if self.parts.stopping is not None:
                batch = View(self.parts.pool, np.array([self._positions[i] for i in choice.ids], np.intp))
                self.parts.stopping.chosen(self.trial, latest, posterior, batch)
            requests = [
                Request(i, rank, float(s))
                for rank, (i, s) in enumerate(zip(choice.ids, choice.scores, strict=True))
            ]
            requests = self._with_tests(requests, labels)
            ranking = self._keep_scores(latest, choice, unlabelled, phase)
            self._keep_guesses(latest, posterior, [*choice.ids, *(i for i, _ in ranking[:_GUESSED])], phase)
            picture = self.parts.picture(choice.ids)
            if picture is not None:
                phase.artefact(latest.round + 1, "picks", ".png", lambda path: _write(path, picture))
            phase.chosen(requests, ranking)
        return True

    def _free(self, latest: Round, unlabelled: View) -> View:
        """The items that may be chosen: those that nobody labelled, skipped or got since the round's cut."""
        self.trial.see(latest.round)
        taken = self.trial.touched(latest.round) | self.trial.queue.leased()
        places = [self._positions[i] for i in taken if i in self._positions]
        return View(unlabelled.whole, np.setdiff1d(unlabelled.positions, places, assume_unique=True))

    def _keep_open(self, latest: Round) -> bool:
        """Open a round without requests if people label, since items may be given back or added."""
        if self.budget.retrain_after is None:
            return False
        with self.trial.phase(latest.round, "choose") as phase:
            phase.chosen([], keep_open=True)
        return True

    def _with_tests(self, requests: list[Request], labels: int) -> list[Request]:
        """Add the requests for test labels: at the end, or in between if people label."""
        stopping = self._stopping
        if stopping is None:
            return requests
        limit = stopping.criterion.limit
        room = None if limit is None else limit - labels - len(requests)
        tests = stopping.to_test(self.trial, room, self._tested)
        if self.budget.retrain_after is None:
            return requests + [Request(i, len(requests) + rank) for rank, i in enumerate(tests)]
        return mixed(requests, tests)

    def _keep_guesses(
        self, latest: Round, posterior: Posterior, ids: Sequence[str], phase: PhaseHandle
    ) -> None:
        """Keep the model's guesses of the items that people will see next."""
        if self.parts.guess is None:
            return
        some = list(dict.fromkeys(ids))
        places = np.array([self._positions[i] for i in some], np.intp)
        seed = derive(self.trial.seed, "draws", latest.round)
        log_probs = self.parts.guess(posterior, View(self.parts.pool, places), seed)
        arrays = {"ids": np.array(some, np.str_), "probabilities": np.exp(log_probs, dtype=np.float32)}
        phase.artefact(latest.round, "guesses", ".npz", lambda path: _write_npz(path, arrays))

    def _wanted(self, labels: int) -> int:
        """How many items to ask for: no more than the budget of a stopping criterion has left."""
        limit = None if self.parts.stopping is None else self.parts.stopping.criterion.limit
        return self.budget.query_size if limit is None else min(self.budget.query_size, limit - labels)

    def _candidates(self, latest: Round, unlabelled: View) -> View:
        """The candidates of a round: all items or a random part, in the order of the pool."""
        m = self.budget.candidates
        if not 0 < m < len(unlabelled):
            return unlabelled
        rng = generator(self.trial.seed, "candidates", latest.round)
        return View(unlabelled.whole, np.sort(rng.choice(unlabelled.positions, m, replace=False)))

    def _keep_scores(
        self, latest: Round, choice: Choice, unlabelled: View, phase: PhaseHandle
    ) -> list[tuple[str, float]]:
        """Keep the scores of all candidates as a file; the best 1,000 with their ids."""
        scores = choice.pool_scores
        if scores is None:
            return []
        phase.artefact(latest.round, "scores", ".npy", lambda path: _write_npy(path, scores))
        best = np.argsort(-scores, kind="stable")[:1000]
        ids = self.parts.pool.ids
        return [(ids[unlabelled.positions[i]], float(scores[i])) for i in best]

    def _sides(self, latest: Round) -> tuple[Labelled, View]:
        """The items that are labelled up to the round's cut, and the other items. Read once in each round."""
        if self._split is None or self._cut != latest.cut:
            self._cut, self._split = latest.cut, self._divided(latest.cut)
        return self._split

    def _divided(self, cut: int | None) -> tuple[Labelled, View]:
        if not self._positions:
            self._positions = {i: position for position, i in enumerate(self.parts.pool.ids)}
        out = self.trial.left_out(cut)
        out |= {i for i, number in self.parts.since.items() if cut is not None and number > cut}
        rows = [row for row in self.trial.labels(cut) if row.item not in out]
        if self.budget.by_rank and self.budget.retrain_after is None:
            ranks = self.trial.ranks()
            rows.sort(key=lambda row: (row.round, ranks.get((row.round, row.item), len(ranks)), row.number))
        index = {name: i for i, name in enumerate(self.parts.classes)}
        self._stopping = stopping = self.parts.stopping
        if stopping is not None and stopping.reserve is not None:
            tests = set(stopping.reserve.ids)
            self._tested = {row.item: index[row.value] for row in rows if row.item in tests}
            rows = [row for row in rows if row.item not in tests]
            if gone := tests & out:
                left = np.array([n for n, i in enumerate(stopping.reserve.ids) if i not in gone], np.intp)
                self._stopping = replace(stopping, reserve=View(stopping.reserve, left))
        positions = np.array([self._positions[row.item] for row in rows], dtype=np.intp)
        labelled = Labelled(
            View(self.parts.pool, positions),
            labels=np.array([index[row.value] for row in rows], dtype=np.int64),
            rounds=np.array([row.round for row in rows], dtype=np.int64),
            weights=np.ones(len(rows), dtype=np.float32),
            sources=("oracle",) * len(rows),
        )
        rest = np.ones(len(self.parts.pool), dtype=bool)
        rest[positions] = False
        rest[[self._positions[i] for i in out if i in self._positions]] = False
        return labelled, View(self.parts.pool, np.flatnonzero(rest))

    def _check(self, choice: Any, unlabelled: View, k: int) -> None:
        """A strategy may be anybody's, so what it says is checked before it is written down."""
        name = self.trial.strategy
        if not isinstance(choice, Choice):
            raise InvalidArgument(
                f"strategy {name!r} returned an object of the type {type(choice).__name__}; it must return a "
                "protocols.Choice of ids and scores"
            )
        k = min(k, len(unlabelled))
        if len(set(choice.ids)) != len(choice.ids) or len(choice.ids) != len(choice.scores):
            raise InvalidArgument(
                f"strategy {name!r} chose an item twice, or gave not one score for each item"
            )
        if not 0 < len(choice.ids) <= k:
            raise InvalidArgument(f"strategy {name!r} chose {len(choice.ids)}; 1 to {k} were asked for")
        free = set(unlabelled.ids)
        strangers = [i for i in choice.ids if i not in free]
        if strangers:
            raise InvalidArgument(
                f"strategy {name!r} chose {strangers[0]!r}, which is not in the unlabelled pool"
                " (ids, not positions, are expected)"
            )
        if not np.isfinite(choice.scores).all():
            raise NonFiniteScore(f"strategy {name!r} gave a score that is not finite")
        scores = choice.pool_scores
        if scores is not None and (scores.shape != (len(unlabelled),) or not np.isfinite(scores).all()):
            raise NonFiniteScore(
                f"strategy {name!r} gave pool scores of shape {scores.shape} for {len(unlabelled)} items,"
                " or some that are not finite"
            )


def mixed(requests: Sequence[Request], tests: Sequence[str]) -> list[Request]:
    """Spread test items among the other items, so that a part of the requests has its share of them.

    Args:
        requests: Requests for items to train on, in their order.
        tests: Test items.

    Returns:
        All requests with their new ranks.
    """
    order: list[tuple[str, float | None]] = []
    left = list(tests)
    for n, request in enumerate(requests, 1):
        order.append((request.item, request.score))
        if n % _TEST_AFTER == 0 and left:
            order.append((left.pop(0), None))
    order += [(item, None) for item in left]
    return [Request(item, rank, score) for rank, (item, score) in enumerate(order)]


def _folder(fill: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        folder.mkdir()
        fill(folder)

    return write


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _write_npy(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
