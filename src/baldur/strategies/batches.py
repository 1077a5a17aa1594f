"""Named recipes: acquire + select + score. A strategy's name is its name here.

A recipe takes what it needs from a `QueryRound` and returns `Picks`, with the score of every item where there is one.
Its options are bound by keyword: `partial(power_bald, beta=8)`, or `--strategy "power_bald(beta=8)"`.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import acquire, select
from baldur.protocols import Choice, Picks, Pool, Strategy, View
from baldur.strategies.items import _epig, _targets, bald
from baldur.strategies.recipe import QueryRound, Reduce, Scored, strategy


def _inputs(pool: Pool) -> NDArray[Any] | None:
    """The items themselves where they are vectors (an encoder's features, a table), else None."""
    parts = []
    for _, x in pool.batches(np.arange(len(pool)), 4096):
        if not isinstance(x, torch.Tensor) or x.ndim != 2:
            return None
        parts.append(x.numpy())
    return np.concatenate(parts) if parts else None


def _representation(at: QueryRound) -> tuple[NDArray[Any], NDArray[Any]]:
    """Unit vectors of the unlabelled and of the labelled items that need no labels where there are such."""
    pool, known = _inputs(at.unlabelled), _inputs(at.labelled.pool)
    if pool is None or known is None:
        pool, known = at.features(), at.known_features()
    return _units(pool), _units(known)


def _units(x: NDArray[Any]) -> NDArray[Any]:
    norms = np.linalg.norm(x, axis=1, keepdims=True)
    return x / np.where(norms > 0, norms, 1)


# Several items together: by chance, by joint information


@strategy
def power_bald(at: QueryRound, beta: float = 1.0) -> Scored:
    """A batch drawn with probabilities proportional to BALD^β (Kirsch et al. 2023)."""
    scores = at.scores(acquire.bald)
    return select.power(scores, at.k, at.rng, beta), scores


@strategy
def softmax_bald(at: QueryRound, beta: float = 8.0) -> Scored:
    """A batch drawn with probabilities proportional to exp(β BALD) (Kirsch et al. 2023).

    BALD is small, so β = 1 is close to random; 8 did best in the published study.
    """
    scores = at.scores(acquire.bald)
    return select.softmax(scores, at.k, at.rng, beta), scores


@strategy
def softrank_bald(at: QueryRound, beta: float = 1.0) -> Scored:
    """A batch drawn with probabilities proportional to rank^-β by BALD (Kirsch et al. 2023)."""
    scores = at.scores(acquire.bald)
    return select.softrank(scores, at.k, at.rng, beta), scores


@strategy
def power_epig(at: QueryRound, targets: int | Pool = 100, weights: Any = None, beta: float = 1.0) -> Scored:
    """A batch drawn with probabilities proportional to EPIG^β; options as in `epig` (Kirsch et al. 2023)."""
    scores = _epig(at, *_targets(at, targets, weights))
    return select.power(scores, at.k, at.rng, beta), scores


@strategy
def batchbald(at: QueryRound) -> Picks | Scored:
    """The batch whose labels together tell most about the weights (Kirsch, van Amersfoort & Gal 2019).

    Where the predictions of the pool would take more than half of the memory, only those of items that can still be
    chosen are made, a second time; the picks are the same.
    """
    read = at.reader()
    _, samples, classes, *_ = read(np.arange(min(1, len(at.unlabelled)))).shape
    if 4 * len(at.unlabelled) * samples * (2 * classes + 1) <= at.memory // 2:
        return select.batchbald(at.log_probs(), at.k, rng=at.rng)
    scores = at.scores(acquire.bald)
    return select.streamed_batchbald(scores, read, at.k, at.memory // 2, rng=at.rng), scores


@strategy
def batch_epig(
    at: QueryRound, targets: int | Pool = 100, candidates: int = 100, configurations: int = 100
) -> Scored:
    """The batch whose labels together tell most about predictions elsewhere (after Bickford Smith et al. 2023).

    Args:
        at: The round.
        targets: Where predictions matter: a pool, or so many random unlabelled items.
        candidates: It is chosen among so many items of the largest EPIG, and no fewer than k.
        configurations: Labels of the batch that are weighed in each step, drawn where there are more.
    """
    aims, _ = _targets(at, targets, None)
    scores = _epig(at, aims, None)
    some = select.top(scores, max(candidates, at.k)).indices
    picks = select.batch_epig(at.log_probs(View(at.unlabelled, some)), aims, at.k, configurations, at.rng)
    return Picks(some[picks.indices], picks.scores, picks.info), scores


# Several items together: by where they lie


@strategy
def core_set(at: QueryRound) -> Picks:
    """The batch that leaves no item far from a labelled one, by k-center greedy (Sener & Savarese 2018)."""
    return select.k_center(at.features(), at.k, at.known_features())


@strategy
def robust_core_set(at: QueryRound, outliers: int | None = None) -> Picks:
    """As `core_set`, passing over the farthest items, one in 10,000 (Sener & Savarese 2018)."""
    return select.robust_k_center(at.features(), at.k, at.known_features(), outliers)


@strategy
def facility_location(at: QueryRound) -> Picks:
    """The batch to which, with the labelled items, all others are most similar (Wei, Iyer & Bilmes 2015)."""
    return select.facility_location(at.features(), at.k, at.known_features())


@strategy
def discriminative(at: QueryRound, queries: int = 10) -> Picks:
    """What a classifier tells most surely from the labelled items (Gissin & Shalev-Shwartz 2019)."""
    return select.discriminative(at.features(), at.known_features(), at.k, at.rng, queries)


@strategy
def typiclust(at: QueryRound) -> Picks:
    """The most typical item of each of the largest clusters without a label (Hacohen, Dekel & Weinshall 2022).

    Clusters are of the inputs where these are vectors, as an encoder makes them; else of the network's features.
    """
    features, known = _representation(at)
    return select.typiclust(features, at.k, at.rng, known)


@strategy
def prob_cover(at: QueryRound, delta: float | None = None) -> Picks:
    """The balls that cover most items not yet covered (Yehuda et al. 2022); representation as in `typiclust`.

    Args:
        at: The round.
        delta: The radius between unit vectors; where it is not given, that of `select.purity_radius`.
    """
    features, known = _representation(at)
    if delta is None:
        delta = select.purity_radius(features, min(at.classes(), len(features)), at.rng)
    return select.prob_cover(features, at.k, delta, known)


# Several items together: uncertain and different


@strategy
def badge(at: QueryRound) -> Picks:
    """The batch of large and different gradients of the last layer, its bias included (Ash et al. 2020)."""
    return select.badge(at.mean(), at.features(bias=True), at.k, at.rng)


@strategy
def bait(at: QueryRound, candidates: int = 2000, regularisation: float = 1.0) -> Picks:
    """The batch that leaves the least Fisher information of the last layer unexplained (Ash et al. 2021).

    Args:
        at: The round.
        candidates: So many random items stand for the pool: time grows with their number and (C D)².
        regularisation: λ.
    """
    few = at.within(at.sample(candidates))
    known = at.mean(at.labelled.pool), at.known_features(bias=True)
    picks = select.bait(few.mean(), few.features(bias=True), at.k, *known, regularisation)
    assert isinstance(few.unlabelled, View)
    return Picks(few.unlabelled.positions[picks.indices], picks.scores, picks.info)


@strategy
def suggestive_annotation(at: QueryRound, score: Reduce = acquire.mean_std) -> Scored:
    """Of the most uncertain items those that represent the pool (Yang et al. 2017).

    Args:
        at: The round.
        score: What uncertain means: the spread of the samples, as in the paper.
    """
    scores = at.scores(score)
    return select.suggestive_annotation(scores, at.features(), at.k), scores


@strategy
def cluster_margin(at: QueryRound, clusters: int | None = None) -> Scored:
    """Of the items of smallest margin one from each cluster in turn, small clusters first (Citovsky et al. 2021).

    Args:
        at: The round.
        clusters: How many; 10k where it is not given. They are found among 5000 random items, fewer where the
            memory is less than 400 MiB.
    """
    clusters = clusters or 10 * at.k
    sample = max(clusters, min(5000, math.isqrt(at.memory // 16)))  # memory grows with its square
    parts = select.average_linkage(at.features(), at.rng, clusters=clusters, sample=sample)
    mean = at.mean()
    return select.cluster_margin(mean, parts, at.k, at.rng), np.asarray(acquire.margin(mean))


@strategy
def ceal(at: QueryRound, criterion: str = "entropy") -> Picks:
    """The most uncertain items; `info` names those that are sure enough for a pseudo-label (Wang et al. 2016).

    Args:
        at: The round.
        criterion: "entropy", "margin" or "least_confidence".
    """
    threshold = select.ceal_threshold(int(at.labelled.rounds.max(initial=0)))
    return select.ceal(at.mean(), at.k, threshold, criterion)  # type: ignore[arg-type]  # it is checked there


# One after the other


@strategy
def two_stage(
    at: QueryRound, first: Strategy = typiclust, then: Strategy = bald, per_class: int = 2
) -> Choice:
    """TypiClust until every class was seen twice, then BALD: before, uncertainty is arbitrary (Hacohen et al. 2022).

    A class may be missing from the pool: with 5 · `per_class` labels a class over all, `then` takes over, too.

    Args:
        at: The round.
        first: Chooses while labels are few.
        then: Chooses afterwards.
        per_class: Labels that every class must have before `then` takes over.

    Raises:
        Unsupported: An item has several labels, a map of them or a number.
    """
    seen, classes = at.seen(), at.classes()
    every = len(seen) >= classes and bool((seen >= per_class).all())
    stage = then if every or len(at.labelled) >= 5 * per_class * classes else first
    return stage(at.posterior, at.labelled, at.unlabelled, at.k, at.rng, at.scorer)
