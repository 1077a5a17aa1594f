"""Labels that MNIST takes with and without each learner."""

from dataclasses import replace
from typing import Any

import numpy as np

from baldur import data
from baldur.experiments.data import folder
from baldur.experiments.tables import RUNS, keep
from baldur.protocols import View
from baldur.runs import run

SEEDS = 3
POOL = 5000
LEARNERS: dict[str, dict[str, Any]] = {
    "supervised": {"rounds": 25},
    "augmented": {"augment": "weak", "rounds": 25},
    "ceal": {"learner": "ceal"},
    "learning-loss": {"posterior": "learning-loss(each='mc-dropout')"},
    "bayesian-generative": {"learner": "bayesian-generative"},
    "pi-model": {"learner": "pi-model"},
    "mean-teacher": {"learner": "mean-teacher"},
    "fixmatch": {"learner": "fixmatch", "until": 0.95, "rounds": 5},
    "contrastive": {"learner": "contrastive"},
    "label-propagation + contrastive": {"learner": "label-propagation + contrastive"},
    "fixmatch + contrastive": {"learner": "fixmatch + contrastive", "until": 0.95, "rounds": 5},
}


def measure(*names: str) -> None:
    """Random choice with each learner: what the learner does, not the choice.

    Args:
        names: Which learners; all where none is named.
    """
    whole = data.load("mnist", data_dir=str(folder()))
    pool = np.sort(np.random.default_rng(0).permutation(len(whole.train))[:POOL])
    dataset = replace(whole, train=View(whole.train, pool), labels=whole.labels[pool])
    for name in names or LEARNERS:
        outcome = run.run(
            dataset,
            RUNS / "learners" / name,
            network="batchbald2019",
            strategies=["learning_loss" if name == "learning-loss" else "random"],
            seeds=SEEDS,
            initial=20,
            initial_balanced=True,
            query_size=60,
            epochs=10,
            epoch_size=2000,
            batch_size=64,
            draws=10,
            threads=1,
            **{"rounds": 13, **LEARNERS[name]},
        )
        print(name, outcome, flush=True)
        keep(RUNS / "learners" / name, f"learners-{name}")
