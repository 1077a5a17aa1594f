"""The time of a round without training and scoring, for a pool of 60,000 items."""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from baldur.loop import Budget, Measured, Parts, advance
from baldur.protocols import Choice
from baldur.store import Store

N, ROUNDS, K = 60_000, 20, 10


class Pool:
    """Ids and nothing else: reading images is scoring, not overhead."""

    groups = None

    def __init__(self) -> None:
        self.ids = [f"train/{i:05d}" for i in range(N)]

    def __len__(self) -> int:
        return N


class Posterior:
    """Weights as large as those of the Gal 2017 CNN."""

    def save(self, folder: Path) -> None:
        (folder / "network.safetensors").write_bytes(bytes(2_150_000))


class Learner:
    """Learns in no time."""

    def fit(self, labelled, unlabelled, **_):
        return Posterior()


class Oracle:
    """Answers in no time."""

    annotator = "truth"

    def ask(self, ids):
        return dict.fromkeys(ids, "0")


def strategy(posterior, labelled, unlabelled, k, rng, scorer):
    """Scores that come from nowhere, the best k of them."""
    scores = rng.random(len(unlabelled))
    best = np.argsort(-scores)[:k]
    ids = unlabelled.ids
    return Choice(tuple(ids[i] for i in best), scores[best], {}, scores)


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    budget = Budget(rounds=ROUNDS, query_size=K)
    pool, begun = Pool(), []
    metrics = {("accuracy", "test"): 0.5}
    parts = Parts(
        pool=pool,
        classes=("0", "1"),
        learner=Learner(),
        strategy=strategy,
        oracle=Oracle(),
        scorer=lambda seed: None,
        measure=lambda posterior, labelled, seed: Measured(metrics, {"count": np.zeros(15)}),
        initial=lambda rng: [pool.ids[i] for i in rng.permutation(N)[:20]],
        picture=lambda ids: bytes(10_000),
        observe=lambda event: begun.append(time.perf_counter()) if event.phase == "label" else None,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(Path(folder) / "run", settings="", classes=("0", "1")) as store,
    ):
        advance(store.trial("fake", 0), parts, budget)
    seconds = np.diff(begun)
    return [
        (
            f"a round's own overhead, pool of {N:,}: median (largest of {len(seconds)})",
            f"{median(seconds):.3f} s ({max(seconds):.3f} s)",
            "at most 0.2 s",
        )
    ]
