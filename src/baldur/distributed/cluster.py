"""Calls functions on the workers of a Ray cluster: single calls, or one function on many items as a stream."""

import logging
import os
import pickle
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from itertools import islice
from types import TracebackType
from typing import Any

import numpy as np

from baldur.distributed.shipping import Parcel, forget, pack, unpack
from baldur.distributed.threads import Stopped
from baldur.errors import ClusterFailed, Unsupported

FEW = 16
"""Up to this number, calls are single tasks. Ray Data needs seconds to start, so it is used only for more calls."""

_TRIES = 3  # attempts of a call whose worker is lost
_STORE = 2**30  # bytes of the object store of a cluster that is started here; the rest goes to disk
_STEP = 0.5  # seconds between two checks whether to stop


@dataclass
class Cluster:
    """A Ray cluster, started or joined when it is first needed.

    Args:
        address: "host:port" of a cluster, or "auto" for the cluster of this machine. None and "local" start a cluster
            on this machine, which ends with `close`.
        workers: Number of worker processes for one pass, or for all passes on a cluster that is started here. None
            means as many as there are processors for.
        threads: PyTorch threads of each worker; each takes a processor.
        gpus: GPUs of each worker.
        few: Maximum number of calls of one function that run as single tasks instead of a stream.
    """

    address: str | None = None
    workers: int | None = None
    threads: int = 1
    gpus: float = 0
    few: int = FEW
    stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)
    _joined: bool = field(default=False, init=False, repr=False)
    _ours: bool = field(default=False, init=False, repr=False)

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start or join the cluster, if this was not done before.

        Raises:
            Unsupported: Ray is not installed.
            ClusterFailed: There is no cluster at the address, or no node is large enough for a worker.
            Stopped: `stopping` is set.
        """
        with self._lock:
            if self.stopping.is_set():
                raise Stopped
            if self._joined:
                return
            try:
                ray = _ray()
            except ImportError:
                raise Unsupported('Ray is not installed: pip install "baldur[ray]"') from None
            self._ours = not ray.is_initialized()
            if self._ours:
                count = max(os.cpu_count() or 1, self.threads)
                _connect(self.address, count if self.workers is None else self.workers * self.threads)
            self._joined = True
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        largest = max((node.get("CPU", 0) for node in nodes), default=0)
        if largest < self.threads:
            self.close()
            raise ClusterFailed(
                f"a worker with {self.threads} threads needs as many processors, but the largest node of the cluster "
                f"has {largest:g}; give --threads {max(1, int(largest))} or less"
            )
        if max((node.get("GPU", 0) for node in nodes), default=0) < self.gpus:
            self.close()
            raise ClusterFailed(
                "a worker needs a GPU, because this machine has one, but no node of the cluster has; give --device cpu"
            )

    def close(self) -> None:
        """Leave the cluster; a cluster that was started here ends."""
        forget()
        with self._lock:
            if self._joined and self._ours:
                _ray().shutdown()
            self._joined = False

    @property
    def size(self) -> int:
        """Number of workers of the started cluster."""
        if self.workers is not None:
            return self.workers
        return max(1, int(_ray().cluster_resources().get("CPU", 1) // self.threads))

    def begin(self, call: Callable[[], Any], what: str) -> Callable[[], Any]:
        """Begin a call on a worker. If the worker is lost, Ray repeats the call elsewhere.

        Args:
            call: The function; it is sent with all its data.
            what: A description of the call, for messages.

        Returns:
            A function that waits for the call, and returns its result or raises its error.

        Raises:
            ClusterFailed: The returned function raises this if the workers were lost several times.
        """
        self.start()
        return partial(_await, _submit(call, self.threads, self.gpus), what, self.stopping)

    def each(
        self, function: Callable[[int], Any], items: Sequence[int], what: str
    ) -> Iterator[tuple[int, Any]]:
        """Call a function on every item. The results come in the order in which they are ready.

        Args:
            function: The function; it is sent to each worker once.
            items: The arguments of the calls.
            what: A description of the calls, for messages.

        Yields:
            Items and results.

        Raises:
            ClusterFailed: Workers were lost several times without a result.
        """
        self.start()
        if len(items) <= self.few:
            yield from self._tasks(function, items, what)
            return
        left, lost = list(items), 0
        while left:
            if self.stopping.is_set():
                raise Stopped  # the cluster has ended, and Ray would start another
            before = len(left)
            try:
                for item, outcome in self._stream(function, left):
                    left.remove(item)
                    yield item, outcome.open()
            except _Lost as error:
                lost = lost + 1 if len(left) == before else 0
                if lost > 1:  # each time Ray has tried twice
                    raise ClusterFailed(_sentence(what, error.__cause__)) from error

    def _tasks(
        self, function: Callable[[int], Any], items: Sequence[int], what: str
    ) -> Iterator[tuple[int, Any]]:
        ray, waiting, begun = _ray(), iter(items), dict[Any, int]()
        while True:
            if self.stopping.is_set():
                raise Stopped
            for item in islice(waiting, self.size - len(begun)):
                begun[_submit(partial(function, item), self.threads, self.gpus)] = item
            if not begun:
                return
            for ref in ray.wait(list(begun), timeout=_STEP)[0]:
                yield begun.pop(ref), _await(ref, what, self.stopping)

    def _stream(
        self, function: Callable[[int], Any], items: Sequence[int]
    ) -> Iterator[tuple[int, "_Outcome"]]:
        """A Ray Data pipeline over the items. Actors hold the function, and results come as they are ready."""
        parcel = _ray().put(pack(function))
        actors = min(self.size, len(items))
        data = _ray_data()
        numbers = data.from_items([int(item) for item in items], override_num_blocks=len(items))
        pool = data.ActorPoolStrategy(
            min_size=1, max_size=actors, initial_size=actors, max_tasks_in_flight_per_actor=1
        )
        with warnings.catch_warnings():
            # Up to Ray 2.63, this bounds the retries. Otherwise a block that kills its worker is repeated for ever.
            warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
            results = numbers.map_batches(
                _Worker,
                fn_constructor_args=([parcel], self.threads, sys.path),
                batch_size=None,
                compute=pool,
                num_cpus=self.threads,
                num_gpus=self.gpus,
                max_task_retries=1,
            )
        batches = iter(results.iter_batches(batch_size=None, prefetch_batches=0))
        while True:
            if self.stopping.is_set():
                raise Stopped
            try:
                batch = next(batches, None)
            # Ray Data may raise anything; errors of calls come as outcomes.
            except Exception as error:
                raise _Lost from error
            if batch is None:
                return
            for item, outcome in zip(batch["item"], batch["outcome"], strict=True):
                yield int(item), pickle.loads(outcome)


def begin(threads: int, gpus: float, call: Callable[[], Any]) -> Callable[[], Any]:
    """Begin a call from a worker, which frees its processors while it waits.

    Args:
        threads: PyTorch threads of the call.
        gpus: GPUs of the call.
        call: See `Cluster.begin`.

    Returns:
        See `Cluster.begin`.
    """
    return partial(_await, _submit(call, threads, gpus), "a call of a call", None)


def _ray() -> Any:
    """Import Ray, which is only partly typed."""
    return import_module("ray")


class _Lost(Exception):
    """The stream was interrupted."""


@dataclass(frozen=True)
class _Outcome:
    """The result or error of a call, as it is sent back."""

    value: Any
    error: tuple[type[Exception], tuple[Any, ...], dict[str, Any]] | None
    trace: str
    said: list[tuple[type[Warning], str]]

    def open(self) -> Any:
        """Return the result or raise the error of the call, and repeat its warnings."""
        for category, text in self.said:
            warnings.warn(text, category, stacklevel=3)
        if self.error is None:
            return self.value
        kind, words, about = self.error
        error = kind.__new__(kind, *words)
        error.args = words
        vars(error).update(about)
        error.add_note(f"on a worker of the cluster:\n{self.trace}")
        raise error


def _attempt(call: Callable[[], Any]) -> _Outcome:
    """Make a call on a worker."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        value, error, trace = None, None, ""
        try:
            value = call()
        except Exception as raised:
            error, trace = _portable(raised), traceback.format_exc()
    return _Outcome(value, error, trace, [(one.category, str(one.message)) for one in caught])


