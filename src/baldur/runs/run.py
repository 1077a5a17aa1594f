"""The one place where the parts are put together: settings become a pool, a learner, strategies and an oracle."""

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import baldur
from baldur import data as data_sets
from baldur import loop, report
from baldur.core.devices import pick_device
from baldur.data import Dataset
from baldur.errors import (
    BaldurError,
    InvalidSettings,
)
from baldur.protocols import Labelled, Learner, Strategy, pictures_of
from baldur.runs import settings as settings_
from baldur.runs.answering import make_oracle
from baldur.runs.cluster import Elsewhere, Place, make_elsewhere
from baldur.runs.exported import Model, load_model
from baldur.runs.faults import Faults
from baldur.runs.folder import as_stored, grow, known_files, open_run
from baldur.runs.items import check_data, initial, picture, validation_part
from baldur.runs.learning import Own, make_learner
from baldur.runs.measuring import here, make_stopping, make_trunks, measure, scorer
from baldur.runs.names import (
    NetworkFactory,
    canonical,
    criterion_named,
    fitting_named,
    look_here,
    strategy_named,
)
from baldur.runs.observer import Observer
from baldur.runs.settings import Settings
from baldur.stopping import Criterion
from baldur.store import ItemRecord, Store, Trial

__all__ = ["Model", "NetworkFactory", "Observer", "Outcome", "Own", "load_model", "run", "start"]


IN_MEMORY = "in memory"
"""What settings say of data that were handed over in Python."""

_MOST_WAITS = 5  # how many trials that wait are named


@dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Args:
        folder: The run's folder.
        state: "done", or "waiting" for labels.
        waiting: What it waits for, in words; empty when it is done.
        summary: The table: labels to target, area under the curve, comparison with random.
    """

    folder: Path
    state: str
    waiting: str
    summary: report.Summary

    def __str__(self) -> str:
        return report.as_text(self.summary)


def run(
    data: str | Path | Dataset | tuple[Any, Any] | torch.utils.data.Dataset[Any],
    out: str | Path,
    *,
    network: str | NetworkFactory | nn.Module = "auto",
    strategies: Sequence[str | Strategy] = ("random", "bald"),
    learner: str | Learner = "supervised",
    observer: Observer | None = None,
    **options: Any,
) -> Outcome:
    """Do active learning: every strategy with every seed. Started again, it goes on where it stopped.

    Args:
        data: The name of a data set, a path, a `Dataset`, arrays (x, y), or a PyTorch data set of such pairs.
        out: The run's folder.
        network: A name, a factory (shape, classes) -> module, or a module whose weights every fit starts from.
        strategies: Names, or functions as `protocols.Strategy` has them.
        learner: A name, or a learner.
        observer: Told what is going on.
        options: Other fields of `Settings`: rounds, query_size, initial, seeds, draws, epochs, ...

    Returns:
        What it came to.

    Raises:
        InvalidSettings: An option is unknown or out of its domain.
        SettingsChanged: The folder holds a run with other settings.
        InvalidData: The data cannot be used.
    """
    data = str(data) if isinstance(data, Path) else data
    names = [s if isinstance(s, str) else _name(s) for s in strategies]
    if len(set(names)) < len(names):
        raise InvalidSettings(
            f"two strategies have the same name, so their trials could not be told apart: {names}"
        )
    if "stop" in options:
        stop = options["stop"]
        options["stop"] = [str(c) for c in ([stop] if isinstance(stop, str | Criterion) else stop)]
    settings = settings_.create(
        data=data if isinstance(data, str) else IN_MEMORY,
        network=network if isinstance(network, str) else _name(network),
        learner=learner if isinstance(learner, str) else _name(learner),
        strategies=names,
        **options,
    )
    own = Own(
        dataset=None if isinstance(data, str) else _dataset(data, settings),
        network=None if isinstance(network, str) else network,
        learner=None if isinstance(learner, str) else learner,
        strategies={_name(s): s for s in strategies if not isinstance(s, str)},
    )
    return start(settings, Path(out), observer or Observer(), own)


def _name(thing: Any) -> str:
    """How settings name an object that was handed over in Python; options that are values stand in brackets."""
    options: dict[str, Any] = {}
    while isinstance(thing, partial):
        options, thing = {**thing.keywords, **options}, thing.func
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    told = (f"{key}={v!r}" for key, v in options.items() if isinstance(v, bool | int | float | str))
    brackets = ", ".join(told)
    return canonical(f"{kind.__module__}:{kind.__qualname__}") + (f"({brackets})" if brackets else "")


def _dataset(data: Any, settings: Settings) -> Dataset:
    if isinstance(data, Dataset):
        return data
    pool, labels = (
        (data_sets.from_arrays(data[0]), data[1]) if isinstance(data, tuple) else data_sets.from_dataset(data)
    )
    return data_sets.in_memory(pool, labels, test_fraction=settings.test_fraction)


def start(settings: Settings, out: Path, observer: Observer, own: Own | None = None) -> Outcome:
    """Begin a run, or go on with the one in the folder.

    Args:
        settings: What it is told.
        out: The run's folder.
        observer: Told what is going on.
        own: What was handed over in Python.

    Returns:
        What it came to.

    Raises:
        SettingsChanged: The folder holds a run with other settings.
    """
    own = own or Own()
    threads = torch.get_num_threads()
    try:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        return _start(settings, out, observer, own)
    finally:
        torch.set_num_threads(threads)


def _start(settings: Settings, out: Path, observer: Observer, own: Own) -> Outcome:
    settings = as_stored(settings, out)
    chosen = {
        name: own.strategies.get(canonical(name)) or strategy_named(name) for name in settings.strategies
    }
    criterion = criterion_named(settings.stop)
    fitting_named(settings.posterior)  # a wrong name is said before data are read
    known = known_files(settings, out)
    dataset = own.dataset or _load(settings, known, observer)
    check_data(settings, dataset)
    pool, labels, validation = validation_part(settings, dataset)
    elsewhere = make_elsewhere(settings, out)
    learner = own.learner or _learner(settings, dataset, own, validation, observer, out, elsewhere)
    oracle = make_oracle(settings, out, dataset, pool, labels)
    stopping = partial(make_stopping, settings, criterion, learner, dataset, validation, observer)
    stopping()  # what it cannot do is said now
    trunks = make_trunks(settings, dataset, observer)
    cluster = nullcontext() if elsewhere is None else elsewhere.cluster
    with cluster, open_run(out, settings, dataset, observer) as store, store.lock("trainer"):
        grow(store, settings)
        store.sweep()
        store.record_start(_environment(settings))
        if dataset.records or dataset.quarantined:
            gone = store.items("quarantined")
            store.record_items(record for record in _records(dataset) if record.id not in gone)
        for name, reason in dataset.quarantined[:5]:
            observer.message(f"left out: {name}: {reason}")
        if (more := len(dataset.quarantined) - 5) > 0:
            observer.message(f"... and {more} more unreadable items, named in the report")

        def parts(name: str, seed: int, place: Place = here) -> loop.Parts:
            return loop.Parts(
                pool=pool,
                classes=dataset.classes,
                learner=learner,
                strategy=chosen[name],
                oracle=oracle(seed),
                scorer=lambda draws: place(scorer(settings, observer, draws, trunks=trunks)),
                measure=partial(measure, settings, dataset, observer, trunks=trunks, place=place),
                initial=partial(initial, settings, pool, labels),
                picture=partial(picture, dataset, pool),
                generated=partial(pictures_of, learner),
                observe=observer.event,
                stopping=stopping(place),
            )

        waiting = _trials(settings, store, parts, elsewhere, Faults(store, observer.message))
        report.write_curves(store, out / "curves.csv")
        report.write_html([store], out / "report.html", settings.targets)
        summary = report.summarise([store], settings.targets)
    return Outcome(out, "waiting" if waiting else "done", waiting, summary)


def _learner(
    settings: Settings,
    dataset: Dataset,
    own: Own,
    validation: Labelled | None,
    observer: Observer,
    out: Path,
    elsewhere: Elsewhere | None,
) -> Learner:
    cache = (out / "encoders").absolute()
    if elsewhere is None:
        return make_learner(settings, dataset, own, validation, observer, cache)
    # A learner that travels takes no display with it. With a warm start members are fitted in turn.
    spread = (lambda fitting: fitting) if settings.warm_start else elsewhere.spread
    return make_learner(settings, dataset, own, validation, Observer(), cache, spread)


def _load(
    settings: Settings, known: Mapping[str, tuple[str | None, int, int]], observer: Observer
) -> Dataset:
    if settings.data == IN_MEMORY:
        raise InvalidSettings("this run's data were given in Python: to go on, call run.run with them again")
    look_here()
    return data_sets.load(
        settings.data,
        data_dir=settings.data_dir,
        image_size=settings.image_size,
        test_fraction=settings.test_fraction,
        encoder=settings.encoder,
        device=str(pick_device(settings.device)),
        progress=observer.detail,
        known=known,
    )


def _environment(settings: Settings) -> dict[str, Any]:
    versions = {"baldur": baldur.__version__, "python": platform.python_version()}
    versions |= {"torch": torch.__version__, "numpy": np.__version__}
    device = pick_device(settings.device)
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine()
    return {"versions": versions, "threads": torch.get_num_threads(), "device": f"{device} ({name})"}


def _records(dataset: Dataset) -> Iterable[ItemRecord]:
    for position, r in enumerate(dataset.records):
        yield ItemRecord(r.id, position, r.path, r.group, r.split, r.sha256, r.size, r.mtime_ns)
    for i, reason in dataset.quarantined:
        yield ItemRecord(i, state="quarantined", reason=reason)


def _trials(
    settings: Settings,
    store: Store,
    parts: Callable[..., loop.Parts],
    elsewhere: Elsewhere | None,
    faults: Faults,
) -> str:
    """Every strategy with every seed, the strategies of a seed side by side; what it waits for, if it does."""
    seeds = range(settings.first_seed, settings.first_seed + settings.seeds)
    budget = loop.Budget(settings.rounds, settings.query_size, settings.candidates, settings.until)

    def go(trial: Trial) -> str:
        if trial.state == "done":
            return ""
        made = partial(parts, trial.strategy, trial.seed)
        mine = made() if elsewhere is None else elsewhere.parts(trial, made)
        if _advance(trial, mine, budget, faults) != "waiting":
            return ""
        return f"{trial.reason} of {trial.strategy}, seed {trial.seed}"

    trials = (store.trial(name, seed) for seed in seeds for name in settings.strategies)
    said = map(go, trials) if elsewhere is None else elsewhere.side_by_side(list(trials), go)
    waits = [words for words in said if words]
    more = [f"and {len(waits) - _MOST_WAITS} more"] if len(waits) > _MOST_WAITS else []
    return "; ".join(waits[:_MOST_WAITS] + more)


def _advance(trial: Trial, parts: loop.Parts, budget: loop.Budget, faults: Faults) -> str:
    try:
        return faults.advance(trial, parts, budget)
    except BaldurError as error:
        trial.finish("failed", str(error))
        raise
