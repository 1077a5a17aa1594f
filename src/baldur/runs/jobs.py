"""Trials side by side: each job is a process that takes trials from the parent until none is left.

A job opens the store itself, and holds its own lock while it works. It ends when the connection to the parent closes,
so no job outlives a killed parent. Each trial gives the same results as in one process with as many threads.
"""

import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from secrets import token_bytes
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import nn

from baldur.core.devices import pick_device
from baldur.core.trees import map_tree
from baldur.data import Dataset
from baldur.errors import BaldurError, InvalidArgument, InvalidSettings, JobFailed
from baldur.runs.faults import Faults
from baldur.runs.items import item_shape
from baldur.runs.observer import Observer
from baldur.runs.plan import Given, Plan, make_plan
from baldur.runs.settings import Settings
from baldur.runs.trials import Known, go_on, prepare
from baldur.store import Store

ROLE = "job"
"""The jobs of a run hold the locks "job-0", "job-1", ..."""

_FEW_STEPS = 20_000
"""With fewer training steps, starting processes takes longer than they save: it takes some seconds."""

_FEW_WEIGHTS = 200_000
"""With fewer weights, a step takes longer on two threads than on one: measured for all named networks."""

_ASKED = "as --jobs says"
_SHORT = "the trials are too short for several processes to save time"
_ONE = "only one trial is left"

_FINISHED = "finished"
"""The last message of a parent to its jobs. Without it a closed connection means that the parent is gone."""

_IDLE = 5
"""Seconds after which a process without work ends."""

_INTERVAL = 0.5
"""Minimum seconds between two progress details from a job."""


@dataclass(frozen=True)
class Choice:
    """The number of trials that run side by side.

    Args:
        jobs: Number of processes; 1 means only this one.
        threads: PyTorch threads in each process.
        why: The reason, in words.
    """

    jobs: int
    threads: int
    why: str

    def said(self) -> str:
        """The choice in a sentence, if it is worth one: not for a short run, and not what the user asked for."""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        if self.jobs > 1:
            return f"{self.jobs} trials side by side, {threads} each: {self.why}"
        return (
            "" if self.why in (_ASKED, _SHORT, _ONE) else f"one trial after the other, {threads}: {self.why}"
        )


