"""Active learning on labelled data: runs every strategy with every seed and compares them."""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from threadpoolctl import threadpool_limits
from torch import nn

from baldur import data as data_sets
from baldur import report
from baldur.core.devices import pick_device
from baldur.data import Dataset
from baldur.data.arrays import refuse_other_rows
from baldur.data.cells import is_columns, is_frame, is_split
from baldur.data.labelling import refuse_names
from baldur.data.labels import rules_of
from baldur.data.scaling import spreads_of, uneven
from baldur.data.tables import from_columns
from baldur.data.text_files import are_texts, from_list
from baldur.data.understood import lines
from baldur.errors import DataNotFound, InvalidArgument, InvalidSettings, RunNotFound
from baldur.protocols import Learner, Strategy
from baldur.runs.cluster import Elsewhere, make_elsewhere
from baldur.runs.faults import Faults
from baldur.runs.folder import Settled, grow, open_run, settle
from baldur.runs.items import record_items
from baldur.runs.jobs import ROLE, Choice, choose_jobs, side_by_side
from baldur.runs.live import Live, in_notebook
from baldur.runs.meant import as_strategy
from baldur.runs.names import NetworkFactory, name_of
from baldur.runs.observer import Observer
from baldur.runs.pace import measure
from baldur.runs.plan import IN_MEMORY, Given, chosen_learner, make_plan
from baldur.runs.settings import DataSettings, Settings
from baldur.runs.trials import Prepared, go_on, prepare
from baldur.stopping import Criterion
from baldur.store import Store, Trial

if TYPE_CHECKING:
    import pandas as pd

