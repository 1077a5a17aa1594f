"""Begins a run in which people label, or goes on with one, and trains its model in this process."""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from baldur.core.devices import pick_device
from baldur.core.trees import map_tree
from baldur.data import Dataset, load_for_labelling
from baldur.data.classes import class_names
from baldur.data.understood import lines
from baldur.errors import (
    InvalidArgument,
    InvalidSettings,
    ItemChanged,
    RunBusy,
    RunNotFound,
    SettingsChanged,
)
from baldur.runs import settings as settings_
from baldur.runs.asking import again, user
from baldur.runs.folder import pool_fingerprint, same_items
from baldur.runs.items import item_shape
from baldur.runs.labelling import Source, Training, settings_for_people
from baldur.runs.live import Live, in_notebook
from baldur.runs.meant import as_strategy
from baldur.runs.measuring import make_passes
from baldur.runs.names import name_of
from baldur.runs.observer import Observer
from baldur.runs.pace import measure
from baldur.runs.plan import IN_MEMORY, Given, Plan, chosen_learner, for_data, make_plan
from baldur.runs.registering import first_requests, frontier_of, include, register
from baldur.runs.run import environment
from baldur.runs.settings import Settings
from baldur.store import Store, Trial

_PATIENCE = 60.0
"""Seconds to wait for another process that adds items."""

_WHOLE = re.compile(r"-?\d+")


@dataclass
class Trainer:
    """Trains the model of a run in which people label, in this process. The data are read when they are needed first.

    Args:
        source: The objects that were passed in Python.
        observer: Receives the progress; None shows it in a notebook or on a terminal.
    """

    source: Source
    observer: Observer | None = None
    _training: Training | None = field(default=None, repr=False)
    _positions: dict[str, int] = field(default_factory=dict, repr=False)

    def advance(self, store: Store, trial: Trial) -> None:
        """Train, measure and choose as far as the labels allow.

        Args:
            store: The run. The caller holds the lock "trainer".
            trial: Its trial.
        """
        with self._shown() as observer:
            store.sweep()
            store.record_start(environment(self._ready(store, observer).plan.settings, 1))
            while self._ready(store, observer).advance(store, trial) == "changed":
                pass

    def add(self, store: Store, places: Sequence[Any], by: str) -> list[str]:
        """Add items to the pool; see `Run.add`.

        Args:
            store: The run.
            places: Paths or objects with the new items; none to look for new items where the data are.
            by: Who adds them.

        Returns:
            The ids of the new items.
        """
        with _one_at_a_time(store):
            return self._add(store, places, by)

    def _add(self, store: Store, places: Sequence[Any], by: str) -> list[str]:
        settings, source = settings_.from_toml(store.read_settings()), self.source
        objects = tuple(place for place in places if not isinstance(place, str | Path))
        paths = [
            str(Path(place).absolute()) if isinstance(place, str | Path) else IN_MEMORY for place in places
        ]
        settings = settings.but(
            added=[*settings.people.added, *paths], data=source.path or settings.data.data
        )
        self.source, self._training = replace(source, added=(*source.added, *objects)), None
        (trial,) = store.trials()
        try:
            with self._shown() as observer:
                training = self._ready(store, observer, settings)
        except BaseException:
            self.source, self._training = source, None
            raise
        # Settings come first, so that a call after an interruption finds what is missing.
        store.change_settings(settings_.to_toml(settings))
        new = include(store, trial, training.dataset, by)
        training.added = trial.added()
        return new

    def inputs(self, ids: Sequence[str]) -> dict[str, Any]:
        """The inputs of items, if the data were read already.

        Args:
            ids: The items.

        Returns:
            Inputs by id.
        """
        if self._training is None:
            return {}
        pool = self._training.dataset.train
        if not self._positions:
            self._positions = {i: n for n, i in enumerate(pool.ids)}
        found = {}
        for i in ids:
            if i in self._positions:
                ((_, x),) = pool.batches(np.array([self._positions[i]]), 1)
                found[i] = map_tree(lambda leaf: leaf[0], x)
        return found

    def _ready(self, store: Store, observer: Observer, settings: Settings | None = None) -> Training:
        added = max((trial.added() for trial in store.trials()), default=0)
        if self._training is None or added > self._training.added:
            settings = settings or settings_.from_toml(store.read_settings())
            plan = make_plan(settings, self.source.given)
            dataset = read(settings, self.source, observer, store, plan)
            cache = (store.folder / "encoders").absolute()
            plan = for_data(plan, dataset)
            self._training = Training(plan, dataset, observer, cache, settings.engine.threads, added)
            self._positions = {}
        self._training.observer = observer
        return self._training

    @contextmanager
    def _shown(self) -> Iterator[Observer]:
        if self.observer is not None:
            yield self.observer
            return
        console = Console(stderr=True)
        if not (console.is_terminal or in_notebook()):
            yield Observer()
            return
        with Live(console, 0, 0, in_notebook()).showing() as observer:
            yield observer


