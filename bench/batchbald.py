"""BatchBALD, compared with batchbald-redux on pools of near-duplicates, and measured alone on large pools."""

import gc
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur import acquire, select
from bench import peers, pools
from bench.measure import child, peak, say, seconds, show

PEERS = ("batchbald-redux",)
N, T, C, K, SAMPLES, SEEDS = 10_000, 20, 10, 10, 10_000, (0, 1, 2)
LARGE, DRAWS = 60_000, 100
ESTIMATE = 20_000
"""Label vectors for each of the T samples in the independent estimate of joint information."""


def joint_information(
    log_probs: NDArray[np.float32], chosen: list[int], seed: int = 0
) -> tuple[float, float]:
    """I(y_S; ω) = log T - E_{y_S} H(ω | y_S) by label vectors drawn from each sample in turn, and its error.

    Everything in float64; no part of it is shared with what is measured.
    """
    random = np.random.default_rng(seed)
    rows = np.maximum(log_probs[chosen].astype(np.float64), -600)
    draws = rows.shape[1]
    means, variances = [], []
    for t in range(draws):
        weights = np.zeros((ESTIMATE, draws))
        for row in rows:
            cumulative = np.exp(row[t]).cumsum()
            label = np.searchsorted(cumulative, random.random(ESTIMATE) * cumulative[-1], side="right")
            weights += row[:, label].T
        weights = np.exp(weights - weights.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
        means.append(entropy.mean())
        variances.append(entropy.var() / ESTIMATE)
    return float(np.log(draws) - np.mean(means)), float(np.sqrt(np.sum(variances)) / draws)


def ours(n: int, seed: int) -> dict[str, Any]:
    """Picks and time of Baldur."""
    log_probs, _ = pools.near_duplicates(n, T, C, seed)
    times = seconds(lambda: select.batchbald(log_probs, K, rng=0), 6)[1:]
    return {"seconds": median(times), "picks": select.batchbald(log_probs, K, rng=0).indices.tolist()}


def theirs(n: int, seed: int) -> dict[str, Any]:
    """Picks and time of batchbald-redux, in float64 as its documentation calls it."""
    import torch

    batchbald = peers.batchbald()
    log_probs = torch.from_numpy(pools.near_duplicates(n, T, C, seed)[0])
    torch.manual_seed(0)
    gc.freeze()  # it collects garbage at each step, and what was only imported here must not slow that down
    found: list[Any] = []
    (took,) = seconds(lambda: found.append(batchbald(log_probs, K, SAMPLES, dtype=torch.double)))
    return {"seconds": took, "picks": found[0].indices}


def large(kind: str, n: int, k: int, repeats: int) -> dict[str, Any]:
    """Time and memory of a large batch."""
    made = {
        "heads": lambda: pools.heads(n, DRAWS, C, 0, 0.6),
        "heads that hardly differ": lambda: pools.heads(n, DRAWS, C, 0, 0.1),
        "near-duplicates": lambda: pools.near_duplicates(n, DRAWS, C, 0)[0],
    }
    log_probs = made[kind]()
    select.batchbald(log_probs[:500], 3, rng=0)
    found: list[Any] = []
    rise = peak(lambda: found.append(select.batchbald(log_probs, k, rng=0)))
    times = seconds(lambda: select.batchbald(log_probs, k, rng=0), repeats)
    return {"seconds": median(times), "rise": rise, "filled": found[0].info["filled"]}


def compared(n: int, seed: int) -> dict[str, Any]:
    """One pool: the times of both, and the joint information of what they and simpler ways choose."""
    theirs = peers.peer("batchbald-redux", "bench.batchbald:theirs", n=n, seed=seed)
    say(f"BatchBALD, pool {seed}")
    own = child("bench.batchbald:ours", n=n, seed=seed)
    log_probs, group = pools.near_duplicates(n, T, C, seed)
    order = np.argsort(-acquire.bald(log_probs), kind="stable")
    _, first = np.unique(group[order], return_index=True)
    sets = {
        "ours": own["picks"],
        "top": order[:K].tolist(),
        "best of each": order[np.sort(first)[:K]].tolist(),
    }
    if theirs:
        sets["theirs"] = theirs["picks"]
    reached = {name: joint_information(log_probs, chosen) for name, chosen in sets.items()}
    error = max(standard for _, standard in reached.values())
    say(", ".join(f"{name} {value:.4f}" for name, (value, _) in reached.items()) + f" (± {error:.4f})")
    information = {name: value for name, (value, _) in reached.items()}
    best = information.get("theirs", information["ours"])
    return {
        "ours": own["seconds"],
        "theirs": theirs["seconds"] if theirs else None,
        "share": {name: value / best for name, value in information.items()},
    }


def rows(n: int = N, seeds: tuple[int, ...] = SEEDS, n_large: int = LARGE) -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    found = [compared(n, seed) for seed in seeds]
    share = {name: median(pool["share"][name] for pool in found) for name in found[0]["share"]}
    own = median(pool["ours"] for pool in found)
    what = f"BatchBALD, N = {n:,}, T = {T}, C = {C}, k = {K}, near-duplicates, median of {len(seeds)} pools"
    speed, quality = f"{peers.missing('batchbald-redux')}; {show(own)}", peers.missing("batchbald-redux")
    if "theirs" in share:
        ratio = median(pool["theirs"] / pool["ours"] for pool in found)
        speed = f"{show(median(pool['theirs'] for pool in found))} / {show(own)} = {ratio:.0f}x"
        quality = f"{share['ours']:.4f}"
    lines = [
        (
            f"{what}: time of batchbald-redux with {SAMPLES:,} samples, in float64, over ours",
            speed,
            "at least 50x",
        ),
        (f"{what}: joint information of our batch over that of batchbald-redux", quality, "at least 0.99"),
        (
            f"{what}: the same of the {K} largest BALD scores, and of the largest of each of {K} groups",
            f"{share['top']:.2f}, {share['best of each']:.2f}",
            "a batch must matter: at most 0.95",
        ),
    ]
    return lines + _large(n_large)


def _large(n: int) -> list[tuple[str, str, str]]:
    lines = []
    for kind, k, repeats in (
        ("heads", 100, 3),
        ("near-duplicates", 100, 1),
        ("heads that hardly differ", 100, 3),
        ("heads that hardly differ", 1000, 1),
    ):
        say(f"BatchBALD, N = {n:,}, k = {k}, {kind}")
        found = child("bench.batchbald:large", kind=kind, n=n, k=k, repeats=repeats)
        what = f"BatchBALD, N = {n:,}, T = {DRAWS}, C = {C}, k = {k}, {kind}"
        lines.append(
            (
                f"{what}: time, peak memory beside the input, picks drawn from BALD as the samples are used up",
                f"{show(found['seconds'])}, {found['rise']:.0f} MiB, {found['filled']} of {k}",
                "at most 20 s and 1,024 MiB" if k == 100 else "the memory of k = 100",
            )
        )
    return lines
