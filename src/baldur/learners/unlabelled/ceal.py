"""CEAL: confident predictions become pseudo-labels.

Wang, Zhang, Li, Zhang & Lin, "Cost-effective active learning for deep image classification", IEEE TCSVT 2017.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import acquire, evaluate, score
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.unlabelled.pools import Joined
from baldur.learners.unlabelled.stages import Stages
from baldur.protocols import (
    Checkpoint,
    Labelled,
    Learner,
    Pool,
    Positions,
    Posterior,
    View,
    WrappingLearner,
)

SOURCE = "pseudo"


def ceal(
    learner: Learner,
    *,
    threshold: float = 0.05,
    decay_rate: float = 0.0033,
    decay: Literal["linear", "cumulative"] = "linear",
    model: Literal["previous", "current"] = "current",
    weight: float = 1.0,
    most: int | None = None,
) -> "Ceal":
    """Also train on unlabelled items with confident predictions, which become their pseudo-labels.

    D_H = {(x, argmax_c p̄_c(x)) : H(p̄(x)) < δ_r}, and the learner is fitted to D_L ∪ D_H. In round r, δ_r is
    max(0, δ_0 - ρ r) or, cumulative, max(0, δ_0 - ρ r (r + 1) / 2). The threshold falls because the model becomes
    confident about more items. Each round makes new pseudo-labels, which are discarded after it. They cost no labels,
    and the items stay in the pool. (Wang et al., 2017.)

    In each round, the learner is fitted to D_L, gives the pseudo-labels, and is fitted again. In the paper, the model
    of the previous round gives them. That costs one fit a round instead of two, but errors stay: with a new fit in each
    round, pseudo-labels of the first model are learned again and again. On MNIST, it then was far worse than the plain
    learner.

    Args:
        learner: A learner of classes. With `warm_start`, it is fine-tuned, as in the paper.
        threshold: δ_0, in nats. With 0, there are no pseudo-labels.
        decay_rate: ρ, in nats per round.
        decay: Reading of the paper's "δ - ρ r": "linear" from δ_0, or "cumulative" from the previous round.
        model: The model that gives pseudo-labels: "current", fitted to D_L alone, which needs two fits in each round;
            or "previous", of the previous round, as in the paper.
        weight: Weight of a pseudo-label in the loss, relative to an answer.
        most: Maximum number of pseudo-labels, with the least entropy; by default, all.

    Returns:
        A learner.

    Raises:
        InvalidArgument: A value is not valid.
    """
    usable = threshold >= 0 and 0 <= decay_rate < math.inf and 0 < weight < math.inf  # not of nan
    if not usable or (most is not None and most < 1):
        raise InvalidArgument(
            f"threshold {threshold} and decay_rate {decay_rate} must be numbers and not negative, weight {weight} "
            f"must be positive and finite, and most, where it is given, at least 1, not {most}"
        )
    if decay not in ("linear", "cumulative") or model not in ("previous", "current"):
        raise InvalidArgument(
            f"decay is linear or cumulative, not {decay!r}, and model previous or current, not {model!r}"
        )
    return Ceal(learner, threshold, decay_rate, decay, model, weight, most)


@dataclass(frozen=True)
class Ceal(WrappingLearner):
    """A learner with pseudo-labels; see `ceal`."""

    learner: Learner
    threshold: float
    decay_rate: float
    decay: Literal["linear", "cumulative"]
    model: Literal["previous", "current"]
    weight: float
    most: int | None

    def level(self, round: int) -> float:
        """δ_r, the entropy below which a prediction counts as confident.

        Args:
            round: r, from 0.

        Returns:
            Nats, never negative.
        """
        steps = round if self.decay == "linear" else round * (round + 1) / 2
        return max(0.0, self.threshold - self.decay_rate * steps)

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Posterior:
        """Fit a posterior to the labelled items and the pseudo-labels.

        Args:
            labelled: The labelled items.
            unlabelled: The items for pseudo-labels; they are read once, in batches.
            seed: Seed of the fits and of the posterior's samples.
            round: r, from 0.
            previous: The posterior of the previous round, which gives the pseudo-labels.
            checkpoint: Stores the states of one or two fits.

        Returns:
            The posterior.

        Raises:
            Unsupported: The labels or the predictions are not classes.
        """
        level = self.level(round)
        if not level or not len(unlabelled):
            return self.learner.fit(
                labelled, unlabelled, seed=seed, round=round, previous=previous, checkpoint=checkpoint
            )
        if previous is not None and self.model == "previous":
            more = self._enlarged(previous, labelled, unlabelled, seed, round)
            return self.learner.fit(
                more, unlabelled, seed=seed, round=round, previous=previous, checkpoint=checkpoint
            )
        with Stages(checkpoint, self.learner) as stages:
            first = stages.first(
                lambda slot: self.learner.fit(
                    labelled, unlabelled, seed=seed, round=round, previous=previous, checkpoint=slot
                )
            )
            more = self._enlarged(first, labelled, unlabelled, seed, round)
            return self.learner.fit(
                more, unlabelled, seed=seed, round=round, previous=first, checkpoint=stages.second()
            )

    def load(self, folder: Path) -> Posterior:
        """Load a saved posterior of this learner.

        Args:
            folder: The folder of the saved posterior.

        Returns:
            The posterior.
        """
        return self.learner.load(folder)

    def _enlarged(
        self, posterior: Posterior, labelled: Labelled, unlabelled: Pool, seed: int, round: int
    ) -> Labelled:
        if labelled.labels.ndim != 1 or labelled.labels.dtype.kind != "i":
            raise Unsupported(
                "CEAL needs one class for each item; it does not support maps, several labels or numbers"
            )
        positions, labels = pseudo_labels(posterior, unlabelled, self.level(round), seed, self.most)
        return enlarged(
            labelled, unlabelled, positions, labels, round=round, weight=self.weight, source=SOURCE
        )


def pseudo_labels(
    posterior: Posterior, pool: Pool, level: float, seed: int, most: int | None = None
) -> tuple[Positions, NDArray[np.int64]]:
    """The items with a confident mean prediction, and their most probable classes.

    Args:
        posterior: A posterior over classes.
        pool: The items.
        level: δ, the largest entropy in nats.
        seed: Seed of the posterior's samples.
        most: Maximum number of items, with the least entropy.

    Returns:
        Ascending positions and class indices, both (m,).

    Raises:
        Unsupported: The posterior does not predict classes.
    """
    draws = posterior.draw(None, seed)
    if draws.kind != "categorical":
        raise Unsupported(f"CEAL needs one class for each item, but this posterior is {draws.kind}")
    told = score.predict(draws, pool, _entropy_and_class)  # (N, 2)
    sure = np.flatnonzero(told[:, 0] < level)
    if most is not None:
        sure = np.sort(sure[np.argsort(told[sure, 0], kind="stable")[:most]])
    return sure, told[sure, 1].astype(np.int64)


def _entropy_and_class(log_probs: Any) -> Any:
    likeliest = evaluate.predictive(log_probs).argmax(1)  # (n,)
    entropy = torch.as_tensor(acquire.entropy(log_probs))  # (n,)
    return torch.stack([entropy, torch.as_tensor(likeliest).double()], 1)  # (n, 2)


def enlarged(
    labelled: Labelled,
    pool: Pool,
    positions: Positions,
    labels: NDArray[np.int64],
    *,
    round: int,
    weight: float,
    source: str,
) -> Labelled:
    """Append items with pseudo-labels to the labelled items.

    Args:
        labelled: The labelled items.
        pool: The pool of the other items.
        positions: Positions of the items with pseudo-labels, shape (m,).
        labels: Their pseudo-labels, shape (m,).
        round: The round of the pseudo-labels.
        weight: Weight of each pseudo-label.
        source: The name of their source.

    Returns:
        All items, beginning with the unchanged labelled ones.
    """
    m = len(positions)
    return Labelled(
        _join(labelled.pool, View(pool, positions)),
        np.concatenate([labelled.labels, labels]),  # (n + m,)
        np.concatenate([labelled.rounds, np.full(m, round, np.int64)]),  # (n + m,)
        np.concatenate([labelled.weights, np.full(m, weight, np.float32)]),  # (n + m,)
        (*labelled.sources, *(source,) * m),
    )


def _join(first: Pool, second: View) -> Pool:
    if isinstance(first, View) and isinstance(second.whole, View) and first.whole is second.whole.whole:
        positions = np.concatenate([first.positions, second.whole.positions[second.positions]])  # (n + m,)
        return View(first.whole, positions)
    return Joined(first, second)