@contextmanager
def _one_at_a_time(store: Store) -> Iterator[None]:
    """Wait until no other process adds items: each addition has a number of its own."""
    with ExitStack() as stack:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                stack.enter_context(store.lock("adder"))
                break
            except RunBusy:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield


def opened(
    folder: Path,
    data: Any,
    classes: Iterable[Any] | None,
    added: Sequence[Any],
    told: Mapping[str, Any],
    url: str | None,
    observer: Observer | None,
) -> Trainer:
    """Begin a run in which people label, or check that it goes on with the same settings and data.

    Args:
        folder: The run's folder.
        data: The data; None for those that the run began with.
        classes: The names of the classes; None for those of the run or of the data.
        added: Objects that were added to the data of the run.
        told: The given options, by flat name; parts may be objects.
        url: Of a database server; None for a database in the folder, or the one that the run has.
        observer: Receives the progress.

    Returns:
        The trainer of the run.

    Raises:
        RunNotFound: There is no run in the folder, and no data are given.
        SettingsChanged: The run was begun with other settings or classes.
        InvalidArgument: The run compares strategies.
    """
    given, named = _apart(told)
    trainer = Trainer(Source(data, classes, tuple(added), given), observer)
    try:
        store = Store.open(folder, url=url)
    except RunNotFound as error:
        if data is None:
            raise RunNotFound(f"{error}. To label data, give them: {again(folder)}") from None
        with trainer._shown() as shown:
            begin(folder, trainer.source, named, shown, url)
        return trainer
    with store:
        if store.seed is None:
            raise InvalidArgument(
                f"the run in {folder} compares strategies; open it with baldur.open({str(folder)!r}) alone, or give "
                "another folder to label data"
            )
        _check(store, trainer.source, named)
        _go_on(store, trainer)
    return trainer


def begin(folder: Path, source: Source, told: Mapping[str, Any], observer: Observer, url: str | None) -> None:
    """Begin a run in which people label.

    Args:
        folder: The run's folder.
        source: The objects that were passed in Python.
        told: The given options, by flat name.
        observer: Receives the progress.
        url: Of a database server; None for a database in the folder.

    Raises:
        InvalidSettings: An option is unknown or not valid.
        InvalidData: The data cannot be used.
    """
    settings = settings_for_people(dict(told) | {"data": source.path or IN_MEMORY})
    settings = settings.but(threads=settings.engine.threads or torch.get_num_threads())
    plan = make_plan(settings, source.given)
    dataset = read(settings, source, observer, plan=plan)
    for line in lines(dataset):
        observer.message(line)
    if chosen := chosen_learner(plan, dataset):
        observer.message(chosen)
    plan = for_data(plan, dataset)
    seed = settings.compare.first_seed
    share = settings.compare.reserve if settings.people.test_labels else 0.0
    shape, n = list(item_shape(dataset.train)), len(dataset.train)
    facts = {"pool": n, "fingerprint": pool_fingerprint(dataset.train)}
    store = Store.create(
        folder,
        settings=settings_.to_toml(settings),
        classes=dataset.classes,
        preprocessing={**dataset.preprocessing, "input_shape": shape, "facts": facts},
        seed=seed,
        frontier=frontier_of(seed, dataset.train, share),
        url=url,
    )
    with store, store.lock("trainer"):
        finish_beginning(store, dataset, settings)
        passes = make_passes(settings.score, settings.engine.device, dataset, observer)
        pace = measure(plan, dataset, passes, observer)
        if pace is not None and (said := pace.said(1, 1, 1)):
            observer.message(said)