def choose_jobs(plan: Plan, dataset: Dataset, trials: int, threads: int) -> Choice:
    """Decide how many trials run side by side.

    Args:
        plan: The plan of the run.
        dataset: The data.
        trials: Number of unfinished trials.
        threads: Number of threads of the run; 0 for a new run without such a setting.

    Returns:
        The choice.

    Raises:
        InvalidSettings: The settings ask for several jobs, but only one is possible.
    """
    engine = plan.settings.engine
    processors = len(os.sched_getaffinity(0))
    alone = _alone(plan)
    if engine.jobs > 1 and alone:
        raise InvalidSettings(f"--jobs {engine.jobs} is not possible: {alone}; leave out --jobs")
    if engine.jobs:
        jobs, why = min(engine.jobs, max(trials, 1)), _ASKED
    elif alone:
        jobs, why = 1, alone
    else:
        jobs, why = _fitting_number(plan, dataset, trials, processors // max(threads, 1))
    if not threads:
        threads = 1 if engine.jobs > 1 or jobs > 1 or _small(plan, dataset) else torch.get_num_threads()
    return Choice(jobs, threads, why)


def _small(plan: Plan, dataset: Dataset) -> bool:
    """Whether the network of the settings is so small that its threads mostly wait for each other."""
    network, named = plan.network, ":" not in plan.settings.learn.network
    if pick_device(plan.settings.engine.device).type != "cpu":
        return False
    if isinstance(network, nn.Module):
        built = network
    elif named:
        try:
            with torch.device("meta"):  # no memory, and no random number
                built = network(item_shape(dataset.train), len(dataset.classes))
        except InvalidArgument:  # not for these items: a learner without a network does not need it
            return False
    else:
        return False  # a user's factory is called by fits only
    return sum(weights.numel() for weights in built.parameters()) < _FEW_WEIGHTS


def _alone(plan: Plan) -> str:
    """The reason why trials cannot run in several processes; empty if they can."""
    if plan.settings.engine.engine != "local":
        return "with --engine ray, --workers sets the number"
    if plan.settings.compare.oracle == "file":
        return "with --oracle file, only one process can write the questions"
    if pick_device(plan.settings.engine.device).type != "cpu":
        return "the trials share the GPU"
    return ""


def _fitting_number(plan: Plan, dataset: Dataset, trials: int, processors: int) -> tuple[int, str]:
    compare, learn = plan.settings.compare, plan.settings.learn
    steps = trials * (compare.rounds + 1) * learn.epochs * -(-learn.epoch_size // learn.batch_size)
    if trials < 2 or processors < 2:
        return 1, _ONE if trials < 2 else "each trial takes all processors"
    if steps < _FEW_STEPS:
        return 1, _SHORT
    room = _memory() // (2 * (_BASE + _size_of(dataset) + _size_of_encoder(plan)))
    if room < 2:
        what = "the data" if plan.encoder is None else "the data and the encoder"
        return 1, f"{what} do not fit into memory twice"
    return int(min(trials, processors, room)), f"{trials} trials on {processors} processors"


_BASE = 400 * 2**20
"""Measured memory, in bytes, of a process with PyTorch and a small network."""


def _memory() -> int:
    """Bytes of memory that processes can have now: free, or taken by files that can be read again."""
    with suppress(OSError), open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _size_of(dataset: Dataset) -> int:
    """Size of the data in bytes, estimated from the first item."""
    sizes: list[int] = []
    for _, x in dataset.train.batches(np.array([0]), 1):
        map_tree(lambda leaf: sizes.append(leaf.nbytes), x)
    return sum(sizes) * (len(dataset.train) + len(dataset.test))


def _size_of_encoder(plan: Plan) -> int:
    """Bytes of the weights of the encoder, which each process loads; 0 without one."""
    network = None if plan.encoder is None else plan.encoder.network
    if not isinstance(network, nn.Module):
        return 0
    return sum(weights.nbytes for weights in (*network.parameters(), *network.buffers()))


@dataclass(frozen=True)
class _Task:
    """The task of a job; it is sent to the process of the job."""

    settings: Settings
    given: Given
    out: Path
    db: str | None = field(repr=False)
    token: int | None
    known: Known
    scaling: Mapping[str, Any] | None
    threads: int
    address: str
    key: bytes


@dataclass
class _Desk:
    """The parent's side: hands out trials and forwards the messages of the jobs."""

    trials: Sequence[tuple[str, int]]
    observer: Observer
    waits: dict[tuple[str, int], str] = field(default_factory=dict)
    _next: Iterator[tuple[str, int]] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._next = iter(self.trials)

    def serve(self, listener: Listener) -> None:
        """Answer jobs until the listener is closed."""
        while True:
            try:
                connection = listener.accept()
            except OSError:  # closed
                return
            except Exception:  # a connection from elsewhere
                continue
            self._open.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def close(self, finished: bool) -> None:
        """Close all connections, which ends the processes of jobs, unless they have finished.

        Args:
            finished: Whether all jobs have ended as they should.
        """
        for connection in self._open:
            if finished:
                with suppress(OSError):  # the job may have closed its side
                    connection.send(_FINISHED)
            connection.close()

    def _answer(self, connection: Connection) -> None:
        with suppress(EOFError, OSError):
            while True:
                kind, *told = connection.recv()
                with self._lock:
                    if kind == "next":
                        connection.send(next(self._next, None))
                    elif kind == "waits":
                        self.waits[told[0]] = told[1]
                    elif kind == "warning":
                        warnings.showwarning(*told)
                    elif kind == "event":
                        self.observer.event(*told)
                    elif kind == "detail":
                        self.observer.detail(*told)
                    else:
                        self.observer.message(*told)


def side_by_side(
    settings: Settings,
    given: Given,
    store: Store,
    known: Known,
    scaling: Mapping[str, Any] | None,
    trials: Sequence[tuple[str, int]],
    choice: Choice,
    observer: Observer,
) -> list[str]:
    """Advance trials as far as possible, several at a time.

    Args:
        settings: The settings of the run.
        given: Objects that were passed in Python instead of names.
        store: The run, whose trainer is this process.
        known: Recorded files.
        scaling: The scaling of the inputs.
        trials: (strategy, seed) of each trial, in the order of their start.
        choice: The number of processes and threads.
        observer: Receives the progress.

    Returns:
        The missing answers of waiting trials, in words, in the order of the trials.

    Raises:
        PicklingError: An object that was passed in Python cannot be sent to another process.
        JobFailed: A process was killed.
        BaldurError: The first error of a trial.
    """
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import BrokenProcessPool

    key = token_bytes(32)
    desk = _Desk(trials, observer)
    finished = False
    # A worker that waits for work does not notice that its parent was killed: it ends after a few idle seconds.
    config = parallel_config(backend="loky", idle_worker_timeout=_IDLE)
    with config, _replaced_quietly(), Listener(authkey=key, backlog=2 * choice.jobs) as listener:
        address = str(listener.address)
        where = (store.folder, store.url, store.token)
        task = _Task(settings, given, *where, known, scaling, choice.threads, address, key)
        threading.Thread(target=desk.serve, args=(listener,), daemon=True).start()
        try:
            # Arrays are not shared by memory maps, so that a job gets exactly the same data as a single process.
            Parallel(n_jobs=choice.jobs, max_nbytes=None, batch_size=1)(
                delayed(_work)(task, number) for number in range(choice.jobs)
            )
            finished = True
        except BrokenProcessPool as error:
            raise JobFailed(
                "a process that ran trials was killed, perhaps because memory ran out. Nothing is lost: run the same "
                "command again to continue. With --jobs 1, the run needs less memory"
            ) from error
        finally:
            desk.close(finished)
    return [desk.waits[trial] for trial in trials if desk.waits.get(trial)]


@contextmanager
def _replaced_quietly() -> Iterator[None]:
    """Ignore the warning that an idle worker ended just as it got work, as happens on a busy machine.

    joblib then starts another worker. Where warnings are errors, its thread would end instead, and the run would hang.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the executor")
        yield


def _work(task: _Task, number: int) -> None:
    """The work of one job, in its own process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its jobs
    try:
        talk = _Line(Client(task.address, authkey=task.key))
        _end_with(Client(task.address, authkey=task.key))
    except (OSError, EOFError):  # the parent is gone already
        os._exit(1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(task.threads)
        with threadpool_limits(task.threads, user_api="blas"), _warnings_to(talk):
            _take_trials(task, number, talk)
    except Exception as error:
        raise _portable(error) from None
    finally:
        torch.set_num_threads(threads)
        talk.close()


@dataclass
class _Line:
    """A job's connection to its parent; several threads may send."""

    connection: Connection
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, *told: Any) -> None:
        with self._lock:
            self.connection.send(told)

    def next(self) -> tuple[str, int] | None:
        """Ask for a trial; None if all are taken."""
        with self._lock:
            self.connection.send(("next",))
            trial: tuple[str, int] | None = self.connection.recv()
        return trial

    def close(self) -> None:
        self.connection.close()


def _take_trials(task: _Task, number: int, talk: _Line) -> None:
    said = 0.0

    def detail(what: str, at: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > _INTERVAL:
            said = time.monotonic()
            talk.send("detail", what, at, total)

    observer = Observer(
        event=partial(talk.send, "event"), detail=detail, message=partial(talk.send, "message")
    )
    plan = make_plan(task.settings, task.given)
    prepared = prepare(plan, task.out, observer, task.known, scaling=task.scaling)
    with Store.open(task.out, url=task.db) as store, store.lock(f"{ROLE}-{number}", task.token):
        faults = Faults(store, observer.message)
        while (trial := talk.next()) is not None:
            words = go_on(store.trial(*trial), prepared.parts(*trial), plan, faults)
            talk.send("waits", trial, words)


def _end_with(parent: Connection) -> None:
    """End this process when the parent has ended: the connection then closes, even after a kill."""

    def watch() -> None:
        with suppress(EOFError, OSError):
            if parent.recv() == _FINISHED:
                return
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _warnings_to(talk: _Line) -> Iterator[None]:
    def show(message: Any, category: Any, filename: str, lineno: int, *_: Any, **__: Any) -> None:
        with suppress(OSError):
            talk.send("warning", message, category, filename, lineno)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _portable(error: Exception) -> Exception:
    """The error itself if it can be sent to another process; otherwise an error with its text."""
    with suppress(Exception):
        if type(pickle.loads(pickle.dumps(error))) is type(error):
            return error
    text = "".join(traceback.format_exception(error))
    return BaldurError(f"{type(error).__name__} in a process that ran trials: {error}\n{text}")
