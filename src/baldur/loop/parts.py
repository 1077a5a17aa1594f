"""The parts of a trial and its budget, and the progress that it reports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.loop.stopping import Stopping
from baldur.protocols import Labelled, Learner, Oracle, Pool, Posterior, Scorer, Strategy


@dataclass(frozen=True)
class Budget:
    """The budget of a trial.

    Args:
        rounds: Number of rounds after the initial labels.
        query_size: Number of labels in a round.
        candidates: Number of random unlabelled items to choose among in each round; 0 means all.
        until: The trial ends at this test accuracy.
        retrain_after: People label: a round closes after this many new labels, even if requests are open, and the trial
            never ends by itself. None in other runs, where a round closes when all its requests are answered.
        by_rank: Whether the labels of a round are in the order in which they were asked for, whenever the answers came.
            Runs of the first version have the order of the answers.
    """

    rounds: int
    query_size: int
    candidates: int = 0
    until: float | None = None
    retrain_after: int | None = None
    by_rank: bool = True


@dataclass(frozen=True)
class Measured:
    """The measured quality of a posterior.

    Args:
        metrics: Values by (metric, split).
        calibration: The reliability diagram: "count", "confidence" and "accuracy", one value for each bin.
    """

    metrics: Mapping[tuple[str, str], float]
    calibration: Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Event:
    """Progress of a trial: a phase begins (`metrics` is None), or a round was measured.

    Args:
        strategy: The trial's strategy.
        seed: The trial's seed.
        round: The round.
        phase: label, fit, measure or choose.
        labels: Number of labels that the round trains on.
        metrics: The measured values.
    """

    strategy: str
    seed: int
    round: int
    phase: str
    labels: int
    metrics: Mapping[tuple[str, str], float] | None = None


@dataclass(frozen=True)
class Parts:
    """The parts of a trial. The loop knows only their contracts.

    Args:
        pool: All items.
        classes: The names of the classes.
        learner: Fits the posterior.
        strategy: Chooses items.
        oracle: Answers requests.
        scorer: Makes the scorer of a round from a seed.
        measure: Measures a posterior, given the items that it was trained on and a seed.
        initial: Chooses the first items, given a generator.
        picture: Makes a PNG of some items; None for items without pictures.
        generated: Makes a PNG of the items that the learner generated in its last fit; None if there are none.
        observe: Receives the progress.
        stopping: The stopping criterion; None if only the settings end a trial.
        guess: Gives mean log-probabilities (n, C) of items, for a seed. Guesses of the requested items are then kept.
        since: The event numbers of the items that were added to the pool later.
        added: The number of the newest event that added an item, when the pool was read.
    """

    pool: Pool
    classes: Sequence[str]
    learner: Learner
    strategy: Strategy
    oracle: Oracle
    scorer: Callable[[int], Scorer]
    measure: Callable[[Posterior, Labelled, int], Measured]
    initial: Callable[[np.random.Generator], Sequence[str]]
    picture: Callable[[Sequence[str]], bytes | None] = lambda ids: None
    generated: Callable[[], bytes | None] = lambda: None
    observe: Callable[[Event], None] = lambda event: None
    stopping: Stopping | None = None
    guess: Callable[[Posterior, Pool, int], NDArray[np.floating]] | None = None
    since: Mapping[str, int] = field(default_factory=dict)
    added: int = 0
