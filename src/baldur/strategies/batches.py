"""Strategies that choose several items together. A strategy is known by the name of its function.

A recipe takes predictions and features from a `QueryRound`. It returns `Picks`, with the score of every item if it
has one.
Options are bound by keyword: `partial(power_bald, beta=8)`, or `--strategy "power_bald(beta=8)"`.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import acquire, select
from baldur.core.ranges import Count, CountOrZero, NotNegative, Positive
from baldur.protocols import Choice, Picks, Pool, Strategy, View
from baldur.strategies.items import _epig, _targets, bald
from baldur.strategies.recipe import QueryRound, Reduce, Scored, strategy

__all__ = [
    "badge",
    "bait",
    "batch_epig",
    "batchbald",
    "ceal",
    "cluster_margin",
    "core_set",
    "discriminative",
    "facility_location",
    "power_bald",
    "power_epig",
    "prob_cover",
    "robust_core_set",
    "softmax_bald",
    "softrank_bald",
    "suggestive_annotation",
    "two_stage",
    "typiclust",
]


def _inputs(pool: Pool) -> NDArray[Any] | None:
    """The items themselves if they are vectors, such as features of an encoder or rows of a table; else None."""
    parts = []
    for _, x in pool.batches(np.arange(len(pool)), 4096):  # x: (n, D)
        if not isinstance(x, torch.Tensor) or x.ndim != 2:
            return None
        parts.append(x.numpy())
    return np.concatenate(parts) if parts else None  # (N, D)


def _representation(at: QueryRound) -> tuple[NDArray[Any], NDArray[Any]]:
    """Unit vectors of the unlabelled and the labelled items; from the inputs, which need no labels, if possible."""
    pool = _inputs(at.unlabelled)
    if pool is None:
        return _units(at.features()), _units(at.known_features())
    known = _inputs(at.labelled.pool)
    if known is None:  # nothing is labelled
        known = pool[:0]
    return _units(pool), _units(known)


def _units(x: NDArray[Any]) -> NDArray[Any]:
    norms = np.linalg.norm(x, axis=1, keepdims=True)  # (N, 1)
    return x / np.where(norms > 0, norms, 1)


# Several items together: by chance, by joint information


@strategy
def power_bald(at: QueryRound, beta: NotNegative = 1.0) -> Scored:
    """A batch drawn with probabilities proportional to BALD^β (Kirsch et al. 2023).

    Args:
        at: The round.
        beta: β; 0 is random, and a large β is the k best.
    """
    scores = at.scores(acquire.bald)
    return select.power(scores, at.k, at.rng, beta), scores


@strategy
def softmax_bald(at: QueryRound, beta: NotNegative = 8.0) -> Scored:
    """A batch drawn with probabilities proportional to exp(β BALD) (Kirsch et al. 2023).

    BALD is small, so β = 1 is close to random. 8 was best in the published study.

    Args:
        at: The round.
        beta: β; 0 is random, and a large β is the k best.
    """
    scores = at.scores(acquire.bald)
    return select.softmax(scores, at.k, at.rng, beta), scores


@strategy
def softrank_bald(at: QueryRound, beta: NotNegative = 1.0) -> Scored:
    """A batch drawn with probabilities proportional to rank^-β by BALD (Kirsch et al. 2023).

    Args:
        at: The round.
        beta: β; 0 is random, and a large β is the k best.
    """
    scores = at.scores(acquire.bald)
    return select.softrank(scores, at.k, at.rng, beta), scores


@strategy
def power_epig(
    at: QueryRound, targets: Count | Pool = 100, weights: Any = None, beta: NotNegative = 1.0
) -> Scored:
    """A batch drawn with probabilities proportional to EPIG^β; options as in `epig` (Kirsch et al. 2023).

    Args:
        at: The round.
        targets: As in `epig`.
        weights: As in `epig`.
        beta: β; 0 is random, and a large β is the k best.
    """
    scores = _epig(at, *_targets(at, targets, weights))
    return select.power(scores, at.k, at.rng, beta), scores


@strategy
def batchbald(at: QueryRound) -> Picks | Scored:
    """The batch whose labels together have the most information about the weights (Kirsch et al. 2019).

    If the predictions of the pool would take more than half of the memory, they are not kept. Then items that can
    still be chosen are predicted a second time, and the picks are the same.
    """
    read = at.reader()
    _, samples, classes, *_ = read(np.arange(min(1, len(at.unlabelled)))).shape
    if 4 * len(at.unlabelled) * samples * (2 * classes + 1) <= at.memory // 2:
        return select.batchbald(at.log_probs(), at.k, rng=at.rng)
    scores = at.scores(acquire.bald)
    return select.streamed_batchbald(scores, read, at.k, memory=at.memory // 2, rng=at.rng), scores


@strategy
def batch_epig(
    at: QueryRound, targets: Count | Pool = 100, candidates: Count = 100, configurations: Count = 100
) -> Scored:
    """The batch whose labels together have the most information about targets (after Bickford Smith et al. 2023).

    Args:
        at: The round.
        targets: The inputs whose predictions matter: a pool, or a number of random unlabelled items.
        candidates: The batch is chosen among this many items of the largest EPIG, at least k.
        configurations: How many label configurations of the batch each step uses at most; drawn if there are more.
    """
    aims, _ = _targets(at, targets, None)
    scores = _epig(at, aims, None)
    some = select.top(scores, max(candidates, at.k)).indices
    log_probs = at.log_probs(View(at.unlabelled, some))
    picks = select.batch_epig(
        log_probs, at.k, target_log_probs=aims, max_configurations=configurations, rng=at.rng
    )
    return Picks(some[picks.indices], picks.scores, picks.info), scores


# Several items together: by where they lie


@strategy
def core_set(at: QueryRound) -> Picks:
    """The batch that leaves no item far from a labelled one, by k-center greedy (Sener & Savarese 2018)."""
    return select.k_center(at.features(), at.k, at.known_features())


@strategy
def robust_core_set(at: QueryRound, outliers: CountOrZero | None = None) -> Picks:
    """As `core_set`, but it passes over the farthest items, one in 10,000 (Sener & Savarese 2018).

    Args:
        at: The round.
        outliers: How many items it may pass over, instead of one in 10,000.
    """
    return select.robust_k_center(at.features(), at.k, labelled=at.known_features(), outliers=outliers)


@strategy
def facility_location(at: QueryRound) -> Picks:
    """The batch that makes all items most similar to a labelled or chosen one (Wei, Iyer & Bilmes 2015)."""
    return select.facility_location(at.features(), at.k, labelled=at.known_features())


@strategy
def discriminative(at: QueryRound, queries: Count = 10) -> Picks:
    """The items that a classifier separates best from the labelled ones (Gissin & Shalev-Shwartz 2019).

    Args:
        at: The round.
        queries: How many small queries make the batch; each trains a classifier.
    """
    return select.discriminative(
        at.features(), at.k, labelled=at.known_features(), rng=at.rng, queries=queries
    )


@strategy
def typiclust(at: QueryRound) -> Picks:
    """The most typical item of each of the largest clusters without a label (Hacohen, Dekel & Weinshall 2022).

    It clusters the inputs if they are vectors, such as the features of an encoder; else the network's features.
    """
    features, known = _representation(at)
    return select.typiclust(features, at.k, labelled=known, rng=at.rng)


@strategy
def prob_cover(at: QueryRound, delta: NotNegative | None = None) -> Picks:
    """The balls that cover most uncovered items (Yehuda et al. 2022); representation as in `typiclust`.

    Args:
        at: The round.
        delta: The radius of a ball, for unit vectors; if it is not given, that of `select.purity_radius`.
    """
    features, known = _representation(at)
    if delta is None:
        delta = select.purity_radius(features, min(at.classes(), len(features)), rng=at.rng)
    return select.prob_cover(features, at.k, labelled=known, delta=delta)


# Several items together: uncertain and different


@strategy
def badge(at: QueryRound) -> Picks:
    """The batch of large and different gradients of the last layer, its bias included (Ash et al. 2020)."""
    return select.badge(at.mean(), at.features(bias=True), at.k, at.rng)


@strategy
def bait(at: QueryRound, candidates: Count = 2000, regularisation: Positive = 1.0) -> Picks:
    """The batch that leaves the least Fisher information of the last layer unexplained (Ash et al. 2021).

    Args:
        at: The round.
        candidates: How many random items represent the pool; time grows with their number and (C D)².
        regularisation: λ.
    """
    few = at.within(at.sample(candidates))
    labelled_log_probs, labelled = at.mean(at.labelled.pool), at.known_features(bias=True)
    picks = select.bait(
        few.mean(),
        few.features(bias=True),
        at.k,
        labelled_log_probs=labelled_log_probs,
        labelled=labelled,
        regularisation=regularisation,
    )
    assert isinstance(few.unlabelled, View)
    return Picks(few.unlabelled.positions[picks.indices], picks.scores, picks.info)


@strategy
def suggestive_annotation(at: QueryRound, score: Reduce = acquire.mean_std) -> Scored:
    """Among the most uncertain items those that represent the pool (Yang et al. 2017).

    Args:
        at: The round.
        score: The uncertainty; by default the spread of the samples, as in the paper.
    """
    scores = at.scores(score)
    return select.suggestive_annotation(scores, at.features(), at.k), scores


@strategy
def cluster_margin(at: QueryRound, clusters: Count | None = None) -> Scored:
    """Among the items with the smallest margins one from each cluster in turn (Citovsky et al. 2021).

    Args:
        at: The round.
        clusters: How many clusters; 10k if it is not given. They are found among 5000 random items, or fewer if the
            memory is less than 400 MiB.
    """
    clusters = clusters or 10 * at.k
    sample = max(clusters, min(5000, math.isqrt(at.memory // 16)))  # memory grows with its square
    parts = select.average_linkage(at.features(), rng=at.rng, clusters=clusters, sample=sample)
    mean = at.mean()
    return select.cluster_margin(mean, parts, at.k, rng=at.rng), np.asarray(acquire.margin(mean))


@strategy
def ceal(at: QueryRound, criterion: str = "entropy") -> Picks:
    """The most uncertain items; `info` has pseudo-labels for those that are certain enough (Wang et al. 2016).

    Args:
        at: The round.
        criterion: The uncertainty: "entropy", "margin" or "least_confidence".
    """
    threshold = select.ceal_threshold(int(at.labelled.rounds.max(initial=0)))
    mean = at.mean()
    return select.ceal(mean, at.k, threshold=threshold, criterion=criterion)  # type: ignore[arg-type]


# One after the other


@strategy
def two_stage(
    at: QueryRound, first: Strategy = typiclust, then: Strategy = bald, per_class: Count = 2
) -> Choice:
    """TypiClust until every class has two labels, then BALD: before, BALD is arbitrary (Hacohen et al. 2022).

    A class may be missing from the pool. So `then` also begins once there are 5 · `per_class` labels for each class
    on average.

    Args:
        at: The round.
        first: The strategy for the first labels.
        then: The strategy afterwards.
        per_class: How many labels every class must have before `then` begins.

    Raises:
        Unsupported: An item has several labels, a map of them or a number.
    """
    seen, classes = at.seen(), at.classes()
    every = len(seen) >= classes and bool((seen >= per_class).all())
    stage = then if every or len(at.labelled) >= 5 * per_class * classes else first
    return stage(at.posterior, at.labelled, at.unlabelled, at.k, at.rng, at.scorer)
