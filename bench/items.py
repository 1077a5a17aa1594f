"""A million items: recorded when a run begins, and read when it is opened again.

The time is that of the clock and, in brackets, that of the processor, which says more on a busy machine.
"""

import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from baldur.data import load_for_labelling
from baldur.runs.items import item_records
from baldur.store import ItemRecord, Store
from bench.measure import child, peak, say

N = 1_000_000
REPEATS = 3


def files() -> Iterator[ItemRecord]:
    """Records of image files with the order of a labelling run."""
    for i in range(N):
        digest = hashlib.sha256(i.to_bytes(8)).hexdigest()
        id = f"{digest[:2]}/{digest[2:12]}.jpg"
        key = int(digest[:15], 16)
        yield ItemRecord(id, i, f"/photos/{id}", None, "train", digest, 123_456, 10**18 + i, key=key)


def vectors() -> Iterator[ItemRecord]:
    """Records of the rows of an array with 8 columns, whose values are shown."""
    x = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
    return item_records(load_for_labelling(x, classes=["a", "b"]))


def record(folder: str, kind: str) -> dict[str, Any]:
    """Record all items, and open the run again."""
    made = {"files": files, "vectors": vectors}[kind]()
    told: dict[str, Any] = {}
    longest = [0.0]
    with Store.create(Path(folder), settings="", classes=["a", "b"]) as store:
        done = threading.Event()
        other = threading.Thread(target=_writes, args=(Path(folder), done, longest))
        other.start()
        told["peak"] = peak(lambda: told.update(record=_timed(lambda: store.record_items(made))))
        done.set()
        other.join()
    told["longest"] = longest[0]
    told["open"] = [_timed(lambda: _opened(folder)) for _ in range(REPEATS)]
    told["open peak"] = peak(lambda: _opened(folder))
    told["size"] = (Path(folder) / "baldur.db").stat().st_size / 2**20
    return told


def _writes(folder: Path, done: threading.Event, longest: list[float]) -> None:
    """Writes of another connection, which have to wait for each transaction."""
    with Store.open(folder) as store:
        while not done.wait(0.2):
            start = time.perf_counter()
            store.record_start({})
            longest[0] = max(longest[0], time.perf_counter() - start)


def _opened(folder: str) -> Any:
    """What a run reads of its items when it is opened again."""
    with Store.open(Path(folder)) as store:
        return store.pool_ids(), store.files(), store.items("quarantined")


def _timed(run: Callable[[], Any]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - processor


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    told = []
    for kind in ("files", "vectors"):
        say(f"{N:,} items, {kind}")
        with tempfile.TemporaryDirectory() as folder:
            found = child("bench.items:record", folder=f"{folder}/run", kind=kind)
        wall, processor = found["record"]
        what = {"files": "image files", "vectors": "rows of 8 numbers"}[kind]
        busy = f"load {os.getloadavg()[0]:.0f} on {os.cpu_count()} processors"
        told.append((f"{N:,} {what} recorded", f"{wall:.1f} s ({processor:.1f} s; {busy})", "at most 60 s"))
        told.append((f"{what}: memory of it", f"{found['peak']:.0f} MiB", "stated"))
        told.append((f"{what}: longest wait of another writer", f"{found['longest']:.2f} s", "stated"))
        walls, processors = zip(*found["open"], strict=True)
        measured = f"{median(walls):.1f} s ({median(processors):.1f} s)"
        told.append((f"{what}: run opened again, median of {REPEATS}", measured, "at most 3 s"))
        told.append((f"{what}: memory of it", f"{found['open peak']:.0f} MiB", "stated"))
        told.append((f"{what}: size of the database", f"{found['size']:.0f} MiB", "stated"))
    return told
