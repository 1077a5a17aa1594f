"""Stopping criteria in the loop: predictions are kept for them, and they read the past from the store alone."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.core.seeds import derive, generator
from baldur.errors import DamagedArtefact
from baldur.protocols import Criterion, History, Labelled, Metrics, Pool, Posterior, Sampled, View, tests_of
from baldur.store import Round, Trial

STOP_SET = 2000
"""Items on which successive models are compared, as many as Bloodgood & Vijay-Shanker (CoNLL 2009) took."""

_GROWTH = 1.3
"""Between two looks at the test labels, the number of labels grows by this factor at least."""

_ENOUGH = 10  # test labels of the first look

Interval = Callable[[NDArray[np.float64], NDArray[np.float64], float], tuple[float, float]]
"""Lower and upper end of an error rate."""

_NONE: Mapping[str, int] = MappingProxyType({})


def _no_metrics(posterior: Posterior, labelled: Labelled, seed: int) -> Metrics:
    return {}


@dataclass(frozen=True)
class Stopping:
    """A stopping criterion, and functions for the predictions and metrics that it reads.

    Args:
        criterion: Says when a trial has learned enough.
        predict: Gives mean log-probabilities (n, C) of items, for a seed.
        validate: Gives more metrics that the criterion reads, for the labelled items and a seed: those of held-out
            items, for example.
        whole: The pool as the run began with it, if items were left out since.
        reserve: Items for test labels, in random order; none of them is in the pool. None without a reserve.
        interval: Gives the interval of the error rate, from the errors on the test items, the guesses of all items of
            the reserve, and a level. It is taken at the rounds that are looks; None for no intervals.
    """

    criterion: Criterion
    predict: Callable[[Posterior, Pool, int], NDArray[np.floating]]
    validate: Callable[[Posterior, Labelled, int], Metrics] = _no_metrics
    whole: Pool | None = None
    reserve: Pool | None = None
    interval: Interval | None = None

    def measured(
        self,
        trial: Trial,
        latest: Round,
        posterior: Posterior,
        labelled: Labelled,
        pool: Pool,
        tested: Mapping[str, int] = _NONE,
    ) -> Metrics:
        """Keep a round's predictions on the stop set, and measure the other splits that the criterion reads.

        Args:
            trial: The trial.
            latest: The round that is being measured.
            posterior: Its posterior.
            labelled: The items that it was trained on.
            pool: All items, labelled or not.
            tested: The classes of the test items that have a label.

        Returns:
            More metrics of the round.
        """
        if self.criterion.rounds:
            self._keep(trial, latest, "stop", posterior, View(pool, self._stop_set(trial, pool)))
        metrics = dict(self.validate(posterior, labelled, _seed(trial)))
        if self.reserve is not None:
            metrics |= self._test(trial, latest, posterior, self.reserve, tested)
        asked = _read(trial, latest.round - 1, "query") if "query" in self.criterion.splits else None
        if asked is not None:
            truth = dict(zip(labelled.pool.ids, labelled.labels.tolist(), strict=True))
            predicted = dict(zip(asked["ids"].tolist(), asked["log_probs"].argmax(1).tolist(), strict=True))
            right = [predicted[i] == truth[i] for i in predicted if i in truth]
            if right:
                metrics |= {
                    ("accuracy", "query"): sum(right) / len(right),
                    ("items", "query"): float(len(right)),
                }
        return metrics

    def chosen(self, trial: Trial, latest: Round, posterior: Posterior, batch: Pool) -> None:
        """Keep the predictions of a batch before its labels are known, if the criterion reads them.

        Args:
            trial: The trial.
            latest: The round that chose the batch.
            posterior: Its posterior.
            batch: The batch.
        """
        if "query" in self.criterion.splits:
            self._keep(trial, latest, "query", posterior, batch)

    def reason(self, trial: Trial, latest: Round, unlabelled: View) -> str:
        """The reason to stop after a round that was measured, from the store alone.

        Args:
            trial: The trial.
            latest: The round.
            unlabelled: The items without a label.

        Returns:
            Words; empty to go on.
        """
        trial.forget("query", before=latest.round)
        trial.forget("stop", before=latest.round + 1 - self.criterion.rounds)
        past = trial.past()
        history = History(
            labels=[row.labels for row in past],
            metrics=[row.metrics for row in past],
            predictions=self._predictions(trial, latest, unlabelled),
            scores=[np.array(row.scores, np.float64) for row in past],
            tested=self._tested(trial, latest),
        )
        return self.criterion(history)

    def to_test(self, trial: Trial, room: int | None, tested: Collection[str] = ()) -> list[str]:
        """The test items to ask for in the next round, from the store alone.

        Args:
            trial: The trial.
            room: How many at most; None for any number.
            tested: The test items that have a label.

        Returns:
            Ids; the next ones of the reserve.
        """
        if self.reserve is None:
            return []
        past = trial.past()
        history = History([row.labels for row in past], [row.metrics for row in past])
        have = int(history.values("items", "reserve")[-1])
        wanted = max(tests_of(self.criterion, history) - have, 0)
        passed = trial.skipped().union(tested)  # an item that was put off does not hold up the others
        ids = [i for i in self.reserve.ids if i not in passed][:wanted]
        return ids if room is None else ids[: max(room, 0)]

    def _test(
        self, trial: Trial, latest: Round, posterior: Posterior, reserve: Pool, tested: Mapping[str, int]
    ) -> Metrics:
        """Keep a round's errors on the test items, and its guesses of them on the whole reserve."""
        # The same draws as for the test items, so that it is the same model.
        log_probs = self.predict(posterior, reserve, derive(trial.seed, "draws", latest.round))  # (M, C)
        put_off = trial.skipped(latest.cut) if self.interval is not None else set()
        sample = list(takewhile(lambda i: i in tested or i in put_off, reserve.ids))
        known = np.array([i in tested for i in sample], np.bool_)  # (n,)
        predicted = log_probs[: len(sample)].argmax(axis=1)[known]
        guess = 1 - np.exp(log_probs.max(axis=1).astype(np.float64))
        arrays = {
            "guess": np.clip(guess, 0, 1),
            "wrong": (predicted != np.array([tested[i] for i in sample if i in tested], np.int64)).astype(
                np.float64
            ),
        }
        n = int(known.sum())
        if n == len(sample):  # what criteria read has no gaps
            trial.artefact(latest.round, "tested", ".npz", lambda path: _write(path, arrays))
        wrong = arrays["wrong"]
        error = float(guess.mean() + np.mean(wrong - guess[: len(sample)][known])) if n else 0.0
        shows = self.interval is not None and n >= _ENOUGH
        ends = self._ends(trial, latest, wrong, arrays["guess"], known) if shows else {}
        return ends | {
            ("accuracy", "reserve"): 1 - min(max(error, 0.0), 1.0) if n else math.nan,
            ("guess", "reserve"): float(arrays["guess"].mean()),
            ("items", "reserve"): float(n),
            ("size", "reserve"): float(len(guess)),
        }

    def _ends(
        self,
        trial: Trial,
        latest: Round,
        wrong: NDArray[np.float64],
        guess: NDArray[np.float64],
        known: NDArray[np.bool_],
    ) -> dict[tuple[str, str], float]:
        """The ends of the interval of the accuracy, if this round is a look. All looks together hold at 95 %.

        An item that was put off counts as right at one end, and as wrong at the other.
        """
        past = [row for row in trial.past() if row.round < latest.round]
        looks = [row.labels for row in past if ("low", "reserve") in row.metrics]
        if looks and (latest.labels or 0) < _GROWTH * looks[-1]:
            return {}
        look = len(looks) + 1
        level = 1 - 0.05 / (look * (look + 1))
        assert self.interval is not None
        ends = []
        for unknown in (0.0, 1.0):
            filled = np.full(len(known), unknown)
            filled[known] = wrong
            ends.append(self.interval(filled, guess, level))
        return {("low", "reserve"): 1 - ends[1][1], ("high", "reserve"): 1 - ends[0][0]}

    def _tested(self, trial: Trial, latest: Round) -> Sampled | None:
        trial.forget("tested", before=latest.round)
        kept = None if self.reserve is None else _read(trial, latest.round, "tested")
        return None if kept is None else Sampled(kept["guess"], kept["wrong"])

    def _keep(self, trial: Trial, latest: Round, kind: str, posterior: Posterior, items: Pool) -> None:
        log_probs = self.predict(posterior, items, _seed(trial)).astype(np.float32)
        arrays = {"ids": np.array(list(items.ids), dtype=np.str_), "log_probs": log_probs}
        trial.artefact(latest.round, kind, ".npz", lambda path: _write(path, arrays))

    def _stop_set(self, trial: Trial, pool: Pool) -> NDArray[np.intp]:
        """Positions of the stop set: the same items in all rounds and strategies of a seed, without those left out."""
        whole = pool if self.whole is None else self.whole
        chosen = generator(trial.seed, "stop").choice(len(whole), min(STOP_SET, len(whole)), replace=False)
        if whole is pool:
            return np.sort(chosen).astype(np.intp)
        ids = whole.ids
        wanted = {ids[i] for i in chosen}
        return np.array([position for position, id in enumerate(pool.ids) if id in wanted], np.intp)

    def _predictions(self, trial: Trial, latest: Round, unlabelled: View) -> list[NDArray[np.floating]]:
        """Predictions of the newest rounds, the newest last, on the unlabelled items of the stop set.

        A lost file ends the past there. Then the criterion waits until its window is full again.
        """
        stop_set, ids = self._stop_set(trial, unlabelled.whole), unlabelled.whole.ids
        named = np.array([ids[i] for i in stop_set], np.str_)
        keep = named[np.isin(stop_set, unlabelled.positions)]
        found: list[dict[str, NDArray[Any]]] = []
        while len(found) < self.criterion.rounds:
            kept = _read(trial, latest.round - len(found), "stop")
            if kept is None or ("ids" not in kept and self.whole is not None):
                break
            found.append({"ids": named} | kept)  # an older version kept no ids
            keep = np.intersect1d(keep, found[-1]["ids"])
        return [kept["log_probs"][np.isin(kept["ids"], keep)] for kept in reversed(found)]


def _seed(trial: Trial) -> int:
    """The seed of the draws. It is the same in all rounds, so a change of predictions is a change of the model."""
    return derive(trial.seed, "stop")


def _read(trial: Trial, round: int, kind: str) -> dict[str, NDArray[Any]] | None:
    try:
        path = trial.find(round, kind)
    except DamagedArtefact:
        return None
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
