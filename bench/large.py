"""BALD of a pool on disk that may be larger than memory: its memory, and its time compared with one plain pass."""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from baldur.errors import BaldurError
from bench import pools
from bench.measure import MIB, child, memory, say, show

N, T, BATCH, MEMORY = 1_000_000, 20, 128, "1GiB"
PLAIN = 50_000
"""Items of the plain pass; its time is reckoned for the whole pool."""
_BLOCK = 20_000


def write(folder: Path, n: int) -> Path:
    """An .npy of n images of 28x28 bytes and its labels: MNIST, or blots, over and over, with noise."""
    from baldur import data

    try:
        whole = data.load("mnist").train
        _, x = next(iter(whole.batches(np.arange(len(whole)), len(whole))))
        shapes = x.numpy()[:, 0]
    except BaldurError:
        shapes = pools.pictures(60_000, 10, 0)[0][:, 0]
    low, high = shapes.min(), shapes.max()
    shapes = ((shapes - low) * (255 / (high - low))).astype(np.int16)
    random, path = np.random.default_rng(0), folder / "pool.npy"
    out = np.lib.format.open_memmap(path, "w+", np.uint8, (n, 28, 28))
    for start in range(0, n, _BLOCK):
        some = shapes[np.arange(start, min(start + _BLOCK, n)) % len(shapes)]
        noise = random.integers(-32, 33, some.shape, np.int16)
        out[start : start + _BLOCK] = np.clip(some + noise, 0, 255)
    out.flush()
    np.save(folder / "pool_labels.npy", np.arange(n) % 10)
    return path


def told(every: float = 60.0) -> Callable[[int, int], None]:
    """A progress that says now and then how far it is."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > every:
            last = time.monotonic()
            say(f"{done:,} of {total:,}")

    return progress


def scored(path: str) -> dict[str, Any]:
    """Load the pool and score it, the plain pass before; memory counts from the interpreter with PyTorch on."""
    import torch

    start = memory("VmRSS")
    from baldur import acquire, data, networks, score
    from baldur.posteriors import MCDropout

    begun = time.perf_counter()
    pool = data.load(path, test_fraction=0.001).train
    loaded = time.perf_counter() - begun
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.gal2017((1, 28, 28), 10).eval()
    draws, few = MCDropout(network).draw(T), min(len(pool), PLAIN)
    begun = time.perf_counter()
    with torch.inference_mode():
        for _, x in pool.batches(np.arange(few), BATCH):
            torch.log_softmax(network(x), 1)
    once = (time.perf_counter() - begun) * len(pool) / few
    begun = time.perf_counter()
    scores = score.predict(draws, pool, acquire.bald, MEMORY, batch_size=BATCH, progress=told())
    took = time.perf_counter() - begun
    assert scores.shape == (len(pool),)
    assert np.isfinite(scores).all()
    peak, mapped = memory("VmHWM"), memory("RssFile")
    return {
        "rise": (peak - start) / 1024,
        "mapped": mapped / 1024,
        "load": loaded,
        "seconds": took,
        "once": once,
    }


def rows(n: int = N) -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    with tempfile.TemporaryDirectory() as folder:
        say("writing the pool")
        path = write(Path(folder), n)
        size = path.stat().st_size / MIB
        say(f"BALD of {n:,} images")
        found = child("bench.large:scored", path=str(path))
    what = f"BALD by MC-dropout, T = {T}, {n:,} images of 28x28 in an .npy of {size:,.0f} MiB, Gal 2017 CNN"
    return [
        (
            f"{what}, memory='{MEMORY}': peak memory above the interpreter with PyTorch, pages of the file included",
            f"{found['rise']:,.0f} MiB (of all that is held, {found['mapped']:,.0f} MiB are pages of files)",
            "at most 1,536 MiB",
        ),
        (
            f"{what}: against one deterministic pass (over {min(n, PLAIN):,} of them)",
            f"{show(found['seconds'])} / {show(found['once'])} = {found['seconds'] / found['once']:.2f}"
            f" ({n / found['seconds']:,.0f} images a second)",
            "at most 2",
        ),
        ("loading that pool: every value checked, duplicates found", show(found["load"]), "no bar"),
    ]


if __name__ == "__main__":
    for line in rows(*map(int, sys.argv[1:])):
        print(" | ".join(line))
