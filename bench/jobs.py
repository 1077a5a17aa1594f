"""Two whole studies with `baldur.run` on two threads: their time, and the accuracy of their models.

The first is the six-hour study of the literature's students: CIFAR-10, a pool of 3,000, T = 3, 20 labels and 50 rounds
of 10, a shallow network, three acquisition functions. The second is the protocol of Gal, Islam & Ghahramani (ICML 2017)
on MNIST, with its whole pool: 20 balanced labels, 100 rounds of 10, T = 20, BALD. Every round trains new weights.

What saves the time are settings that anybody can give (`QUICK`): a learning rate that rises and falls needs 12 passes
over the labels, not 100, and bfloat16. The first study's last labels are then learnt by the plain recipe, 100 epochs of
Adam at a constant rate, and by the quick one, each with several seeds. Runs lie in build/jobs; interrupted, they go on.
"""

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from baldur import data
from baldur.data import Dataset
from baldur.protocols import View
from baldur.runs.run import Observer, run
from baldur.store import Store
from bench.measure import ROOT, say

RUNS = ROOT / "build" / "jobs"
TOOK = "seconds.txt"
PHASES = ("label", "fit", "measure", "choose")
STRATEGIES = ("bald", "entropy", "variation_ratio")
SEEDS = 5
QUICK = {
    "epochs": 12,
    "epoch_size": 256,
    "batch_size": 32,
    "learning_rate": 2e-3,
    "schedule": "cosine(warm_up=0.2)",
    "precision": "bfloat16",
}
LONGER = {**QUICK, "epochs": 16, "epoch_size": 1024}
"""With few labels BALD asks for better ones if the network was trained longer."""
PLAIN = {"epochs": 100, "epoch_size": 1, "batch_size": 32, "learning_rate": 1e-3, "precision": "float32"}
SCORING = {"score_precision": "bfloat16", "threads": 2}


def part_of(dataset: Dataset, positions: Sequence[int]) -> Dataset:
    """The data with some items of its pool only."""
    chosen = np.sort(np.asarray(positions, np.intp))
    return replace(dataset, train=View(dataset.train, chosen), labels=dataset.labels[chosen])


def accuracies(folder: Path) -> dict[tuple[str, int], list[float]]:
    """Test accuracy by round, of each trial."""
    with Store.open(folder) as store:
        return {
            (trial.strategy, trial.seed): [
                trial.metric(number, "accuracy") for number in range(trial.latest().round + 1)
            ]
            for trial in store.trials()
        }


def spent(folder: Path) -> Counter[str]:
    """Seconds in each phase, over all trials."""
    total: Counter[str] = Counter()
    if folder.exists():
        with Store.open(folder) as store:
            for phase in store.phases():
                total[phase.phase] += phase.seconds or 0.0
    return total


def job(dataset: Dataset, name: str, **options: Any) -> tuple[float, Counter[str]]:
    """One whole run: its seconds, those before an interruption included, and the seconds of its phases."""
    folder = RUNS / name
    if (folder / TOOK).exists():
        return float((folder / TOOK).read_text()), spent(folder)
    before = spent(folder).total()
    if before:
        say(f"{name} goes on after {before / 60:.1f} minutes")
    start = last = time.perf_counter()

    def tell(event: Any) -> None:
        nonlocal last
        if event.metrics is not None and time.perf_counter() - last > 30:
            last = time.perf_counter()
            accuracy = event.metrics["accuracy", "test"]
            say(f"{name}: {event.strategy}, {event.labels} labels, {accuracy:.1%}, {last - start:.0f} s")

    run(dataset, folder, observer=Observer(event=tell), **options)
    seconds = before + time.perf_counter() - start
    (folder / TOOK).write_text(str(seconds))
    return seconds, spent(folder)


def in_words(seconds: float, phases: Counter[str]) -> str:
    """Minutes, and where they went."""
    shares = [f"{phase} {phases[phase] / 60:.1f}" for phase in PHASES]
    rest = (seconds - phases.total()) / 60
    return f"{seconds / 60:.1f} min ({', '.join(shares)}, the rest {rest:.1f})"


def rows() -> Iterator[tuple[str, str, str]]:
    """(what, measured, bar) of each job."""
    if (RUNS / "mnist" / TOOK).exists():  # the last of an old measurement, not of an interrupted one
        shutil.rmtree(RUNS)
    yield from cifar()
    yield from mnist()


def cifar() -> Iterator[tuple[str, str, str]]:
    """The six-hour study, and what its last labels give with other recipes."""
    whole = data.load("cifar10")
    pool = part_of(whole, np.random.default_rng(0).choice(len(whole.train), 3000, replace=False))
    about = {"network": "gal2017", "draws": 3, "targets": [0.3], **SCORING}
    protocol = {"strategies": STRATEGIES, "seeds": 1, "initial": 20, "query_size": 10, "rounds": 50}
    took = job(pool, "cifar10", **protocol, **about, **QUICK)
    yield "six-hour study: CIFAR-10, pool 3,000, 3 x 50 rounds of 10", in_words(*took), "at most 15 min"
    ends = {strategy: curve for (strategy, _), curve in accuracies(RUNS / "cifar10").items()}
    for strategy in STRATEGIES:
        labelled = chosen_by(strategy, pool)
        once = {"strategies": ["random"], "seeds": SEEDS, "initial": len(labelled.train), "rounds": 0}
        seen = {}
        for name, recipe in (("plain", PLAIN), ("quick", QUICK)):
            job(labelled, f"{strategy}-{name}", **once, **about, **recipe)
            seen[name] = [100 * curve[-1] for curve in accuracies(RUNS / f"{strategy}-{name}").values()]
        in_run = 100 * fmean(ends[strategy][-5:])
        quick, plain = (f"{fmean(seen[name]):.1f} ± {stdev(seen[name]):.1f} %" for name in ("quick", "plain"))
        yield (
            f"the same, {strategy}: test accuracy of its {len(labelled.train)} labels, {SEEDS} seeds,"
            " against 100 plain epochs on them",
            f"{quick} / {plain}; in the run, mean of the last 5 rounds, {in_run:.1f} %",
            "no lower",
        )


def chosen_by(strategy: str, pool: Dataset) -> Dataset:
    """The pool cut down to what a trial of the study had labelled in the end."""
    with Store.open(RUNS / "cifar10") as store:
        trial = store.trial(strategy, 0)
        items = {row.item for row in trial.labels(trial.latest().cut)}
    return part_of(pool, [i for i, name in enumerate(pool.train.ids) if name in items])


def mnist() -> Iterator[tuple[str, str, str]]:
    """100 rounds of Gal 2017."""
    protocol = {"strategies": ["bald"], "seeds": 1, "initial": 20, "initial_balanced": True}
    protocol |= {"query_size": 10, "rounds": 100, "draws": 20, "network": "gal2017"}
    took = job(data.load("mnist"), "mnist", **protocol, **SCORING, **LONGER)
    yield "Gal 2017: MNIST, pool 60,000, 100 rounds of 10, T = 20, BALD", in_words(*took), "at most 45 min"
    (curve,) = accuracies(RUNS / "mnist").values()
    last = 100 * (1 - fmean(curve[-5:]))
    yield (
        "the same: test error with 1,020 labels (mean of the last 5 rounds)",
        f"{100 * (1 - curve[-1]):.2f} % ({last:.2f} %)",
        "at most 2.2 %",
    )
