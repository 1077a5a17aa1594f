"""Which learner is best with few labels, on tables and on texts: forests, committees, or a network with dropout."""

import csv
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from baldur import evaluate, learners, networks, score
from baldur.data import Dataset
from baldur.data.by_name import by_name
from baldur.data.labels import rules_of
from baldur.data.tables import from_table
from baldur.experiments.data import folder
from baldur.protocols import Labelled, Learner, View
from baldur.runs.names import fitting_named
from baldur.runs.plan import USUAL
from baldur.training import Recipe

SEEDS = 5
SIZES = (50, 100, 200)
FIGURES = Path("docs", "posteriors", "few.csv")
HEADER = ["data", "learner", "labels", "seed", "accuracy", "nll", "fit"]
TABLES = (
    "banknote_authentication",
    "breast-cancer-wisconsin",
    "ecoli",
    "german",
    "glass",
    "haberman",
    "ionosphere",
    "pima-indians-diabetes",
    "sonar",
    "winequality-red",
)
TEXTS = {
    "TREC": {"train": "TREC.train.all.txt", "test": "TREC.test.all.txt"},
    "SST-2": {"train": "stsa.binary.train.txt", "test": "stsa.binary.test.txt"},
}
_DRAWS = 20


def members(width: int, classes: int, texts: bool) -> Mapping[str, Callable[[], Learner]]:
    """Each learner by its name.

    Args:
        width: The number of inputs.
        classes: The number of classes.
        texts: Whether the inputs are of texts.

    Returns:
        Functions that make one.
    """
    boosted = GradientBoostingClassifier(n_estimators=30, subsample=0.7)
    made: dict[str, Callable[[], Learner]] = {
        "random-forest": partial(learners.random_forest, classes),
        "extra-trees": partial(learners.extra_trees, classes),
        "committee": partial(learners.committee, classes),
    }
    if texts:
        made[USUAL["text"]] = partial(learners.committee, classes, C=0.05, standardise=False)
    else:
        made["boosted trees, 5 bagged"] = partial(
            learners.Estimator, boosted, classes=classes, members=5, bootstrap=True, smoothing=0.01
        )
    made["mlp with mc-dropout"] = partial(
        learners.Supervised,
        partial(networks.mlp, (width,), classes),
        classes=classes,
        recipe=Recipe(epochs=40, epoch_size=256, batch_size=32, device="cpu"),
        posterior=fitting_named("mc-dropout"),
    )
    return made


def measure() -> None:
    """Fill in what is missing of the table, one line after the other."""
    done = set()
    if FIGURES.exists():
        with FIGURES.open(newline="") as file:
            done = {tuple(row[:4]) for row in csv.reader(file)}
    else:
        FIGURES.write_text(",".join(HEADER) + "\n")
    torch.set_num_threads(1)
    for seed in range(SEEDS):
        for name, whole in (*_texts(), *_tables(seed)):
            width = int(next(iter(whole.train.batches(np.arange(1), 1)))[1].shape[1])
            chosen = np.random.default_rng(seed).permutation(len(whole.train))
            for labels in sorted({min(n, len(chosen)) for n in SIZES}):
                for learner, make in members(width, len(whole.classes), name in TEXTS).items():
                    key = (name, learner, str(labels), str(seed))
                    if key in done:
                        continue
                    row = [*key, *_cell(make(), whole, chosen[:labels], seed)]
                    with FIGURES.open("a", newline="") as file:
                        csv.writer(file, lineterminator="\n").writerow(row)


def _tables(seed: int) -> Iterator[tuple[str, Dataset]]:
    """Each table with 30 % of its rows for testing; the last column is the class."""
    for name in TABLES:
        with (folder() / "tabular" / f"{name}.csv").open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
        columns = {f"x{j}": [row[j] for row in rows] for j in range(len(rows[0]) - 1)}
        labels = [row[-1] for row in rows]
        yield (
            name,
            from_table(
                name, columns, labels, test_fraction=0.3, seed=seed, rules=rules_of(task="classification")
            ),
        )


def _texts() -> Iterator[tuple[str, Dataset]]:
    """Texts with test items of their own."""
    for name, parts in TEXTS.items():
        columns: dict[str, list[str]] = {"text": [], "label": [], "split": []}
        for split, file in parts.items():
            for line in (folder() / "text" / file).read_text("latin-1").splitlines():
                label, text = line.split(" ", 1)
                columns["text"].append(text)
                columns["label"].append(label)
                columns["split"].append(split)
        labels, rules = columns.pop("label"), rules_of(columns=by_name(text="text"))
        yield name, from_table(name, columns, labels, test_fraction=0.2, rules=rules)


def _cell(learner: Learner, whole: Dataset, chosen: NDArray[np.intp], seed: int) -> list[str]:
    n = len(chosen)
    labelled = Labelled(
        View(whole.train, chosen),
        whole.labels[chosen],
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
        ("oracle",) * n,
    )
    rest = View(whole.train, np.setdiff1d(np.arange(len(whole.train)), chosen))
    started = time.process_time()
    posterior = learner.fit(labelled, rest, seed=seed, round=0)
    fitted = time.process_time() - started
    mean = score.predict(score.draws_of(posterior, _DRAWS, seed), whole.test, evaluate.predictive)
    values = evaluate.accuracy(mean, whole.test_labels), evaluate.nll(mean, whole.test_labels)
    return [*(f"{value:.5f}" for value in values), f"{fitted:.2f}"]
