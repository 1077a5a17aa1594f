"""A fit and a run beside busy processes, against a fair share: c · max(1, r / P), with r tasks on P processors.

The work takes c seconds of processor time on one thread. The r tasks that want to run, on average while it runs, are
ours, those of other people, and those that are started here and never rest. A fair scheduler gives each P / r of a
processor.
"""

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean, median
from typing import Any

from bench.measure import child, say

BUSY = (0, 1, 2, 4)
REPEATS = 3
FITS = 8
RUN = "run digits --strategy bald --seeds 1 --rounds 3 --initial 20 --epochs 20 --learning-rate 0.003 --quiet"
Took = dict[str, float]
"""Seconds, seconds of processor time, and how many tasks wanted to run meanwhile."""


def fits(threads: int, spin: bool = False, count: int = FITS) -> dict[str, Any]:
    """Fit the network that digits get, 20 epochs of 256 items, as the command line does."""
    from baldur.core.threads import never_spin

    if not spin:
        never_spin()  # before torch is imported
    import torch
    from sklearn.datasets import load_digits

    from baldur import networks
    from baldur.training import Recipe, initialise, train

    torch.set_num_threads(threads)
    digits = load_digits()
    x, y = (
        torch.tensor(digits.images[:120, None] / 16, dtype=torch.float32),
        torch.tensor(digits.target[:120]),
    )

    def fit(seed: int, epochs: int) -> None:
        recipe = Recipe(epochs=epochs, epoch_size=256, batch_size=32, learning_rate=3e-3, device="cpu")
        train(initialise(lambda: networks.auto((1, 8, 8), 10), seed), x, y, recipe=recipe, seed=seed)

    fit(0, 1)
    processor = time.process_time()
    with wanting() as tasks:
        start = time.perf_counter()
        for seed in range(count):
            fit(seed, 20)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "processor": time.process_time() - processor, "tasks": fmean(tasks)}


def command(**environment: str) -> Took:
    """A short run, from the start of Python to the report."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder, wanting() as tasks:
        words = [sys.executable, "-m", "baldur", *RUN.split(), "--out", f"{folder}/run"]
        start = time.perf_counter()
        subprocess.run(words, check=True, start_new_session=True, env=os.environ | environment)
        seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "processor": processor, "tasks": fmean(tasks)}


@contextmanager
def wanting() -> Iterator[list[int]]:
    """How many tasks can run, ours included, seen twenty times a second."""
    seen: list[int] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            now = Path("/proc/loadavg").read_text().split()[3]
            seen.append(int(now.split("/")[0]) - 1)  # this thread runs, too

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


@contextmanager
def beside(count: int) -> Iterator[None]:
    """That many processes that never rest, at normal priority, each in a session of its own."""
    words = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(words, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    processors = len(os.sched_getaffinity(0))
    fit, run = f"{FITS} fits of the digits network", "`baldur run digits`, one trial of 3 rounds"
    cases: dict[str, Callable[[], Took]] = {
        f"{fit}, one thread": lambda: child("bench.busy:fits", threads=1),
        f"{run}, one thread": lambda: command(OMP_NUM_THREADS="1"),
        f"{run}, as it comes": command,
    }
    times: dict[tuple[str, int], list[Took]] = {}
    for repeat in range(REPEATS):  # turn by turn, so that all see the same machine
        for count in BUSY:
            say(f"round {repeat + 1} of {REPEATS}, beside {count} busy, load {os.getloadavg()[0]:.1f}")
            with beside(count):
                for name, measured in cases.items():
                    times.setdefault((name, count), []).append(measured())
    lines = []
    for name in cases:
        alike = f"{run if name.startswith(run) else fit}, one thread"
        work = min(t["processor"] for count in BUSY for t in times[alike, count])
        for count in BUSY:
            told = times[name, count]
            fair = [work * max(1.0, t["tasks"] / processors) for t in told]
            ratio = median(t["seconds"] / f for t, f in zip(told, fair, strict=True))
            seconds, tasks = (median(t[key] for t in told) for key in ("seconds", "tasks"))
            what = f"{name}, beside {count} busy: time over that of a fair share"
            shown = f"c = {work:.2f} s, r = {tasks:.1f}, P = {processors}"
            figure = f"{seconds:.2f} s / {median(fair):.2f} s = {ratio:.2f} ({shown})"
            lines.append((what, figure, "at most 1.5" if count else "-"))
    return [*lines, spinning(processors)]


def spinning(processors: int) -> tuple[str, str, str]:
    """One thread, threads that sleep, and threads that spin: each keeps its processor from the one it waits for."""
    with beside(max(BUSY)):
        one = child("bench.busy:fits", threads=1, count=1)["seconds"]
        asleep = child("bench.busy:fits", threads=processors, count=1)["seconds"]
        spin = child("bench.busy:fits", threads=processors, count=1, spin=True)["seconds"]
    return (
        f"one fit beside {max(BUSY)} busy: one thread, {processors} threads that sleep, {processors} that spin",
        f"{one:.2f} s, {asleep:.2f} s ({asleep / one:.1f}x), {spin:.1f} s ({spin / one:.0f}x)",
        "the command line never spins",
    )
