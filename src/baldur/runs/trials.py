"""The trials of a run in one process: the data and parts are made once, then each trial advances."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from baldur import loop
from baldur.core.devices import pick_device
from baldur.data import Dataset
from baldur.data.copies import EARLIER
from baldur.data.scaling import scaled
from baldur.errors import BaldurError
from baldur.protocols import Labelled, Learner, Oracle, Pool, View, pictures_of
from baldur.runs.answering import make_oracle
from baldur.runs.faults import Faults
from baldur.runs.items import (
    check_data,
    check_reserve,
    initial,
    picture,
    read_data,
    reserve_part,
    validation_part,
)
from baldur.runs.measuring import Passes, Place, here, make_passes
from baldur.runs.observer import Observer
from baldur.runs.plan import Plan, for_data, make_learner
from baldur.stopping import Rule
from baldur.store import Trial
from baldur.training.contract import Fitting

Known = Mapping[str, tuple[str | None, int, int]]
"""Recorded files, by id: sha256, size, time of modification."""


_MANY = 10**6
"""A population that is large beside every sample of it."""


@dataclass(frozen=True)
class Prepared:
    """A plan with its data and parts.

    Args:
        plan: The plan of the run.
        dataset: The data.
        pool: The items that may be requested.
        labels: The classes of these items, (N,); -1 for unknown.
        validation: Items for early stopping that do not count as labels.
        learner: The learner.
        oracle: A function from the seed of a trial to its oracle.
        passes: Passes over pools.
        observer: Receives the progress.
    """

    plan: Plan
    dataset: Dataset
    pool: Pool
    labels: NDArray[np.int64]
    validation: Labelled | None
    learner: Learner
    oracle: Callable[[int], Oracle]
    passes: Passes
    observer: Observer

    def parts(self, strategy: str, seed: int, place: Place = here) -> loop.Parts:
        """The parts of one trial.

        Args:
            strategy: The name of the strategy in the settings.
            seed: Seed of the trial.
            place: Chooses where passes over pools are computed.

        Returns:
            The parts.
        """
        compare, learn = self.plan.settings.compare, self.plan.settings.learn
        passes = replace(self.passes, place=place)
        pool, labels, reserve = self.pool, self.labels, None
        if self.reserved:
            kept, apart = reserve_part(compare.reserve, pool, seed)
            pool, labels, reserve = View(self.pool, kept), labels[kept], View(self.pool, apart)
        return loop.Parts(
            pool=pool,
            classes=self.dataset.classes,
            learner=self.learner,
            strategy=self.plan.strategies[strategy],
            oracle=self.oracle(seed),
            scorer=passes.scorer,
            measure=passes.measure,
            initial=partial(initial, compare, pool, labels),
            picture=partial(picture, self.dataset, pool),
            generated=partial(pictures_of, self.learner),
            observe=self.observer.event,
            stopping=passes.stopping(
                self.plan.criterion, self.learner, self.validation, bool(learn.validation), reserve
            ),
        )

    @property
    def reserved(self) -> bool:
        """Whether a part of the pool is kept for test labels."""
        return _reserved(self.plan)

    def said(self) -> str:
        """What the test labels cost, in words; empty without a reserve."""
        criterion = self.plan.criterion
        if not self.reserved or criterion is None:
            return ""
        compare = self.plan.settings.compare
        size = len(reserve_part(compare.reserve, self.pool, compare.first_seed)[1])
        needs = criterion.needs(size) if isinstance(criterion, Rule) else 0
        will = f" Each trial will need about {needs:,} of them." if needs else ""
        enough = criterion.needs(_MANY) if isinstance(criterion, Rule) else 0
        few = (
            f" The reserve is small: about {enough:,} test labels are needed to show the target for other items. So a "
            "target that is reached holds for the reserve only."
        )
        return (
            f"{criterion.name} measures on test labels, which count as labels.{will} They are drawn at random from a "
            f"reserve of {size:,} items, which no strategy may choose.{few * (size < enough)}"
        )


def _reserved(plan: Plan) -> bool:
    return plan.criterion is not None and "reserve" in plan.criterion.splits


def prepare(
    plan: Plan,
    out: Path,
    observer: Observer,
    known: Known,
    spread: Callable[[Fitting], Fitting] | None = None,
    scaling: Mapping[str, Any] | None = None,
) -> Prepared:
    """Read the data of a plan and make its parts.

    Args:
        plan: The plan of the run.
        out: The run's folder.
        observer: Receives the progress.
        known: Recorded files, to detect changes.
        spread: Changes how a cluster fits the members of an ensemble. With it, the learner gets no display, because
            it is sent to workers.
        scaling: The scaling of the stored run; None for a new run.

    Returns:
        The plan with its parts.

    Raises:
        InvalidData: The data cannot be used.
        InvalidSettings: A setting does not match the data.
    """
    settings = plan.settings
    dataset = plan.dataset or read_data(
        settings.data,
        plan.encoder,
        device=str(pick_device(settings.engine.device)),
        progress=observer.detail,
        known=known,
    )
    if settings.data.reading > EARLIER:
        own_network = isinstance(plan.network, nn.Module) or ":" in settings.learn.network
        standardise = settings.data.scaling == "standardise"
        dataset = scaled(dataset, scaling, standardise=standardise, tokens=own_network)
    plan = for_data(plan, dataset)
    check_data(settings.compare, dataset)
    pool, labels, validation = validation_part(settings.learn, dataset)
    if _reserved(plan):
        check_reserve(settings.compare, pool)
    cache = (out / "encoders").absolute()
    if spread is None:
        learner = make_learner(plan, dataset, validation, observer, cache)
    else:
        learner = make_learner(plan, dataset, validation, Observer(), cache, spread)
    oracle = make_oracle(settings.compare, settings.data.data_dir, out, dataset, pool, labels)
    passes = make_passes(settings.score, settings.engine.device, dataset, observer)
    passes.stopping(
        plan.criterion, learner, validation, bool(settings.learn.validation)
    )  # raises its errors early
    return Prepared(plan, dataset, pool, labels, validation, learner, oracle, passes, observer)


def go_on(trial: Trial, parts: loop.Parts, plan: Plan, faults: Faults) -> str:
    """Advance a trial as far as possible.

    Args:
        trial: The trial.
        parts: The parts of the trial.
        plan: The plan of the run.
        faults: Handles unreadable items.

    Returns:
        The missing answers, in words; empty if the trial is done.
    """
    if trial.state == "done":
        return ""
    compare = plan.settings.compare
    by_rank = plan.settings.data.reading > EARLIER
    budget = loop.Budget(
        compare.rounds, compare.query_size, compare.candidates, compare.until, by_rank=by_rank
    )
    try:
        state = faults.advance(trial, parts, budget)
    except BaldurError as error:
        trial.finish("failed", str(error))
        raise
    return f"{trial.reason} of {trial.strategy}, seed {trial.seed}" if state == "waiting" else ""