def _portable(error: Exception) -> tuple[type[Exception], tuple[Any, ...], dict[str, Any]]:
    """The parts of an error from which it can be made again; if it cannot be pickled, an error with its text."""
    made = (type(error), error.args, dict(vars(error)))
    try:
        unpack(pack(made))
    except Exception:
        return RuntimeError, (f"{type(error).__name__}: {error}",), {}
    return made


def _run(parcel: Parcel, threads: int, paths: list[str]) -> _Outcome:
    """Unpack and make a call on a worker."""
    _prepare(threads, paths)
    return _attempt(lambda: unpack(parcel)())


class _Worker:
    """An actor of a stream, which holds the function."""

    def __init__(self, parcel: list[Any], threads: int, paths: list[str]) -> None:
        _prepare(threads, paths)
        self.parcel = parcel
        self.function = _attempt(lambda: unpack(_ray().get(parcel[0])))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        outcomes = np.empty(len(batch["item"]), object)
        for i, item in enumerate(batch["item"]):
            ready = self.function
            outcome = ready if ready.error else _attempt(partial(ready.value, int(item)))
            # a column of a table can always hold bytes
            outcomes[i] = _ray().cloudpickle.dumps(outcome)
        return {"item": batch["item"], "outcome": outcomes}


def _prepare(threads: int, paths: list[str]) -> None:
    """Prepare a worker: set the number of threads and the path of the driver's modules."""
    import torch

    torch.set_num_threads(threads)
    sys.path.extend(path for path in paths if path not in sys.path)


