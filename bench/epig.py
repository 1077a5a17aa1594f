"""EPIG of a pool, compared with the published matrix form, written plainly in torch."""

from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from baldur import acquire
from bench import pools
from bench.measure import child, faster, peak, say, seconds, show

N, M, T, C, REPEATS = 60_000, 100, 100, 10, 3
CHUNKS = (25, 50, 100, 200)


def matrix_form(log_probs: Tensor, target_log_probs: Tensor, chunk: int) -> Tensor:
    """H(y) + mean_m H(y_m) - mean_m H(y, y_m), with all joint probabilities of some items as one product."""
    targets, draws, classes = target_log_probs.shape
    q = target_log_probs.exp()
    flat = q.permute(1, 0, 2).reshape(draws, targets * classes)
    mean = q.mean(1)
    of_targets = -(mean * mean.log()).sum(1).mean()
    scores = []
    for part in log_probs.split(chunk):
        p = part.exp()
        joint = (p.permute(0, 2, 1).reshape(-1, draws) @ flat) / draws
        both = -(joint * joint.log()).reshape(len(p), classes, targets, classes).sum((1, 3)).mean(1)
        mean = p.mean(1)
        scores.append(-(mean * mean.log()).sum(1) + of_targets - both)
    return torch.cat(scores)


def measured(n: int) -> dict[str, Any]:
    """Both in turn, on the same tensors; the plain one with the chunk that suits it best."""
    log_probs = torch.from_numpy(pools.independent(n, T, C, seed=0))
    targets = torch.from_numpy(pools.independent(M, T, C, seed=1))
    few = log_probs[: max(1, n // 20)]

    def trial(chunk: int) -> float:
        return median(seconds(lambda: matrix_form(few, targets, chunk), 3))

    chunk = min(CHUNKS, key=trial)
    native = log_probs.numpy(), targets.numpy()
    acquire.epig(native[0][:100], native[1])
    rise = peak(lambda: acquire.epig(*native))
    runs = {
        "plain": partial(matrix_form, log_probs, targets, chunk),
        "NumPy": partial(acquire.epig, *native),
        "torch": partial(acquire.epig, log_probs, targets),
    }
    turns = [{name: seconds(run)[0] for name, run in runs.items()} for _ in range(REPEATS)]
    times = {name: median(turn[name] for turn in turns) for name in runs}
    apart = (matrix_form(few, targets, chunk) - torch.from_numpy(acquire.epig(few.numpy(), native[1]))).abs()
    return {
        "plain": times.pop("plain"),
        "ours": times,
        "chunk": chunk,
        "rise": rise,
        "apart": float(apart.max()),
    }


def rows(n: int = N) -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    say("EPIG")
    found = child("bench.epig:measured", n=n)
    best, spent = faster(found["ours"])
    what = f"EPIG, N = {n:,}, {M} targets, T = {T}, C = {C}"
    return [
        (
            f"{what}: time of the published matrix form in torch ({found['chunk']} items at a time, its best)"
            " over ours",
            f"{show(found['plain'])} / {spent} = {found['plain'] / best:.2f}x"
            f" (scores within {found['apart']:.0e})",
            "at least 1.5x",
        ),
        (f"{what}: peak memory beside the inputs", f"{found['rise']:.0f} MiB", "at most 1,024 MiB"),
    ]