_UNEVEN = (
    "the columns differ tenfold or more in scale, and a network learns badly from such columns; leave out "
    "--scaling none to standardise them"
)
_MOST_WAITS = 5  # waiting trials named in the message


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run. A notebook shows it as a table.

    Args:
        folder: The run's folder.
        state: "done", or "waiting" for labels.
        waiting: The missing answers, in words; empty if the run is done.
        summary: The table: labels to target, area under the curve, comparison with random.
    """

    folder: Path
    state: str
    waiting: str
    summary: report.Summary

    def __str__(self) -> str:
        return report.as_text(self.summary)

    def _repr_html_(self) -> str:
        return report.as_html(self.summary)


def run(
    data: "str | Path | Dataset | tuple[Any, Any] | torch.utils.data.Dataset[Any] | pd.DataFrame",
    out: str | Path,
    *,
    network: str | NetworkFactory | nn.Module | None = None,
    strategies: str | Strategy | Sequence[str | Strategy] | None = None,
    learner: str | Learner | Any = None,
    db: str | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Outcome:
    """Compare strategies on labelled data. If the folder holds an unfinished run, resume it.

    Args:
        data: The name of a data set, a path, a `Dataset`, a tuple (x, y) of arrays, of texts or of a data frame and
            labels, a data frame or Hugging Face `Dataset` with a column of labels, or a PyTorch data set of pairs.
        out: The run's folder.
        network: A name, a factory (shape, classes) -> module, or a module whose weights every fit starts from.
        strategies: One or several names or functions; see `protocols.Strategy`. A score function such as `acquire.bald`
            takes the items of the largest score. `strategy=` means the same.
        learner: A name, a learner, or a classifier of scikit-learn.
        db: The URL of a PostgreSQL database that keeps the run, as `postgresql://user@host/name`. By default, a new run
            is kept in its folder.
        observer: Receives the progress of the run. By default, a notebook or a terminal shows a progress bar.
        options: Options of `baldur run` with underscores: rounds, query_size, initial, seeds, draws, epochs, ... The
            other options have the values that are stored in the folder, or their defaults.

    Returns:
        The outcome.

    Raises:
        InvalidSettings: An option is unknown or not valid. The message names the nearest right one.
        SettingsChanged: The folder holds a run with other settings.
        InvalidData: The data cannot be used.
    """
    data = str(data) if isinstance(data, Path) else data
    if not isinstance(db, str | None):
        raise InvalidArgument(f"db must be the URL of a database as a text, not {db!r}")
    if "strategy" in options:
        if strategies is not None:
            raise InvalidSettings("strategy and strategies are the same option; give only one of them")
        strategies = options.pop("strategy")
    told: dict[str, Any] = dict(options)
    told["data"] = data if isinstance(data, str) else IN_MEMORY
    chosen = [] if strategies is None else [strategies] if isinstance(strategies, str) else strategies
    several: Sequence[str | Strategy] = chosen if isinstance(chosen, Sequence) else [chosen]
    if wrong := [s for s in list[Any](several) if not isinstance(s, str) and not callable(s)]:
        raise InvalidArgument(f"a strategy must be a name or a function, not {wrong[0]!r}")
    if isinstance(learner, type):
        raise InvalidArgument(
            f"give a learner, not the class {learner.__name__}; call {learner.__name__}(...) first"
        )
    if strategies is not None:
        told["strategies"] = _distinct([s if isinstance(s, str) else name_of(s) for s in several])
    for option, value in (("network", network), ("learner", learner)):
        if value is not None:
            told[option] = value if isinstance(value, str) else name_of(value)
    if "stop" in told:
        stop = told["stop"]
        if not isinstance(stop, str | Criterion | Sequence):
            raise InvalidArgument(f"stop must be a criterion, a name or a list of them, not {stop!r}")
        told["stop"] = [str(c) for c in ([stop] if isinstance(stop, str | Criterion) else stop)]
    settled = settle(told, Path(out), db)
    given = Given(
        dataset=None if isinstance(data, str) else _dataset(data, settled.settings.data),
        network=None if isinstance(network, str) else network,
        learner=None if isinstance(learner, str) else learner,
        strategies={name_of(s): as_strategy(s, name_of(s)) for s in several if not isinstance(s, str)},
    )
    with nullcontext(observer) if observer is not None else _shown(settled, Path(out)) as told_of:
        return start(settled, Path(out), told_of, given)


def _moved(*_: Any, **__: Any) -> None:
    raise InvalidArgument(
        "baldur.run is itself the function now; write baldur.run(...) instead of run.run(...)"
    )


vars(run)["run"] = _moved  # `from baldur import run; run.run(...)` worked in earlier versions


@contextmanager
def _shown(settled: Settled, out: Path) -> Iterator[Observer]:
    """Show the progress of the run, in a notebook or on a terminal."""
    console = Console(stderr=True)
    if not (console.is_terminal or in_notebook()):
        yield Observer()
        return
    with live(settled, out, console).showing() as observer:
        yield observer


def live(settled: Settled, out: Path, console: Console) -> Live:
    """The display of a run.

    Args:
        settled: The settings of the run.
        out: The run's folder.
        console: The console for the display, outside of notebooks.

    Returns:
        The display; enter its context `showing()`.
    """
    compare = settled.settings.compare
    points = len(compare.strategies) * compare.seeds * (compare.rounds + 1)
    return Live(console, points, _measured(out, settled.db), in_notebook())


def _measured(folder: Path, db: str | None) -> int:
    """The number of points that the learning curves already have."""
    try:
        with Store.open(folder, url=db) as store:
            return len({(m.strategy, m.seed, m.round) for m in store.metrics()})
    except RunNotFound:
        return 0


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise InvalidSettings(
            f"each strategy needs a name of its own, but two of these are the same: {', '.join(names)}"
        )
    return names


def _dataset(data: Any, settings: DataSettings) -> Dataset:
    if isinstance(data, Dataset):
        return data
    rules = rules_of(settings.missing, settings.task, settings.reading, columns=settings.by_name())
    x, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if is_frame(x) or is_split(x) or (is_columns(x) and (y is not None or "label" in rules.columns.facts(x))):
        refuse_other_rows(x, y)
        return from_columns(
            IN_MEMORY,
            x,
            y,
            test_fraction=settings.test_fraction,
            rules=rules,
            standardise=settings.scaling == "standardise",
        )
    refuse_names(rules.columns)
    if isinstance(data, dict):
        raise InvalidArgument(
            "expected a tuple (x, y), a data frame or a data set, not a dict; give (data['x'], data['y'])"
        )
    if isinstance(data, tuple) and len(data) != 2:
        raise InvalidArgument(f"expected a tuple (x, y), not one of {len(data)} values")
    if isinstance(data, tuple):
        refuse_other_rows(*data)
    if y is not None and are_texts(x):
        return from_list(IN_MEMORY, x, y, test_fraction=settings.test_fraction, rules=rules)
    pool, labels = (
        (data_sets.from_arrays(data[0]), data[1]) if isinstance(data, tuple) else data_sets.from_dataset(data)
    )
    return data_sets.in_memory(
        pool,
        labels,
        test_fraction=settings.test_fraction,
        images=True,
        reading=settings.reading,
        missing=settings.missing,
        task=settings.task,
    )


def start(settled: Settled, out: Path, observer: Observer, given: Given | None = None) -> Outcome:
    """Start a run, or resume the run in the folder.

    Args:
        settled: The settings of the run; see `folder.settle`.
        out: The run's folder.
        observer: Receives the progress.
        given: Objects that were passed in Python.

    Returns:
        The outcome.

    Raises:
        RunBusy: Another process works on the run.
        SettingsChanged: The run was started with other settings.
        ItemChanged: The run was started with other data.
    """
    settings, given = settled.settings, given or Given()
    plan = make_plan(settings, given)
    elsewhere = make_elsewhere(settings, out)
    spread = None
    if elsewhere is not None:  # with a warm start, members are fitted one after the other
        spread = (lambda fitting: fitting) if settings.learn.warm_start else elsewhere.spread
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(settled.threads or threads)
        try:
            prepared = prepare(plan, out, observer, settled.known, spread, settled.scaling)
        except DataNotFound as error:
            if settled.stored is None:
                raise
            raise DataNotFound(
                f"{error}. If the data of this run were moved, give their new place: baldur run NEW --out {out}"
            ) from error
        choice = choose_jobs(
            prepared.plan, prepared.dataset, _left(settings, out, settled.db), settled.threads
        )
        settings = settings.but(threads=choice.threads)
        torch.set_num_threads(choice.threads)
        with threadpool_limits(choice.threads, user_api="blas"):
            return _run(settings, settled, out, observer, given, prepared, choice, elsewhere)
    finally:
        torch.set_num_threads(threads)


def _left(settings: Settings, out: Path, db: str | None) -> int:
    """The number of unfinished trials."""
    compare = settings.compare
    total = compare.seeds * len(compare.strategies)
    done = 0
    with suppress(RunNotFound), Store.open(out, url=db) as store:
        done = sum(trial.state == "done" for trial in store.trials())
    return max(total - done, 0) or total


def _run(
    settings: Settings,
    settled: Settled,
    out: Path,
    observer: Observer,
    given: Given,
    prepared: Prepared,
    choice: Choice,
    elsewhere: Elsewhere | None,
) -> Outcome:
    dataset = prepared.dataset
    cluster = nullcontext() if elsewhere is None else elsewhere.cluster
    with cluster, open_run(out, settings, dataset, observer, settled.db) as store, store.lock("trainer"):
        store.wait_for(ROLE, observer.message)  # the jobs of a killed parent end by themselves
        grow(store, settings)
        store.sweep()
        store.record_start(environment(settings, choice.jobs))
        gone = store.items("quarantined")
        record_items(store, dataset)
        for line in lines(dataset):
            observer.message(line)
        if said := chosen_learner(prepared.plan, dataset):
            observer.message(said)
        if settings.data.scaling == "none" and uneven(spreads_of(dataset)):
            observer.message(_UNEVEN)
        for name, reason in dataset.quarantined[:5]:
            before = gone[name].reason if name in gone else None
            observer.message(f"left out: {name}: {before or reason}")
        if (more := len(dataset.quarantined) - 5) > 0:
            observer.message(f"... and {more} more items, named in the report")
        if said := prepared.said():
            observer.message(said)
        compare = settings.compare
        seeds = range(compare.first_seed, compare.first_seed + compare.seeds)
        trials = (store.trial(name, seed) for seed in seeds for name in compare.strategies)
        waits = None
        if said := choice.said():
            observer.message(said)
        done = sum(trial.state == "done" for trial in store.trials())
        if left := compare.seeds * len(compare.strategies) - done:
            pace = measure(prepared.plan, dataset, prepared.passes, observer)
            most = -(
                -max(len(prepared.pool) - compare.initial, 0) // compare.query_size
            )  # then the pool is empty
            rounds = min(compare.rounds, most) + 1
            if pace is not None and (said := pace.said(rounds, left, choice.jobs)):
                observer.message(said)
        if choice.jobs > 1:
            unfinished = [(trial.strategy, trial.seed) for trial in trials if trial.state != "done"]
            try:
                scaling = dataset.preprocessing.get("scaling")
                waits = side_by_side(
                    settings, given, store, settled.known, scaling, unfinished, choice, observer
                )
            except PicklingError as error:
                observer.message(f"trials run one after the other, in this process: {error}")
                trials = (store.trial(*key) for key in unfinished)
        if waits is None:
            waits = _in_turn(trials, prepared, store, observer, elsewhere)
        report.write_curves(store, out / "curves.csv")
        report.write_html([store], out / "report.html", compare.targets)
        summary = report.summarise([store], compare.targets)
    more_waits = [f"and {len(waits) - _MOST_WAITS} more"] if len(waits) > _MOST_WAITS else []
    waiting = "; ".join(waits[:_MOST_WAITS] + more_waits)
    return Outcome(out, "waiting" if waiting else "done", waiting, summary)


def _in_turn(
    trials: Iterable[Trial],
    prepared: Prepared,
    store: Store,
    observer: Observer,
    elsewhere: Elsewhere | None,
) -> list[str]:
    """Advance trials in this process or on a cluster. Returns the missing answers, in words."""
    faults = Faults(store, observer.message)

    def go(trial: Trial) -> str:
        made = partial(prepared.parts, trial.strategy, trial.seed)
        parts = made() if elsewhere is None else elsewhere.parts(trial, made)
        return go_on(trial, parts, prepared.plan, faults)

    said = map(go, trials) if elsewhere is None else elsewhere.side_by_side(list(trials), go)
    return [words for words in said if words]


def environment(settings: Settings, jobs: int) -> Mapping[str, Any]:
    """The versions, threads and hardware of this process, for the record of a run.

    Args:
        settings: The settings of the run.
        jobs: The number of trials side by side.

    Returns:
        Values that JSON can hold.
    """
    versions = {"baldur": version("baldur"), "python": platform.python_version()}
    versions |= {"torch": torch.__version__, "numpy": np.__version__}
    device = pick_device(settings.engine.device)
    cuda = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if cuda else platform.processor() or platform.machine()
    about = {"versions": versions, "threads": torch.get_num_threads(), "device": f"{device} ({name})"}
    return about | {"jobs": jobs}