def finish_beginning(store: Store, dataset: Dataset, settings: Settings) -> None:
    """Register the items of a new run and ask for the first ones. It may be called again after an interruption.

    Args:
        store: The run. The caller holds the lock "trainer".
        dataset: The data.
        settings: The settings of the run.
    """
    (strategy,) = settings.compare.strategies
    trial = store.trial(strategy, settings.compare.first_seed)
    register(store, trial, dataset)
    trial.begin(first_requests(store, trial, settings.compare.initial))
    trial.finish("waiting", "for the first labels")


def read(
    settings: Settings,
    source: Source,
    observer: Observer,
    store: Store | None = None,
    plan: Plan | None = None,
) -> Dataset:
    """Read the data of a run: as it began, or for a new run.

    Args:
        settings: The settings of the run.
        source: The objects that were passed in Python.
        observer: Receives the progress.
        store: The run; None for a new one.
        plan: The plan of the run, which has its encoder.

    Returns:
        The data. Old items keep their places, and new items follow them.

    Raises:
        InvalidData: The data cannot be used.
        ItemChanged: An item of the run is missing, or its content changed.
        InvalidSettings: The data of the run were passed in Python, and are not given now.
    """
    if source.data is None and settings.data.data == IN_MEMORY:
        where = "the run" if store is None else str(store.folder)
        raise InvalidSettings(
            f"the data of {where} were passed in Python; pass them again: baldur.open(FOLDER, data=...)"
        )
    told = settings.data
    options: dict[str, Any] = {
        "data_dir": told.data_dir,
        "image_size": told.image_size,
        "layout": told.layout,
    }
    options |= {"missing": told.missing, "task": told.task, "standardise": told.scaling == "standardise"}
    options |= told.by_name()._asdict()
    options |= {"encoder": None if plan is None else plan.encoder, "progress": observer.detail}
    options["device"] = str(pick_device(settings.engine.device))
    what = told.data if source.data is None else source.data
    if store is None:
        return load_for_labelling(what, classes=source.classes, **options)
    out = _deleted(store)
    options |= {"known": {i: facts for i, facts in store.files().items() if i not in out}}
    options |= {"kept": store.preprocessing, "classes": _names(store)}
    order = [i for i in store.pool_ids() if i not in out]
    try:
        dataset = load_for_labelling(what, order=order, added=_added(settings, source, store), **options)
    except ItemChanged as error:
        hint = f"Or take it out: baldur.open({str(store.folder)!r}).withdraw(ID)"
        raise ItemChanged(f"{error}. {hint}") from error
    _refuse_changed(store, dataset, out)
    return dataset


def _deleted(store: Store) -> set[str]:
    """The items that left the pool, and whose files were deleted."""
    out = set[str]().union(*(trial.left_out() for trial in store.trials()))
    records = store.some_items(sorted(out)).values()
    return {r.id for r in records if r.size is not None and r.path and not Path(r.path).exists()}


def _names(store: Store) -> tuple[str, ...]:
    """The classes that the data may name. If all were numbers, they stay numbers, so that no label is a position."""
    first = store.first_classes
    numbers = all(map(_WHOLE.fullmatch, first))
    return tuple(n for n in store.all_classes() if n in first or not numbers or _WHOLE.fullmatch(n))


