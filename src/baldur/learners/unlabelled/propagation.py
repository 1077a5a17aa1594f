"""Label propagation: near neighbours of the very first labels get them, too, for as long as labels are few."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray

from baldur.core.seeds import generator
from baldur.core.trees import join
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.contrastive import Pretrained
from baldur.learners.unlabelled.pools import Joined
from baldur.learners.unlabelled.stages import Stages
from baldur.protocols import Checkpoint, Labelled, Learner, Pool, Posterior, View, WrappingLearner

SOURCE = "propagated"
_READ = 512
_ROUNDS = 5000  # of the iteration, at most; it contracts by alpha in each
Encode = Callable[[Pool], NDArray[np.float32]]


def label_propagation(
    learner: Learner,
    *,
    neighbours: int = 10,
    alpha: float = 0.9,
    labels: int = 10,
    confidence: float = 0.5,
    most: int = 5000,
) -> Learner:
    """While labels are few, the learner also learns from labels that spread over the graph of nearest neighbours.

    F = (1 − α)(I − αS)⁻¹ Y, S = D^{−½} W D^{−½}, W the symmetrised graph of the k nearest neighbours by cosine; item i
    gets the class of the largest F_ic and weighs c_i = 1 − H(F_i / ΣF_i) / log C, if that is `confidence` or more.
    (Zhou et al., "Learning with local and global consistency", NIPS 2003; the weights are those of Iscen et al., CVPR
    2019.) The features are those of the encoder, where the learner has one trained by `contrastive`; else those of the
    learner fitted to the labels alone, and there are two fits. Labels with the source "propagated" are made anew in
    every round and are no one's answers. Memory is O(most · k), time O(most²).

    Args:
        learner: The learner to wrap; each item must have one class.
        neighbours: k.
        alpha: α, in (0, 1): how far labels spread.
        labels: Labels a class, on average over the classes that were seen, up to which this is done.
        confidence: The least c_i, in [0, 1].
        most: Unlabelled items that are looked at, drawn at random.

    Returns:
        A learner.

    Raises:
        InvalidArgument: A value is not valid.
    """
    if neighbours < 1 or not 0 < alpha < 1 or labels < 0 or not 0 <= confidence <= 1 or most < 1:
        raise InvalidArgument(
            "neighbours and most must be at least 1, labels at least 0, alpha in (0, 1) and confidence in [0, 1]"
        )
    return LabelPropagation(learner, neighbours, alpha, labels, confidence, most)


@dataclass(frozen=True)
class LabelPropagation(WrappingLearner):
    """What `label_propagation` makes; see there."""

    learner: Learner
    neighbours: int
    alpha: float
    labels: int
    confidence: float
    most: int

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
        """Fit on what is labelled and, while that is little, on its neighbours.

        Args:
            labelled: The labelled items.
            unlabelled: Where labels are spread.
            seed: Seed of the fits and of which items are looked at.
            round: The round.
            previous: Last round's posterior, for the learner.
            checkpoint: Keeps both fits, where there are two.

        Returns:
            The posterior.

        Raises:
            Unsupported: The labels are not classes.
        """

        def inner(data: Labelled, slot: Checkpoint | None) -> Posterior:
            return self.learner.fit(
                data, unlabelled, seed=seed, round=round, previous=previous, checkpoint=slot
            )

        if labelled.labels.ndim != 1 or labelled.labels.dtype.kind != "i":
            raise Unsupported("labels are spread where an item has one class; not maps, sets or numbers")
        seen = len(np.unique(labelled.labels))
        if seen < 2 or len(labelled) > self.labels * seen or not len(unlabelled):
            return inner(labelled, checkpoint)
        encoder = self.learner.network if isinstance(self.learner, Supervised) else None
        if isinstance(encoder, Pretrained):
            encoder.show(labelled.pool, unlabelled)
            try:
                more = self._enlarged(encoder.features, labelled, unlabelled, seed, round)
            finally:
                encoder.hide()
            return inner(more, checkpoint)
        with Stages(checkpoint, self.learner) as stages:
            first = stages.first(lambda slot: inner(labelled, slot))
            more = self._enlarged(_encoder(first, seed), labelled, unlabelled, seed, round)
            return inner(more, stages.second())

    def load(self, folder: Path) -> Posterior:
        """Load a saved posterior of this learner.

        Args:
            folder: The folder of the saved posterior.

        Returns:
            The posterior.
        """
        return self.learner.load(folder)

    def _enlarged(
        self, encode: Encode, labelled: Labelled, unlabelled: Pool, seed: int, round: int
    ) -> Labelled:
        n, rng = len(unlabelled), generator(seed, "propagation", round)
        some = np.sort(rng.choice(n, min(self.most, n), replace=False))
        pool = View(unlabelled, some)
        features = np.concatenate([encode(labelled.pool), encode(pool)])  # (n + m, D)
        known = np.concatenate([labelled.labels, np.full(len(some), -1)])  # (n + m,)
        found, certainty = propagated(features, known, self.neighbours, self.alpha)
        found, certainty = found[len(labelled) :], certainty[len(labelled) :]  # (m,)
        sure = np.flatnonzero((certainty >= self.confidence) & (certainty > 0))
        return Labelled(
            Joined(labelled.pool, View(pool, sure)),
            np.concatenate([labelled.labels, found[sure]]),  # (n + s,)
            np.concatenate([labelled.rounds, np.full(len(sure), round, np.int64)]),  # (n + s,)
            np.concatenate([labelled.weights, certainty[sure].astype(np.float32)]),  # (n + s,)
            (*labelled.sources, *(SOURCE,) * len(sure)),
        )


def propagated(
    features: Float[ndarray, "n d"], labels: Int[ndarray, " n"], neighbours: int, alpha: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class that reaches each item over the graph of nearest neighbours, and how certain that is.

    Args:
        features: Shape (n, D); their directions count.
        labels: Class indices, -1 where unknown; two classes or more.
        neighbours: k.
        alpha: How far labels spread.

    Returns:
        Class indices (n,), and 1 − H / log C of their distribution (n,); 0 where no label reaches.
    """
    from scipy.special import xlogy
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.semi_supervised import LabelSpreading

    lengths = np.linalg.norm(features, axis=1, keepdims=True)  # (n, 1)
    directions = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    k = min(neighbours, len(features) - 1)
    model = LabelSpreading(kernel=lambda a, b: _graph(a, k), alpha=alpha, max_iter=_ROUNDS, tol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what is left is below alpha ** rounds
        warnings.simplefilter("ignore", RuntimeWarning)  # items that no label reaches divide 0 by 0
        model.fit(directions, labels)
    shares = np.nan_to_num(np.asarray(model.label_distributions_, np.float64))  # (n, C)
    entropy = -xlogy(shares, shares).sum(1)  # (n,)
    certainty = np.clip(1 - entropy / np.log(shares.shape[1]), 0, 1) * (shares.sum(1) > 0)
    return np.asarray(model.classes_[shares.argmax(1)], np.int64), certainty


def _graph(directions: NDArray[np.float32], neighbours: int) -> object:
    """1 between an item and its nearest neighbours, either way; sparse."""
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(directions, neighbours, mode="connectivity")
    return graph.maximum(graph.T)  # (n, n)


def _encoder(posterior: Posterior, seed: int) -> Encode:
    draws = posterior.draw(None, seed)

    def encode(pool: Pool) -> NDArray[np.float32]:
        batches = pool.batches(np.arange(len(pool)), _READ)
        features: NDArray[np.float32] = (
            join([torch.as_tensor(draws.features(x)).float().cpu() for _, x in batches])
        ).numpy()  # (N, D)
        return features

    return encode
