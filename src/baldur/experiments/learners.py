"""How right each learner is on a few labels of MNIST, after a short and after a long training."""

import csv
import gc
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import data, evaluate, learners, networks, score
from baldur.data import Dataset
from baldur.experiments.data import folder
from baldur.protocols import Labelled, Posterior, View
from baldur.runs.names import augment_named, fitting_named, learner_named
from baldur.training import Recipe

SEEDS = 3
POOL = 5000
DRAWS = 20
START = 20
SIZES = (80, 320)
EPOCHS = (10, 40)
FIGURES = Path("docs", "posteriors", "learners.csv")
CACHE = Path("build", "studies", "encoders")
HEADER = ["learner", "epochs", "labels", "seed", "accuracy", "nll", "fit"]

LEARNERS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "augmented": {"augment": "weak"},
    "fixmatch": {"learner": "fixmatch"},
    "mean-teacher": {"learner": "mean-teacher"},
    "pi-model": {"learner": "pi-model"},
    "ceal(model='previous')": {"learner": "ceal(model='previous')"},
    "ceal(model='current')": {"learner": "ceal(model='current')"},
    "bayesian-generative": {"learner": "bayesian-generative"},
    "learning-loss": {"posterior": "learning-loss(each='mc-dropout')"},
    "contrastive": {"learner": "contrastive"},
    "label-propagation + contrastive": {"learner": "label-propagation + contrastive"},
    "fixmatch + contrastive": {"learner": "fixmatch + contrastive"},
}


def measure(names: Sequence[str] = (), seeds: int = SEEDS, sizes: Sequence[int] = SIZES) -> None:
    """Fill in what is missing of the table, one line after the other.

    Args:
        names: Which learners; all where none is named.
        seeds: How many repetitions.
        sizes: Numbers of labels.
    """
    FIGURES.parent.mkdir(exist_ok=True)
    done = set()
    if FIGURES.exists():
        with FIGURES.open(newline="") as file:
            done = {tuple(row[:4]) for row in csv.reader(file)}
    else:
        FIGURES.write_text(",".join(HEADER) + "\n")
    torch.set_num_threads(1)
    digits = _pool()
    for seed in range(seeds):
        chosen = _order(digits.labels, seed)
        for labels in sizes:
            for name in names or LEARNERS:
                for epochs in EPOCHS:
                    key = (name, str(epochs), str(labels), str(seed))
                    if key in done:
                        continue
                    row = [*key, *_cell(name, epochs, digits, chosen, labels, seed)]
                    with FIGURES.open("a", newline="") as file:
                        csv.writer(file, lineterminator="\n").writerow(row)
                    print(*row, flush=True)
                    gc.collect()


def _pool() -> Dataset:
    whole = data.load("mnist", data_dir=str(folder()))
    pool = np.sort(np.random.default_rng(0).permutation(len(whole.train))[:POOL])
    return replace(whole, train=View(whole.train, pool), labels=whole.labels[pool])


def _order(labels: NDArray[np.int64], seed: int) -> NDArray[np.intp]:
    """All positions: two of each class first, and then at random."""
    order = np.random.default_rng(seed).permutation(len(labels))
    first = [order[labels[order] == c][: START // 10] for c in range(10)]
    start = np.concatenate(first)
    return np.concatenate([start, order[~np.isin(order, start)]])


def _cell(
    name: str, epochs: int, digits: Dataset, chosen: NDArray[np.intp], labels: int, seed: int
) -> list[str]:
    options = {"learner": "supervised", "posterior": "mc-dropout", "augment": None} | LEARNERS[name]
    augment = None if options["augment"] is None else augment_named(options["augment"])
    recipe = Recipe(epochs=epochs, epoch_size=2000, batch_size=64, device="cpu", augment=augment)
    network = partial(networks.batchbald2019, (1, 28, 28), 10)
    supervised = partial(
        learners.Supervised,
        network,
        classes=10,
        recipe=recipe,
        posterior=fitting_named(options["posterior"]),
    )
    learner = learner_named(options["learner"]).make(supervised, 10, (network, 10, None), CACHE)
    started = time.process_time()
    posterior: Posterior | None = None
    # CEAL takes its pseudo-labels from the model of the round before.
    rounds = (START, *(n for n in SIZES if n <= labels)) if "previous" in name else (labels,)
    for round, n in enumerate(rounds):
        some = chosen[:n]
        labelled = Labelled(
            View(digits.train, some),
            digits.labels[some],
            np.zeros(n, np.int64),
            np.ones(n, np.float32),
            ("oracle",) * n,
        )
        rest = View(digits.train, np.setdiff1d(np.arange(POOL), some))
        posterior = learner.fit(labelled, rest, seed=seed, round=round, previous=posterior)
    fitted = time.process_time() - started
    assert posterior is not None
    mean = score.predict(score.draws_of(posterior, DRAWS, seed), digits.test, evaluate.predictive)
    values = evaluate.accuracy(mean, digits.test_labels), evaluate.nll(mean, digits.test_labels)
    return [*(f"{value:.5f}" for value in values), f"{fitted:.1f}"]