def _added(settings: Settings, source: Source, store: Store) -> list[Any]:
    """The places and objects that were added to the data, in the order of addition."""
    objects, places = list(source.added), list[Any]()
    for place in settings.people.added:
        if place == IN_MEMORY and not objects:
            raise InvalidSettings(
                f"objects in Python were added to the run in {store.folder}; pass them again: "
                "baldur.open(FOLDER, data=..., added=[...])"
            )
        places.append(objects.pop(0) if place == IN_MEMORY else place)
    return places


def _refuse_changed(store: Store, dataset: Dataset, out: Collection[str]) -> None:
    """Refuse data in which items have another content than when the run began."""
    facts = store.preprocessing["facts"]
    begun = store.pool_ids()[: facts["pool"]]
    if len(begun) < facts["pool"]:  # a beginning that was interrupted
        begun = list(dataset.train.ids[: facts["pool"]])
    if not same_items(facts["fingerprint"], begun, dataset.train, {*out, *store.items("quarantined")}):
        raise ItemChanged(
            f"the items are not what they were when the run in {store.folder} began; give the same data as before, "
            "wherever they are, with new items after the old ones if there are any"
        )


def _go_on(store: Store, trainer: Trainer) -> None:
    """Finish a beginning that was interrupted, and take in what is new in data that are given again."""
    trials = store.trials()
    begun = bool(trials) and trials[0].latest() is not None
    if begun and trainer.source.data is None:
        return
    if not begun:
        with trainer._shown() as observer, store.lock("trainer"):
            training = trainer._ready(store, observer)
            finish_beginning(store, training.dataset, training.plan.settings)
        return
    new = trainer.add(store, (), user())
    if new:
        with trainer._shown() as observer:
            observer.message(f"{len(new)} new items were added to the run, the first {new[0]!r}")


def _apart(told: Mapping[str, Any]) -> tuple[Given, dict[str, Any]]:
    """Objects that stand for names, and the options with their names."""
    named = dict(told)
    network, learner, strategy = (named.get(name) for name in ("network", "learner", "strategies"))
    if isinstance(learner, type):
        raise InvalidArgument(
            f"give a learner, not the class {learner.__name__}; call {learner.__name__}(...) first"
        )
    strategies = {}
    if strategy is not None and not isinstance(strategy, str | list | tuple):
        if not callable(strategy):
            raise InvalidArgument(f"a strategy must be a name or a function, not {strategy!r}")
        strategies = {name_of(strategy): as_strategy(strategy, name_of(strategy))}
        named["strategies"] = name_of(strategy)
    for option, value in (("network", network), ("learner", learner)):
        if value is not None and not isinstance(value, str):
            named[option] = name_of(value)
    return Given(
        network=None if isinstance(network, str) else network,
        learner=None if isinstance(learner, str) else learner,
        strategies=strategies,
    ), named


def _check(store: Store, source: Source, told: Mapping[str, Any]) -> None:
    """Refuse other settings or classes than those of the run."""
    missing = settings_.from_toml(store.settings).data.missing
    given = None if source.classes is None else class_names(source.classes, missing)
    if given is not None and set(given) not in (set(store.classes), set(store.first_classes)):
        raise SettingsChanged(
            f"the run in {store.folder} has the classes {', '.join(store.classes)}, not "
            f"{', '.join(given)}; leave out classes=, and change them with add_class, rename_class "
            "or merge_classes"
        )
    stored = settings_.from_toml(store.settings).flat()
    fresh = settings_for_people(told).flat()
    named = settings_.canonical_names(told)
    changed = {name: (stored[name], fresh[name]) for name in named if stored[name] != fresh[name]}
    if changed:
        changes = "; ".join(f"{name} was {old!r} and is now {new!r}" for name, (old, new) in changed.items())
        raise SettingsChanged(
            f"the run in {store.folder} has other settings: {changes}. Leave these out to go on with it, or give "
            "another folder for a new run"
        )
