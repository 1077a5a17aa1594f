"""A run in which people label: its settings, and the training of its model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from baldur import evaluate, loop
from baldur.data import Dataset
from baldur.errors import (
    BaldurError,
    InvalidArgument,
)
from baldur.protocols import Pool, Posterior, View, pictures_of
from baldur.runs import settings as settings_
from baldur.runs.faults import Faults
from baldur.runs.folder import adapted
from baldur.runs.items import picture
from baldur.runs.measuring import make_passes
from baldur.runs.observer import Observer
from baldur.runs.plan import Given, Plan, make_learner
from baldur.runs.settings import Settings
from baldur.stopping import Rule, any_of
from baldur.store import Store, Trial
from baldur.store.classes import Classes
from baldur.store.events import RESERVE

STRATEGY = "two_stage(then=margin)"
"""The strategy of a run in which people label, unless the user names one."""

_INITIAL = 10
_AHEAD, _FEWEST = (
    3,
    30,
)  # a round asks for this many times the labels that close it, and at least for this many items


@dataclass(frozen=True)
class Source:
    """The objects that were passed to `baldur.open`.

    Args:
        data: A path, or objects that `data.load_for_labelling` takes; None for the data that the run began with.
        classes: The names of the classes; None for those of the data.
        added: Objects that were added to the data later, in this order. Places in files need not be given.
        given: A network, a learner or a strategy that were passed instead of names.
    """

    data: Any = None
    classes: Any = None
    added: tuple[Any, ...] = ()
    given: Given = field(default_factory=Given)

    @property
    def path(self) -> str | None:
        """The path of the data; None if they are objects in Python."""
        return str(Path(self.data).absolute()) if isinstance(self.data, str | Path) else None


class People:
    """Answers of people arrive as events, so this oracle has none itself."""

    annotator = "people"

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """No answers; see `Trial.tell`.

        Args:
            ids: Items that are asked for.

        Returns:
            An empty mapping.
        """
        return {}


def settings_for_people(told: Mapping[str, Any]) -> Settings:
    """The settings of a new run in which people label.

    Args:
        told: The given options, by flat name.

    Returns:
        The settings.

    Raises:
        InvalidSettings: An option is unknown or not valid.
        InvalidArgument: More than one strategy or seed is given.
    """
    named = settings_.canonical_names(told)
    several = named.get("strategies", STRATEGY)
    if not isinstance(several, str) and len(several) != 1:
        raise InvalidArgument(f"people label with one strategy, not {len(several)}; give one")
    if named.get("seeds", 1) != 1:
        raise InvalidArgument("people label once, so seeds must be 1; leave it out")
    after = named.get("retrain_after", settings_.create().people.retrain_after)
    ahead = max(_AHEAD * after, _FEWEST) if isinstance(after, int) else _FEWEST
    fixed = {"strategies": several, "seeds": 1, "rounds": 0, "oracle": "people"}
    settings = settings_.create(**{"initial": _INITIAL, "query_size": ahead} | dict(named) | fixed)
    return adapted(settings, named)


@dataclass
class Training:
    """Trains the model of a run in which people label.

    Args:
        plan: The plan of the run.
        dataset: The data.
        observer: Receives the progress.
        cache: Folder for a network that is trained once for all rounds.
        threads: Number of threads of PyTorch; 0 leaves it as it is.
        added: The number of the newest event that added an item, when the data were read.
    """

    plan: Plan
    dataset: Dataset
    observer: Observer
    cache: Path
    threads: int = 0
    added: int = 0

    def advance(self, store: Store, trial: Trial) -> loop.State:
        """Train, measure and choose as far as the labels allow.

        Args:
            store: The run. The caller holds the lock "trainer".
            trial: Its trial.

        Returns:
            See `loop.advance`. After "changed", the data may have to be read again.
        """
        compare, people = self.plan.settings.compare, self.plan.settings.people
        budget = loop.Budget(
            0, compare.query_size, compare.candidates, compare.until, retrain_after=people.retrain_after
        )
        faults = Faults(store, self.observer.message)
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(self.threads or before)
            with threadpool_limits(self.threads or before, user_api="blas"):
                return faults.advance(trial, self._parts(store, trial), budget)
        except BaldurError as error:
            trial.finish("failed", str(error))
            raise
        finally:
            torch.set_num_threads(before)

    def _parts(self, store: Store, trial: Trial) -> loop.Parts:
        """The parts of the trial, for the classes and items that its newest round has."""
        latest = trial.latest()
        cut = latest.cut if latest is not None and latest.state != "requested" else None
        dataset = in_classes(self.dataset, trial.classes(cut))
        learner = make_learner(self.plan, dataset, None, self.observer, self.cache)
        passes = make_passes(
            self.plan.settings.score, self.plan.settings.engine.device, dataset, self.observer
        )
        kept, apart, since = self._sides(store)
        criteria = [c for c in (self.plan.criterion, self._tests()) if c is not None]
        criterion = any_of(*criteria) if criteria else None
        reserve = View(self.dataset.train, apart) if len(apart) else None

        def guess(posterior: Posterior, pool: Pool, seed: int) -> NDArray[np.floating]:
            return np.asarray(passes.scorer(seed).predict(posterior, pool, evaluate.predictive))

        pool = View(self.dataset.train, kept)
        (strategy,) = self.plan.strategies.values()
        return loop.Parts(
            pool=pool,
            classes=dataset.classes,
            learner=learner,
            strategy=strategy,
            oracle=People(),
            scorer=passes.scorer,
            measure=passes.measure,
            initial=lambda rng: [],
            picture=lambda ids: picture(self.dataset, pool, ids),
            generated=lambda: pictures_of(learner),
            observe=self.observer.event,
            stopping=passes.stopping(criterion, learner, None, False, reserve, intervals=True),
            guess=guess,
            since=since,
            added=self.added,
        )

    def _tests(self) -> Rule | None:
        """The rule that asks for test labels; it never ends the trial."""
        people = self.plan.settings.people
        return asks_for_tests(people.test_labels, max(1, -(-people.retrain_after // 4)))

    def _sides(self, store: Store) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, int]]:
        """Positions of the items to train on, and of the test items in random order; and which came later.

        Items that were taken out of the pool are among them: a round leaves out those of its cut.
        """
        position = {i: n for n, i in enumerate(self.dataset.train.ids)}
        here = [p for p in store.places() if p.split != "test" and p.id in position]
        tests = sorted((p for p in here if p.split == RESERVE), key=lambda p: -(p.key or 0))
        train = np.array([position[p.id] for p in here if p.split != RESERVE], np.intp)
        since = {p.id: p.since for p in here if p.since is not None}
        return np.sort(train), np.array([position[p.id] for p in tests], np.intp), since


def in_classes(dataset: Dataset, classes: Classes) -> Dataset:
    """The data with the classes of a run at one time.

    Args:
        dataset: The data, as the run began or with later classes at the end.
        classes: The classes, after changes.

    Returns:
        The data. Labels of classes that are not there yet, or any more, are missing.
    """
    index = {name: i for i, name in enumerate(classes.names)}
    at = np.array([index.get(classes.now(name, 0), -1) for name in dataset.classes] + [-1], np.int64)
    labels, tests = at[dataset.labels], at[dataset.test_labels]
    return replace(dataset, classes=classes.names, labels=labels, test_labels=tests)


def asks_for_tests(total: int, at_once: int) -> Rule | None:
    """A rule that asks for labels of test items, some in each round, and never ends a trial.

    Args:
        total: How many labels it asks for in all.
        at_once: How many in a round.

    Returns:
        The rule; None for no labels.
    """
    if not total:
        return None

    def wanted(history: Any) -> int:
        have = history.values("items", "reserve")
        return min(total, int(have[-1] if have else 0) + at_once)

    return Rule(f"test_labels({total})", lambda history: "", splits=frozenset({"reserve"}), wanted=wanted)