def _submit(call: Callable[[], Any], threads: int, gpus: float) -> Any:
    remote = (
        _ray()
        .remote(_run)
        .options(num_cpus=threads, num_gpus=gpus, max_retries=_TRIES, scheduling_strategy="SPREAD")
    )
    return remote.remote(pack(call), threads, sys.path)


def _await(ref: Any, what: str, stopping: threading.Event | None) -> Any:
    ray = _ray()
    while not ray.wait([ref], timeout=_STEP)[0]:
        if stopping is not None and stopping.is_set():
            ray.cancel(ref)
            raise Stopped
    try:
        outcome: _Outcome = ray.get(ref)
    except ray.exceptions.RayError as error:
        raise ClusterFailed(_sentence(what, error)) from error
    return outcome.open()


def _sentence(what: str, error: BaseException | None) -> str:
    """A message that says why the cluster failed, and what to do."""
    said = " ".join(str(error).split())
    if "OutOfMemory" in type(error).__name__ or "low memory" in said or "OOM" in said:
        todo = "a worker ran out of memory; use fewer workers on each node, a smaller --score-batch or more memory"
    elif "OutOfDisk" in type(error).__name__ or "No space left" in said:
        todo = "the disk of a node is full; free some space there"
    else:
        todo = (
            "a worker was lost each time (killed for memory, or with its node); find the cause in Ray's logs"
        )
    return f"{what}: the cluster failed several times; {todo}, then start again ({said[:300]})"


def _connect(address: str | None, processors: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage report
    os.environ.setdefault("RAY_worker_niceness", "0")  # otherwise workers have a low priority
    os.environ.setdefault("RAY_task_oom_retries", str(_TRIES))  # otherwise without end
    own: dict[str, Any] = {"address": address}
    if address in (None, "local"):
        own = {
            "address": "local",
            "num_cpus": processors,
            "object_store_memory": _STORE,
            "include_dashboard": False,
        }
    try:
        _ray().init(**own, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ClusterFailed(
            f"there is no Ray cluster at {address or 'this machine'} ({' '.join(str(error).split())[:300]}); start one "
            "with `ray start --head`, and give its address, or 'local' for a cluster on this machine"
        ) from error


def _ray_data() -> Any:
    """Import Ray Data without its progress bars."""
    data: Any = import_module("ray.data")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    data.DataContext.get_current().enable_progress_bars = False
    return data
