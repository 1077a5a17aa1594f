"""Every posterior over one network, trained on a few labels of MNIST: how right, how calibrated, how well it knows what
it does not know (Fashion-MNIST), and what it costs. Few labels are trained on for a short and for a long time."""

import csv
import gc
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import nn

from baldur import acquire, data, evaluate, learners, networks, score
from baldur.experiments.data import folder
from baldur.posteriors.calibrated import Method
from baldur.protocols import Labelled, Learner, View
from baldur.runs.names import fitting_named
from baldur.training import Recipe

SIZES = {10: (200, 1000, 5000), 40: (200, 1000)}
"""Numbers of labels, by epochs of training."""

SEEDS = 3
DRAWS = 20
STRANGERS = 2000
FIGURES = Path("docs", "posteriors", "posteriors.csv")
HEADER = [
    "posterior",
    "epochs",
    "labels",
    "seed",
    "accuracy",
    "nll",
    "ece",
    "auroc_entropy",
    "auroc_bald",
    "fit",
    "predict",
]

WITH_DROPOUT = (
    "deterministic",
    "mc-dropout",
    "dropconnect(p=0.3)",
    "ensemble(members=5)",
    "dropout-ensemble",
    "swag(collections=10)",
    "multi-swag(members=3, collections=10)",
    "bayes-by-backprop",
    "laplace(structure='diagonal')",
    "laplace(structure='kronecker')",
    "laplace(structure='full')",
    "laplace(structure='diagonal', mean_factor=1.0)",
    "laplace(structure='kronecker', mean_factor=1.0)",
    "laplace(structure='full', mean_factor=1.0)",
)
WITHOUT_DROPOUT = (
    "deterministic",
    "inserted-dropout(where='last')",
    "inserted-dropout(where='every', rate=0.25)",
)
CALIBRATED: tuple[Method, ...] = ("temperature", "dirichlet")


def plain(network: nn.Module) -> nn.Module:
    """A network whose dropout does nothing: an identity stands in each place."""
    for name, module in network.named_children():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            setattr(network, name, nn.Identity())
        else:
            plain(module)
    return network


def members(epochs: int) -> Mapping[str, Callable[[], Learner]]:
    """Each posterior by its name in the table, and what learns it.

    Args:
        epochs: Passes over 2,000 items.

    Returns:
        Functions without arguments that make a learner.
    """
    recipe = Recipe(epochs=epochs, epoch_size=2000, batch_size=64, device="cpu")

    def dropping() -> nn.Module:
        return networks.batchbald2019((1, 28, 28), 10)

    def never() -> nn.Module:
        return plain(dropping())

    def supervised(network: Callable[[], nn.Module], name: str) -> Learner:
        return learners.Supervised(network, classes=10, recipe=recipe, posterior=fitting_named(name))

    made: dict[str, Callable[[], Learner]] = {
        name: partial(supervised, dropping, name) for name in WITH_DROPOUT
    }
    made |= {f"no dropout: {name}": partial(supervised, never, name) for name in WITHOUT_DROPOUT}

    def calibrated(method: Method) -> Learner:
        return learners.calibrated(supervised(dropping, "deterministic"), method=method)

    made |= {f"deterministic, {method}": partial(calibrated, method) for method in CALIBRATED}
    return made


def measure() -> None:
    """Fill in what is missing of the table, one line after the other."""
    FIGURES.parent.mkdir(exist_ok=True)
    done = set()
    if FIGURES.exists():
        with FIGURES.open(newline="") as file:
            done = {tuple(row[:4]) for row in csv.reader(file)}
    else:
        FIGURES.write_text(",".join(HEADER) + "\n")
    torch.set_num_threads(1)
    digits, clothes = (data.load(name, data_dir=str(folder())) for name in ("mnist", "fashion-mnist"))
    strangers = View(clothes.test, np.arange(STRANGERS))
    for epochs, sizes in SIZES.items():
        for labels, seed in product(sizes, range(SEEDS)):
            chosen = np.random.default_rng(seed).permutation(len(digits.train))[:labels]
            for name, make in members(epochs).items():
                key = (name, str(epochs), str(labels), str(seed))
                if key in done:
                    continue
                row = [*key, *_cell(make(), digits, strangers, chosen, seed)]
                with FIGURES.open("a", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerow(row)
                print(*row, flush=True)
                gc.collect()


def _cell(learner: Learner, digits: Any, strangers: View, chosen: NDArray[np.intp], seed: int) -> list[str]:
    n = len(chosen)
    labelled = Labelled(
        View(digits.train, chosen),
        digits.labels[chosen],
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
        ("oracle",) * n,
    )
    rest = View(digits.train, np.setdiff1d(np.arange(len(digits.train)), chosen))
    started = time.process_time()
    posterior = learner.fit(labelled, rest, seed=seed, round=0)
    fitted = time.process_time()
    draws = score.draws_of(posterior, DRAWS, seed)
    known = score.predict(draws, digits.test)
    predicted = time.process_time()
    unknown = score.predict(draws, strangers)
    mean = evaluate.predictive(known)
    strange = [0] * len(known) + [1] * len(unknown)
    both = np.concatenate([known, unknown])
    values = [evaluate.accuracy(mean, digits.test_labels), evaluate.nll(mean, digits.test_labels)]
    values += [evaluate.ece(mean, digits.test_labels), roc_auc_score(strange, acquire.entropy(both))]
    told = [f"{value:.5f}" for value in values]
    told.append(f"{roc_auc_score(strange, acquire.bald(both)):.5f}" if len(draws) > 1 else "")
    return [*told, f"{fitted - started:.1f}", f"{predicted - fitted:.1f}"]
