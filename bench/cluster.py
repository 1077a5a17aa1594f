"""A pass over a pool by Ray on this machine, compared with the plain loop, and the overhead of Ray itself."""

import time

import numpy as np
import torch

from baldur import acquire, networks
from baldur.data import Normalise, from_arrays
from baldur.distributed import Cluster, RayScorer
from baldur.posteriors import MCDropout
from baldur.score.scorer import PoolScorer
from bench.measure import child, memory, say

T, BLOCK, BLOCKS, SECONDS = 20, 4096, 18, 10.0


def posterior() -> MCDropout:
    """The CNN of Gal, Islam & Ghahramani 2017, trained or not."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MCDropout(networks.gal2017((1, 28, 28), 10).eval())


def images(n: int) -> np.ndarray:
    """What is on them does not matter to the clock."""
    return np.random.default_rng(0).integers(0, 256, (n, 1, 28, 28), np.uint8)


def pool(n: int):
    """Images as `baldur.data` hands them out."""
    return from_arrays(images(n), transform=Normalise((0.1307,), (0.3081,)))


def passes(block: int, blocks: int) -> dict[str, float]:
    """Seconds of the plain loop with two threads and of two workers with one each, and whether scores are equal."""
    items, model, plain = pool(block * blocks), posterior(), PoolScorer(draws=T)
    torch.set_num_threads(2)
    start = time.perf_counter()
    here = plain.predict(model, items, acquire.bald)
    times = {"plain": time.perf_counter() - start}
    with Cluster(workers=2, threads=1) as cluster:
        start = time.perf_counter()
        cluster.start()
        times["start"] = time.perf_counter() - start
        came: list[float] = []
        told = PoolScorer(draws=T, progress=lambda done, n: came.append(time.perf_counter()))
        start = time.perf_counter()
        there = RayScorer(told, cluster, block=block).predict(model, items, acquire.bald)
        times["ray"] = time.perf_counter() - start
        times["first"] = came[1] - start
    times["apart"] = float(np.abs(here - there).max())
    return times


def nothing(item: int) -> int:
    """A call that does nothing."""
    return item


def calls(n: int) -> dict[str, float]:
    """Seconds a call of a stream costs, measured with calls that do nothing."""
    with Cluster(workers=2, threads=1, few=0) as cluster:
        start, first = time.perf_counter(), 0.0
        for done, _ in enumerate(cluster.each(nothing, range(n), "nothing")):
            first = time.perf_counter() - start if not done else first
        return {"call": (time.perf_counter() - start - first) / (n - 1), "first": first}


def ids(n: int) -> dict[str, float]:
    """Bytes an item that the driver holds of a pool: its ids, where they stand, and which are unlabelled."""
    before = memory("VmRSS")
    names = tuple(f"photos/{number:09d}.jpg" for number in range(n))
    where = {name: position for position, name in enumerate(names)}
    rest = np.flatnonzero(np.ones(n, bool))
    scores = np.zeros(n)
    scores += 1
    held = (memory("VmRSS") - before) * 1024 / n
    assert len(where) == len(rest) == len(scores)
    return {"bytes": held}


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar) of each figure."""
    say("how long a block takes")
    model, some = posterior(), pool(BLOCK)
    torch.set_num_threads(1)
    start = time.perf_counter()
    PoolScorer(draws=T).predict(model, some, acquire.bald)
    one = time.perf_counter() - start
    block = -(-int(BLOCK * SECONDS / one) // 128) * 128
    say(f"{BLOCKS} blocks of {block:,} items, about {SECONDS:.0f} s each")
    took = child("bench.cluster:passes", block=block, blocks=BLOCKS)
    ratio = took["plain"] / took["ray"]
    call = child("bench.cluster:calls", n=500)
    held = child("bench.cluster:ids", n=1_000_000)
    return [
        (
            f"BALD by MC-dropout, T = {T}, {BLOCKS} blocks of {block:,} images of 28x28 "
            f"({one * block / BLOCK:.0f} s each): throughput of two workers with a thread each against the plain loop "
            "with two",
            f"{took['plain']:.0f} s / {took['ray']:.0f} s = {ratio:.2f}, start of the stream included",
            "at least 0.85",
        ),
        ("largest difference of a score between the two", f"{took['apart']:.1g}", "the threads' rounding"),
        ("starting Ray", f"{took['start']:.1f} s", "-"),
        ("beginning a stream", f"{call['first']:.1f} s", "-"),
        ("a call through the stream", f"{call['call'] * 1e3:.0f} ms", "-"),
        ("what the driver holds of an item: id, position, score", f"{held['bytes']:.0f} B", "-"),
    ]
