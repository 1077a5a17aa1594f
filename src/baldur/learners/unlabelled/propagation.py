"""Label propagation: while labels are few, near neighbours of labelled items get their labels."""

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
_ROUNDS = 5000  # maximum number of iterations; each contracts by alpha
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
    """While labels are few, also train on labels that spread over the graph of nearest neighbours.

    F = (1 − α)(I − αS)⁻¹ Y, S = D^{−½} W D^{−½}, W the symmetrised graph of the k nearest neighbours by cosine. Item i
    gets the class with the largest F_ic and the weight c_i = 1 − H(F_i / ΣF_i) / log C, if that is at least
    `confidence`. (Zhou et al., "Learning with local and global consistency", NIPS 2003; the weights are those of Iscen
    et al., CVPR 2019.) If the learner has an encoder trained by `contrastive`, it gives the features. Otherwise the
    learner is first fitted to the labels alone, which makes two fits. Each round makes new pseudo-labels, with the
    source "propagated". Memory is O(most · k), time O(most²).

    Args:
        learner: The learner to wrap; each item must have one class.
        neighbours: k.
        alpha: α, in (0, 1): how far labels spread.
        labels: Mean number of labels per seen class up to which labels are propagated.
        confidence: The smallest c_i for a pseudo-label, in [0, 1].
        most: Maximum number of unlabelled items in the graph, drawn at random.

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
    """A learner with propagated labels; see `label_propagation`."""

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
        """Fit a posterior to the labelled items and, while they are few, to their neighbours.

        Args:
            labelled: The labelled items.
            unlabelled: The items that may get pseudo-labels.
            seed: Seed of the fits and of the choice of items for the graph.
            round: The round.
            previous: The posterior of the previous round, for the learner.
            checkpoint: Stores the states of one or two fits.

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
            raise Unsupported(
                "label propagation needs one class for each item; it does not support maps, several labels or numbers"
            )
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
    """The class that spreads to each item over the graph of nearest neighbours, and its certainty.

    Args:
        features: Features (n, D); only their directions count.
        labels: Class indices of at least two classes; -1 if unknown.
        neighbours: k.
        alpha: Decides how far labels spread.

    Returns:
        Class indices (n,), and the certainty 1 − H / log C of each (n,), which is 0 if no label reaches the item.
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
    """The sparse, symmetric graph of nearest neighbours."""
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
