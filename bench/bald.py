"""BALD of a large pool: time and memory compared with baal, and with only reading the input."""

import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from baldur import acquire
from bench import peers, pools
from bench.measure import MIB, child, faster, peak, say, seconds, show

PEERS = ("baal",)
N, T, C, REPEATS = 1_000_000, 20, 10, 5


def ours(n: int, out: str) -> dict[str, Any]:
    """Scores of log-probabilities (N, T, C), as NumPy and as torch; and a copy of them, for the bandwidth."""
    import torch

    log_probs = pools.independent(n, T, C, seed=0)
    acquire.bald(log_probs[:1000])
    rise = peak(lambda: np.save(out, acquire.bald(log_probs)))
    kinds = {"NumPy": log_probs, "torch": torch.from_numpy(log_probs)}
    times = {kind: median(seconds(partial(acquire.bald, x), REPEATS)) for kind, x in kinds.items()}
    other = np.empty_like(log_probs)
    return {
        "seconds": times,
        "rise": rise,
        "bytes": log_probs.nbytes,
        "copy": median(seconds(lambda: np.copyto(other, log_probs), REPEATS + 1)[1:]),
    }


def theirs(n: int, out: str) -> dict[str, Any]:
    """The same of probabilities (N, C, T)."""
    bald = peers.bald()
    probs = np.empty((n, C, T), np.float32)
    np.exp(pools.independent(n, T, C, seed=0).transpose(0, 2, 1), out=probs)
    bald(probs[:1000])
    return {
        "rise": peak(lambda: np.save(out, bald(probs))),
        "seconds": median(seconds(lambda: bald(probs), REPEATS)),
    }


def rows(n: int = N) -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    with tempfile.TemporaryDirectory() as folder:
        here, there = (str(Path(folder) / name) for name in ("here.npy", "there.npy"))
        theirs = peers.peer("baal", "bench.bald:theirs", n=n, out=there)
        say("BALD")
        own = child("bench.bald:ours", n=n, out=here)
        apart = np.abs(np.load(here) - np.load(there)).max() if theirs else 0.0
    best, spent = faster(own["seconds"])
    what = f"BALD, N = {n:,}, T = {T}, C = {C}, float32"
    speed = extra = peers.missing("baal")
    if theirs:
        speed = f"{show(theirs['seconds'])} / {spent} = {theirs['seconds'] / best:.1f}x"
        speed += f" (scores within {apart:.0e})"
        extra = f"{own['rise']:.0f} MiB / {theirs['rise']:.0f} MiB = {own['rise'] / theirs['rise']:.3f}"
    else:
        speed += f"; {spent}"
        extra += f"; {own['rise']:.0f} MiB"
    rate, copied = own["bytes"] / best / 2**30, 2 * own["bytes"] / own["copy"] / 2**30
    return [
        (f"{what}: baal's time over ours", speed, "at least 8x"),
        (f"{what}: our memory beside the input over baal's", extra, "at most 0.1"),
        (
            f"{what}: the input of {own['bytes'] / MIB:,.0f} MiB is read at, against a copy of it (both ways)",
            f"{rate:.2f} GiB/s / {copied:.1f} GiB/s = {rate / copied:.3f}",
            "1 is the limit of the memory",
        ),
    ]
