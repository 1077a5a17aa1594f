"""A run in which people label: its data, its random order, and the training of its model in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import batched
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from baldur import evaluate, loop
from baldur.core.devices import pick_device
from baldur.core.seeds import derive
from baldur.data import Dataset
from baldur.data.scaling import scaled
from baldur.errors import BaldurError, InvalidArgument, InvalidData
from baldur.protocols import Pool, Posterior, View, pictures_of
from baldur.runs import settings as settings_
from baldur.runs.faults import Faults
from baldur.runs.items import picture
from baldur.runs.measuring import make_passes
from baldur.runs.observer import Observer
from baldur.runs.plan import Plan, make_learner
from baldur.runs.settings import Settings
from baldur.stopping import Rule, any_of
from baldur.store import Event, ItemRecord, Store, Trial
from baldur.store.events import RESERVE

STRATEGY = "two_stage(then=margin)"
"""The strategy of a run in which people label, unless the user names one."""

BROUGHT = "data"
"""The annotator and the source of the labels that the data had when the run began."""

_INITIAL = 10
_AHEAD, _FEWEST = (
    3,
    30,
)  # a round asks for this many times the labels that close it, and at least for this many items
_MOST_RESERVED = 5000
_CHUNK = 10_000
_EVENTS = UUID("1d7b7b58-6f0b-5b0c-9b73-0f4f3f0c6c55")


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
    return settings_.create(**{"initial": _INITIAL, "query_size": ahead} | dict(named) | fixed)


def key_of(seed: int, item: str) -> int:
    """The place of an item in the random order of a run: 63 bits that only the seed and the id decide.

    Args:
        seed: The seed of the run.
        item: The id of the item, or of its group.

    Returns:
        The key; the order is ascending.
    """
    return derive(seed, "order", item)


def frontier_of(seed: int, pool: Pool, share: float) -> int | None:
    """The key from which on items are test items: those at the end of the random order. Groups stay whole.

    Args:
        seed: The seed of the run.
        pool: All items.
        share: The largest share of the pool that is kept for testing.

    Returns:
        The key; None if there is no room for a test item.
    """
    size = min(int(share * len(pool)), _MOST_RESERVED)
    names = pool.ids if pool.groups is None else pool.groups
    keys: dict[int, int] = {}
    for name in names:
        key = key_of(seed, name)
        keys[key] = keys.get(key, 0) + 1
    frontier, room = None, size
    for key in sorted(keys, reverse=True):
        room -= keys[key]
        if room < 0:
            break
        frontier = key
    return frontier


def placed(record: ItemRecord, seed: int, frontier: int | None) -> ItemRecord:
    """A record with its place in the random order of a run, and the split that follows from it.

    Args:
        record: The record.
        seed: The seed of the run.
        frontier: Items or groups whose key is at least this number are test items; None for no test items.

    Returns:
        The record.
    """
    own = key_of(seed, record.id)
    if record.split == "test":  # the data name it as a test item
        return record
    unit = own if record.group is None else key_of(seed, record.group)
    test = frontier is not None and unit >= frontier
    return replace(record, key=own, split=RESERVE if test else "train")


def register(store: Store, trial: Trial, dataset: Dataset, records: Sequence[ItemRecord]) -> None:
    """Record the items of a new run with their places in the random order, and the labels that the data have.

    Args:
        store: The run.
        trial: Its trial.
        dataset: The data.
        records: The facts about the items.
    """
    seed = store.seed or 0
    for some in batched(records, _CHUNK):
        store.record_items(placed(record, seed, store.frontier) for record in some)
    known = np.flatnonzero(dataset.labels >= 0)
    ids = dataset.train.ids
    for chunk in batched(known.tolist(), _CHUNK):
        events = []
        for i in chunk:
            value = dataset.classes[dataset.labels[i]]
            name = str(uuid5(_EVENTS, f"{ids[i]}\0{value}"))
            events.append(Event(name, "label", ids[i], BROUGHT, value, source=BROUGHT))
        trial.tell(events)


@dataclass
class Training:
    """Trains the model of a run in which people label.

    Args:
        plan: The plan of the run.
        dataset: The data.
        observer: Receives the progress.
        cache: Folder for a network that is trained once for all rounds.
        threads: Number of threads of PyTorch; 0 leaves it as it is.
    """

    plan: Plan
    dataset: Dataset
    observer: Observer
    cache: Path
    threads: int = 0
    _made: tuple[tuple[str, ...], loop.Parts] | None = field(default=None, repr=False)

    def advance(self, store: Store, trial: Trial) -> None:
        """Train, measure and choose as far as the labels allow.

        Args:
            store: The run. The caller holds the lock "trainer".
            trial: Its trial.
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
                while faults.advance(trial, self._parts(store, trial), budget) == "changed":
                    pass
        except BaldurError as error:
            trial.finish("failed", str(error))
            raise
        finally:
            torch.set_num_threads(before)

    def _parts(self, store: Store, trial: Trial) -> loop.Parts:
        """The parts of the trial, for the classes and items that its newest round has."""
        latest = trial.latest()
        cut = latest.cut if latest is not None and latest.state != "requested" else None
        classes = trial.classes(cut).names
        learner = make_learner(
            self.plan, replace(self.dataset, classes=classes), None, self.observer, self.cache
        )
        passes = make_passes(
            self.plan.settings.score, self.plan.settings.engine.device, self.dataset, self.observer
        )
        kept, apart, since = self._sides(store, trial)
        criteria = [c for c in (self.plan.criterion, self._tests()) if c is not None]
        criterion = any_of(*criteria) if criteria else None
        reserve = View(self.dataset.train, apart) if len(apart) else None

        def guess(posterior: Posterior, pool: Pool, seed: int) -> NDArray[np.floating]:
            return np.asarray(passes.scorer(seed).predict(posterior, pool, evaluate.predictive))

        pool = View(self.dataset.train, kept)
        (strategy,) = self.plan.strategies.values()
        return loop.Parts(
            pool=pool,
            classes=classes,
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
        )

    def _tests(self) -> Rule | None:
        """The rule that asks for test labels; it never ends the trial."""
        people = self.plan.settings.people
        return tests_wanted(people.test_labels, max(1, -(-people.retrain_after // 4)))

    def _sides(self, store: Store, trial: Trial) -> tuple[NDArray[np.intp], NDArray[np.intp], dict[str, int]]:
        """Positions of the items to train on, and of the test items in random order; and which came later."""
        position = {i: n for n, i in enumerate(self.dataset.train.ids)}
        records = store.items("ok")
        out = trial.left_out()
        if lost := [i for i in records if i not in position and records[i].split != "test" and i not in out]:
            named = [row.item for row in trial.labels() if row.item in set(lost)]
            if named:
                raise InvalidData(
                    f"{len(named)} labelled items are no longer in the data, the first {named[0]!r}; restore them, or "
                    "take them out of the run with withdraw"
                )
        tests = [r for i, r in records.items() if r.split == RESERVE and i in position and i not in out]
        tests.sort(key=lambda r: -(r.key or 0))
        train = [position[i] for i, r in records.items() if i in position and r.split == "train"]
        since = {i: r.since for i, r in records.items() if r.since is not None}
        apart = np.array([position[r.id] for r in tests], np.intp)
        return np.sort(np.array(train, np.intp)), apart, since


def tests_wanted(total: int, at_once: int) -> Rule | None:
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


def ready(
    dataset: Dataset, settings: Settings, scaling: Mapping[str, Any] | None, own_network: bool
) -> Dataset:
    """The data with the scaling of the run.

    Args:
        dataset: The data, as they were read.
        settings: The settings of the run.
        scaling: The scaling of the stored run; None for a new run.
        own_network: Whether the network is the user's own.

    Returns:
        The data.
    """
    standardise = settings.data.scaling == "standardise"
    return scaled(dataset, scaling, standardise=standardise, tokens=own_network)


def device_of(settings: Settings) -> str:
    """The device of a run.

    Args:
        settings: The settings of the run.

    Returns:
        Its name, such as "cpu".
    """
    return str(pick_device(settings.engine.device))
