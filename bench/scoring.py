"""MC-dropout over a pool, against one deterministic pass of the same network over the same images in the same run."""

import time
from statistics import median

import numpy as np
import torch

from baldur import acquire, networks, score
from baldur.data import Normalise, from_arrays
from baldur.posteriors import MCDropout
from bench.measure import child, peak

N, T, BATCH, REPEATS = 60_000, 20, 128, 5


def images() -> np.ndarray:
    """As many images as MNIST has for training; what is on them does not matter to the clock."""
    return np.random.default_rng(0).integers(0, 256, (N, 1, 28, 28), np.uint8)


def network() -> torch.nn.Module:
    """The CNN of Gal, Islam & Ghahramani 2017, trained or not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return networks.gal2017((1, 28, 28), 10).eval()


def deterministic(plain: torch.nn.Module, pool) -> float:
    """Seconds of one pass, read through the same pool."""
    start = time.perf_counter()
    with torch.inference_mode():
        for _, x in pool.batches(np.arange(N), BATCH):
            torch.log_softmax(plain(x), 1)
    return time.perf_counter() - start


def sampled(posterior: MCDropout, pool) -> float:
    """Seconds of BALD with T samples over the pool."""
    start = time.perf_counter()
    score.predict(posterior.draw(T, seed=0), pool, reduce=acquire.bald, batch_size=BATCH)
    return time.perf_counter() - start


def risen() -> dict[str, float]:
    """How much the memory of the process rose during the pass, in MiB."""
    pool = from_arrays(images(), transform=Normalise((0.1307,), (0.3081,)))
    posterior = MCDropout(network())
    posterior.draw(T)(next(iter(pool.batches(np.arange(4), 4)))[1])
    return {"rise": peak(lambda: sampled(posterior, pool))}


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar) of each figure."""
    pool = from_arrays(images(), transform=Normalise((0.1307,), (0.3081,)))
    plain, posterior = network(), MCDropout(network())
    passes = [(deterministic(plain, pool), sampled(posterior, pool)) for _ in range(REPEATS)]
    ratio = median(mc / det for det, mc in passes)
    det, mc = (median(values) for values in zip(*passes, strict=True))
    return [
        (
            f"BALD by MC-dropout, T = {T}, {N:,} images of 28x28, Gal 2017 CNN, against one deterministic pass",
            f"{mc:.1f} s / {det:.1f} s = {ratio:.2f}",
            "at most 2",
        ),
        (
            "peak memory of that pass above the loaded data",
            f"{child('bench.scoring:risen')['rise']:.0f} MiB",
            "at most 1,024 MiB",
        ),
    ]
