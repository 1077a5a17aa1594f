"""How long a round of a run takes on this machine, measured on a few steps before the run begins."""

import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from baldur import evaluate, learners
from baldur.core.seeds import derive
from baldur.data import Dataset
from baldur.errors import BaldurError
from baldur.protocols import Labelled, Learner, View
from baldur.runs.items import item_shape
from baldur.runs.live import clock
from baldur.runs.measuring import Passes
from baldur.runs.names import LearnerChain
from baldur.runs.observer import Observer
from baldur.runs.plan import Plan, make_learner

_STEPS, _ITEMS = 4, 64  # training steps and predicted items of the measurement
_WORTH_SAYING = 60.0  # seconds
_LONG = 600.0  # seconds of a round that a user should know a way around

_BY_STEPS = (None, learners.ceal, learners.fixmatch, learners.mean_teacher, learners.pi_model)
"""Learners whose time is that of their training steps; None is the supervised one. Others also train beforehand."""


@dataclass(frozen=True)
class Pace:
    """The time of one round.

    Args:
        fit: Seconds of a fit.
        predict: Seconds to predict the pool and the test items.
        steps: The number of training steps of a fit.
        items: The number of predicted items.
    """

    fit: float
    predict: float
    steps: int
    items: int

    @property
    def round(self) -> float:
        """Seconds of a round."""
        return self.fit + self.predict

    def said(self, rounds: int, trials: int, jobs: int) -> str:
        """The time of a run, in words; empty if it is short.

        Args:
            rounds: Rounds of a trial, the one of the initial labels included.
            trials: Number of trials.
            jobs: Number of trials side by side.

        Returns:
            A sentence or two.
        """
        whole = self.round * rounds * trials / jobs
        if whole < _WORTH_SAYING:
            return ""
        text = (
            f"a round takes about {clock(self.round)} (minutes and seconds) on this machine: {clock(self.fit)} for "
            f"{self.steps:,} training steps, {clock(self.predict)} to predict {self.items:,} items. The whole run "
            f"takes about {clock(whole)}"
        )
        hint = ". A smaller --image-size, a smaller --network, fewer --epochs or an --encoder make it shorter"
        return text + hint * (self.round > _LONG)


def measure(plan: Plan, dataset: Dataset, passes: Passes, observer: Observer) -> Pace | None:
    """Measure a few training steps and predictions.

    Args:
        plan: The plan of the run.
        dataset: The data.
        passes: The passes over the pool.
        observer: Receives the progress.

    Returns:
        The time of a round; None for parts whose time cannot be told from a few steps.
    """
    chain = plan.learner
    if not isinstance(chain, LearnerChain) or len(item_shape(dataset.train)) != 3:
        return None
    if ":" in plan.settings.learn.network:  # a user's own may count its calls
        return None
    if any(found not in _BY_STEPS for _, found, _ in chain.pieces):
        return None
    # The run meets the same errors, and handles them; and it gives the same warnings.
    with suppress(BaldurError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _measured(plan, dataset, passes, observer)
    return None


def _measured(plan: Plan, dataset: Dataset, passes: Passes, observer: Observer) -> Pace:
    settings = plan.settings
    compare, learn = settings.compare, settings.learn
    n = min(compare.initial, len(dataset.train))
    few = Labelled(  # any labels: only the time counts
        View(dataset.train, np.arange(n)),
        np.arange(n) % len(dataset.classes),
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
        ("oracle",) * n,
    )
    rest = View(dataset.train, np.arange(n, len(dataset.train)))
    seed = derive(compare.first_seed, "pace")

    def fitted(steps: int) -> tuple[Callable[[], object], float]:
        recipe = replace(plan.recipe, epochs=1, epoch_size=steps * learn.batch_size)
        with TemporaryDirectory() as cache:
            learner: Learner = make_learner(
                replace(plan, recipe=recipe), dataset, None, Observer(), Path(cache)
            )
            begun = time.perf_counter()
            posterior = learner.fit(few, rest, seed=seed, round=0)
            seconds = time.perf_counter() - begun
        some = View(dataset.train, np.arange(min(_ITEMS, len(dataset.train))))
        scorer = replace(passes, trunks=None, observer=Observer()).scorer(seed)
        return lambda: scorer.predict(posterior, some, evaluate.predictive), seconds

    observer.detail("measuring the pace", 0, 3)
    _, once = fitted(1)
    observer.detail("measuring the pace", 1, 3)
    predict, several = fitted(1 + _STEPS)
    observer.detail("measuring the pace", 2, 3)
    predict()  # the first pass compiles
    begun = time.perf_counter()
    predict()
    item = (time.perf_counter() - begun) / min(_ITEMS, len(dataset.train))
    observer.detail("measuring the pace", 3, 3)
    step = max(several - once, 0.0) / _STEPS
    usual = compare.initial + compare.rounds * compare.query_size // 2
    steps = learn.epochs * -(-max(learn.epoch_size, usual) // learn.batch_size)
    items = len(dataset.train) + len(dataset.test)
    return Pace(step * steps, item * items, steps, items)
