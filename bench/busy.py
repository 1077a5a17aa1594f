"""A small fit and a short `baldur run` beside busy processes, against a fair share of the processors.

Alone, the work takes t seconds and uses c seconds of processor time: it keeps a = c / t processors busy. Beside n
processes that never rest, n + a tasks share P processors. A fair scheduler then needs t · max(1, (n + a) / P) seconds.
Threads that spin get less, since a thread that waits keeps the processor from the one that it waits for.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from bench.measure import child, say

BUSY = (1, 2, 4)
REPEATS = 3
FITS = 4
BAR = "at most 1.5 times"
RUN = "run digits --strategy bald --seeds 1 --rounds 3 --initial 20 --epochs 20 --learning-rate 0.003 --quiet"


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
    start, processor = time.perf_counter(), time.process_time()
    for seed in range(count):
        fit(seed, 20)
    return {"seconds": time.perf_counter() - start, "processor": time.process_time() - processor}


def command() -> dict[str, Any]:
    """A short run, from the start of Python to the report."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "baldur", *RUN.split(), "--out", f"{folder}/run"]
        start = time.perf_counter()
        subprocess.run(words, check=True)
        seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": seconds,
        "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    }


@contextmanager
def beside(count: int) -> Iterator[None]:
    """That many processes that never rest, at normal priority."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def fair(alone: dict[str, Any], count: int) -> float:
    """Seconds that a fair share gives beside so many busy processes; see above."""
    used = alone["processor"] / alone["seconds"]
    return float(alone["seconds"] * max(1.0, (count + used) / processors()))


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    cases: dict[str, Callable[[], dict[str, Any]]] = {
        f"{FITS} fits of the digits network, one thread": lambda: child("bench.busy:fits", threads=1),
        f"{FITS} fits of the digits network, {processors()} threads": lambda: child(
            "bench.busy:fits", threads=processors()
        ),
        "`baldur run digits`, one trial of 3 rounds": command,
    }
    load = os.getloadavg()[0]
    times: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for repeat in range(REPEATS):  # turn by turn, so that all see the same machine
        say(f"round {repeat + 1} of {REPEATS}, load {os.getloadavg()[0]:.1f}")
        for count in (0, *BUSY):
            with beside(count):
                for name, run in cases.items():
                    times.setdefault((name, count), []).append(run())
    lines = []
    for name in cases:
        for count in BUSY:
            pairs = list(zip(times[name, 0], times[name, count], strict=True))
            ratio = median(busy["seconds"] / fair(alone, count) for alone, busy in pairs)
            alone, busy = (median(t["seconds"] for t in part) for part in zip(*pairs, strict=True))
            wanted = median(fair(t, count) for t in times[name, 0])
            lines.append(
                (
                    f"{name}, beside {count} busy: time over that of a fair share",
                    f"{busy:.2f} s / {wanted:.2f} s = {ratio:.2f} (alone {alone:.2f} s)",
                    BAR,
                )
            )
    lines.append(spinning())
    lines.append(("load of the machine before, without what is measured here", f"{load:.1f}", "0: idle"))
    return lines


def spinning() -> tuple[str, str, str]:
    """What the command line avoids."""
    with beside(max(BUSY)):
        asleep = child("bench.busy:fits", threads=processors(), count=1)["seconds"]
        spin = child("bench.busy:fits", threads=processors(), count=1, spin=True)["seconds"]
    what = f"one fit, {processors()} threads, beside {max(BUSY)} busy: time with threads that spin over that of ours"
    return what, f"{spin:.1f} s / {asleep:.2f} s = {spin / asleep:.1f}x", "-"
