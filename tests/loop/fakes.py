"""Parts of five lines each, with which the loop runs: it knows nothing of networks."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from baldur.loop import Budget, Measured, Parts
from baldur.protocols import Choice, Posterior

IDS = [f"item-{i}" for i in range(12)]
TRUTH = {i: "odd" if n % 2 else "even" for n, i in enumerate(IDS)}


class FakePool:
    ids = IDS
    groups = None

    def __len__(self):
        return len(IDS)

    def batches(self, positions, size):
        yield positions, positions


class FakePosterior(Posterior):
    """Believes in a number that depends on everything that it was fitted on."""

    def __init__(self, number):
        self.number = number

    def draw(self, T=None, seed=0):
        raise NotImplementedError

    def save(self, folder):
        (folder / "number").write_text(str(self.number))


class FakeLearner:
    def __init__(self):
        self.seen = []

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        self.seen.append((round, labelled, unlabelled, previous))
        return FakePosterior(seed % 1000 + sum(labelled.labels.tolist()))

    def load(self, folder: Path):
        return FakePosterior(int((folder / "number").read_text()))


class FakeOracle:
    annotator = "me"

    def __init__(self, willing=99):
        self.willing = willing
        self.asked = []

    def ask(self, ids):
        self.asked.append(list(ids))
        return {i: TRUTH[i] for i in ids[: self.willing]}


def last(posterior, labelled, unlabelled, k, rng, scorer):
    scores = np.arange(len(unlabelled), dtype=np.float64) + posterior.number
    order = np.argsort(-scores, kind="stable")[:k]
    return Choice(tuple(unlabelled.ids[i] for i in order), scores[order], {}, scores)


def parts(**changes):
    made = Parts(
        pool=FakePool(),
        classes=("even", "odd"),
        learner=FakeLearner(),
        strategy=last,
        oracle=FakeOracle(),
        scorer=lambda seed: None,
        measure=lambda posterior, labelled, seed: Measured(
            {("accuracy", "test"): posterior.number / 1000}, {}
        ),
        initial=lambda rng: [IDS[i] for i in rng.permutation(len(IDS))[:3]],
    )
    return replace(made, **changes)


BUDGET = Budget(rounds=2, query_size=2)


class Killed(Exception):
    pass
