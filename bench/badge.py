"""BADGE with many classes, in less memory than the gradients need, and compared with scikit-activeml."""

from typing import Any

import numpy as np

from baldur import select
from bench import peers, pools
from bench.measure import MIB, child, peak, say, seconds, show

PEERS = ("scikit-activeml",)
N, D, C, K = 50_000, 512, 100, 1000
HELD, K_PEER = 8 * 2**30, 100
"""What the peer may hold, in bytes; and how many it chooses there, each taking it as long as the last."""


def largest() -> int:
    """The most items whose dense gradients, twice in float64 as the peer makes them, fit in what it may hold."""
    return HELD // (2 * 8 * C * D) // 100 * 100


def spread(log_probs: np.ndarray, features: np.ndarray, picks: list[int]) -> float:
    """The mean squared distance of a gradient to the nearest one chosen: what the seeding makes small."""
    probs = np.exp(log_probs[:, 0].astype(np.float64))
    residuals = probs - np.eye(C)[probs.argmax(axis=1)]
    x = features.astype(np.float64)
    squares = (residuals**2).sum(axis=1) * (x**2).sum(axis=1)
    products = (residuals @ residuals[picks].T) * (x @ x[picks].T)
    return float((squares + (squares[picks] - 2 * products).min(axis=1)).clip(0).mean()) if picks else 0.0


def ours(n: int, k: int) -> dict[str, Any]:
    """Time, memory and quality of Baldur."""
    features, log_probs = pools.embedded(n, D, C, seed=0)
    select.badge(log_probs[:200], features[:200], 3, 0)
    found: list[Any] = []
    rise = peak(lambda: found.append(select.badge(log_probs, features, k, 0)))
    (took,) = seconds(lambda: select.badge(log_probs, features, k, 0))
    picks = found[0].indices.tolist()
    return {
        "seconds": took,
        "rise": rise,
        "bytes": features.nbytes + log_probs.nbytes,
        "spread": spread(log_probs, features, picks),
        "computed": found[0].info["distances"] / (n * k),
    }


def theirs(n: int, k: int) -> dict[str, Any]:
    """The same of scikit-activeml, with the predictions ready."""
    _, badge, base = peers.activeml()
    features, log_probs = pools.embedded(n, D, C, seed=0)
    probs = np.exp(log_probs[:, 0])

    class Ready(base):
        """Knows the predictions of exactly these items."""

        def fit(self, X, y):
            return self

        def predict_proba(self, X):
            return probs

    query = badge(random_state=0).query
    y = np.full(n, np.nan)
    found: list[Any] = []

    def run() -> None:
        clf = Ready(classes=list(range(C)))
        found.append(query(features, y, clf, fit_clf=False, batch_size=k))

    times: list[float] = []
    rise = peak(lambda: times.extend(seconds(run)))
    picks = [int(i) for i in found[0]]
    return {"seconds": times[0], "rise": rise, "spread": spread(log_probs, features, picks)}


def rows(
    n: int = N, k: int = K, n_peer: int | None = None, k_peer: int = K_PEER
) -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    n_peer = n_peer or largest()
    say("BADGE")
    whole = child("bench.badge:ours", n=n, k=k)
    own = child("bench.badge:ours", n=n_peer, k=k_peer)
    theirs = peers.peer("scikit-activeml", "bench.badge:theirs", n=n_peer, k=k_peer)
    against = f"{peers.missing('scikit-activeml')}; {show(own['seconds'])}"
    if theirs:
        against = (
            f"{show(theirs['seconds'])} / {show(own['seconds'])} = {theirs['seconds'] / own['seconds']:.0f}x"
            f" ({theirs['rise']:,.0f} MiB against {own['rise']:.0f} MiB; mean squared distance to the nearest"
            f" pick {theirs['spread']:.4g} against {own['spread']:.4g})"
        )
    dense = 4 * n * C * D / 2**30
    return [
        (
            f"BADGE, N = {n:,}, D = {D}, C = {C}, k = {k}, of which the gradients alone take {dense:.1f} GiB in"
            " float32: time, and memory with the inputs",
            f"{show(whole['seconds'])}, {whole['bytes'] / MIB:.0f} MiB + {whole['rise']:.0f} MiB"
            f" ({whole['computed']:.1%} of the distances computed)",
            "at most 2,048 MiB",
        ),
        (
            f"BADGE, N = {n_peer:,} (what scikit-activeml can hold in {HELD >> 30} GiB), D = {D}, C = {C},"
            f" k = {k_peer}: its time over ours",
            against,
            "at least 20x",
        ),
    ]
