"""Batches spread over clusters: typical items of each, or uncertain items of each."""

from typing import SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import (
    count,
    host_features,
    labelled_features,
    mean_probabilities,
    same_length,
    shortlist,
)
from baldur.select._products import row_blocks
from baldur.select.ranking import top

_KMEANS_LIMIT = 50


def typiclust(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    labelled: Shaped[Array, "..."] | None = None,
    rng: np.random.Generator | int,
    neighbours: int = 20,
    smallest: int = 5,
    most_clusters: int = 500,
) -> Picks:
    """The most typical items of the large clusters without labels, for the first labels of all.

    Typicality is 1 / mean distance to the K nearest neighbours within the cluster, K = min(20, ⌊size / 2⌋). k-means
    divides L ∪ U into min(n_L + k, K_max) clusters (by mini-batches above 50). Clusters of more than `smallest` items
    are ordered by labels ascending, then by size descending. They give one item each in turn, the most typical first.
    The small clusters follow in the same way.

    G. Hacohen, A. Dekel and D. Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets,
    ICML 2022.

    Needs: features, features of the labelled. Cost: k-means with n_L + k clusters, then neighbours within each. Use:
    for the first tens of labels of each class, on features learned without labels. Later an uncertainty is better.

    Args:
        features: Features of the unlabelled items, shape (N, D); the paper takes self-supervised ones of length 1.
        k: How many to choose; more than N gives all.
        labelled: Features of the labelled items, shape (M, D).
        rng: A generator, or a seed, for the start of k-means.
        neighbours: The largest K.
        smallest: Clusters of at most this many items come last.
        most_clusters: K_max.

    Returns:
        The picks; each score is its typicality. `info["clusters"]` is the cluster of each pick, shape (k,).

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, or k is negative.
    """
    x = host_features(features)
    given = labelled_features(labelled, x)
    size = count(k, len(x))
    if size == 0:
        return _picks([], np.zeros(0), np.zeros(0, np.intp))
    if neighbours < 1 or most_clusters < 1:
        raise InvalidArgument(
            f"neighbours and most_clusters are at least 1, not {neighbours}, {most_clusters}"
        )
    everything = np.concatenate([x, given])  # (N + M, D)
    parts = k_means(everything, min(len(given) + size, most_clusters), np.random.default_rng(rng))
    typical = np.empty(len(everything))
    for c in np.unique(parts):
        members = np.flatnonzero(parts == c)
        typical[members] = typicality(everything[members], min(neighbours, len(members) // 2))
    sizes = np.bincount(parts)
    labels = np.bincount(parts[len(x) :], minlength=len(sizes))
    order = sorted(np.flatnonzero(sizes), key=lambda c: (labels[c], -sizes[c], c))
    queues = {c: _by(typical, np.flatnonzero(parts[: len(x)] == c)) for c in order}
    picks = _in_turn([queues[c] for c in order if sizes[c] > smallest], size)
    picks += _in_turn([queues[c] for c in order if sizes[c] <= smallest], size - len(picks))
    return _picks(picks, typical, parts)


def typicality(
    features: Shaped[Array, "..."], neighbours: int, *, squared: bool = False
) -> Float[np.ndarray, " N"]:
    """The density of the pool around an item: 1 / mean distance to its nearest neighbours.

    ((1/K) Σ_j ‖x - x_j‖)⁻¹ over the K nearest other items x_j; squared: with ‖x - x_j‖², as in released code, which
    ranks otherwise.

    G. Hacohen, A. Dekel and D. Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets,
    ICML 2022.

    Needs: features. Cost: neighbours: O(N² D) at worst. Use: to see where a pool is dense; `typiclust` calls it.

    Args:
        features: Features, shape (N, D).
        neighbours: K; at least 1 and at most all others are taken.
        squared: Whether squared distances are averaged.

    Returns:
        Typicality, shape (N,). It is very large, but finite, where all neighbours are duplicates; 0 without neighbours.

    Raises:
        InvalidArgument: The features do not have the two axes (N, D), or a row is not finite.
    """
    from sklearn.neighbors import NearestNeighbors

    x = host_features(features)
    if len(x) < 2:
        return np.zeros(len(x))
    nearest = NearestNeighbors(n_neighbors=min(max(1, neighbours), len(x) - 1)).fit(x)
    distances = nearest.kneighbors()[0]
    mean = (distances**2 if squared else distances).mean(axis=1)
    return np.asarray(1 / np.maximum(mean, np.finfo(np.float64).tiny))


def cluster_margin(
    log_probs: Shaped[Array, "..."],
    clusters: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    rng: np.random.Generator | int,
    candidates: SupportsIndex | None = None,
) -> Picks:
    """Among the items with the smallest margins one from each cluster in turn, small clusters first.

    The k_m items with the smallest p̄_(1) - p̄_(2) are grouped by cluster; the groups in ascending order of size give
    one random item each in turn, until k are chosen.

    G. Citovsky, G. DeSalvo, C. Gentile, L. Karydas, A. Rajagopalan, A. Rostamizadeh and S. Kumar, Batch Active
    Learning at Scale, NeurIPS 2021.

    Needs: prediction, clusters. Cost: O(N (T C + log N)). Use: for very large batches, hundreds and more; the clusters
    are computed once.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        clusters: The cluster of each item, whole numbers, shape (N,); see `average_linkage`.
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed.
        candidates: k_m, at least k. If it is not given, 10k, as in the paper on large sets (1.25k on CIFAR).

    Returns:
        The picks; each score is minus its margin. `info["clusters"]` is the cluster of each pick, shape (k,);
        `info["ties"]` that of `top` for the k_m candidates.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: The clusters do not fit the predictions, k_m is less than k, or k is negative.
    """
    probs = np.sort(to_numpy(mean_probabilities(log_probs)), axis=1)
    groups = to_numpy(clusters)
    if groups.ndim != 1 or groups.dtype.kind not in "iu":
        raise InvalidArgument(
            f"clusters (N,) as whole numbers were expected, not {groups.dtype} of the shape {groups.shape};"
            " average_linkage makes them of features"
        )
    same_length(len(probs), "predictions", len(groups), "clusters")
    size = count(k, len(probs))
    scores = probs[:, -2] - probs[:, -1]
    smallest = top(scores, shortlist(candidates, size, 10, len(probs)))
    pool = np.random.default_rng(rng).permutation(smallest.indices)
    queues = [pool[groups[pool] == c].tolist() for c in np.unique(groups[pool])]
    return _picks(_in_turn(sorted(queues, key=len), size), scores, groups, ties=smallest.info["ties"])


def average_linkage(
    features: Shaped[Array, "..."],
    *,
    rng: np.random.Generator | int,
    distance: float | None = None,
    clusters: int | None = None,
    sample: int = 5000,
) -> NDArray[np.intp]:
    """Clusters by hierarchical agglomeration with average linkage; computed once, for `cluster_margin` in every round.

    The two clusters with the smallest mean distance ‖x - y‖ between their items are joined until the tree is cut.
    Memory is quadratic in the agglomerated items, so at most `sample` items, drawn uniformly, are agglomerated. Each
    other item joins the cluster of the nearest of them.

    R. R. Sokal and C. D. Michener, A Statistical Method for Evaluating Systematic Relationships, University of Kansas
    Science Bulletin, 1958.

    Needs: features. Cost: O(S² D), memory O(S²) for S agglomerated items, and O(N S D) for the rest. Use:
    before `cluster_margin`.

    Args:
        features: Features, shape (N, D).
        rng: A generator, or a seed, for the agglomerated items.
        distance: The distance at which the tree is cut. Give this or `clusters`.
        clusters: The number of clusters into which the tree is cut; the paper takes ten times the batch or more.
        sample: How many items are agglomerated at most.

    Returns:
        The cluster of each item, shape (N,).

    Raises:
        InvalidArgument: A shape does not fit, or a row is not finite. Or both or none of distance and clusters are
            given.
    """
    from sklearn.cluster import AgglomerativeClustering

    x = host_features(features)
    if (distance is None) == (clusters is None):
        raise InvalidArgument("give exactly one of distance and clusters, to cut the tree")
    if (clusters is not None and clusters < 1) or (distance is not None and not distance >= 0):
        raise InvalidArgument(
            f"the tree cannot be cut at the distance {distance}, or into {clusters} clusters"
        )
    chosen = np.arange(len(x))
    if len(x) > sample:
        chosen = np.sort(np.random.default_rng(rng).choice(len(x), size=sample, replace=False))
    if len(chosen) < 2:
        return np.zeros(len(x), np.intp)
    most = None if clusters is None else min(clusters, len(chosen))
    tree = AgglomerativeClustering(n_clusters=most, distance_threshold=distance, linkage="average")
    parts = np.asarray(tree.fit_predict(x[chosen]), np.intp)
    if len(chosen) == len(x):
        return parts
    mean = x[chosen].mean(axis=0)
    points = x[chosen] - mean
    halves = np.einsum("nd,nd->n", points, points) / 2  # (S,)
    result = np.empty(len(x), np.intp)
    for rows in row_blocks(len(x), len(points)):
        # The nearest point has the largest x · p - ‖p‖² / 2, which is one matrix product.
        closeness = (x[rows] - mean) @ points.T - halves  # (R, S)
        result[rows] = parts[np.argmax(closeness, axis=1)]
    result[chosen] = parts
    return result


def k_means(
    x: Float[np.ndarray, "N D"], clusters: int, rng: np.random.Generator, exact_up_to: float = _KMEANS_LIMIT
) -> NDArray[np.intp]:
    """Clusters by k-means, at most as many as there are different rows.

    Args:
        x: Features, shape (N, D).
        clusters: How many clusters to look for.
        rng: The generator.
        exact_up_to: For more clusters than this, k-means works on mini-batches.

    Returns:
        The cluster of each item, shape (N,).
    """
    from sklearn.cluster import KMeans, MiniBatchKMeans

    seed = int(rng.integers(2**31))
    clusters = min(clusters, len(np.unique(x, axis=0)))
    if clusters <= exact_up_to:
        found = KMeans(clusters, n_init=5, random_state=seed)
    else:
        found = MiniBatchKMeans(clusters, n_init=1, batch_size=5000, random_state=seed)
    return np.asarray(found.fit_predict(x), np.intp)


def _by(scores: NDArray[np.float64], items: NDArray[np.intp]) -> list[int]:
    return [int(i) for i in items[np.argsort(-scores[items], kind="stable")]]


def _in_turn(queues: list[list[int]], k: int) -> list[int]:
    """One item from each queue in turn, until there are k or the queues are empty."""
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][:k]


def _picks(picks: list[int], scores: NDArray[np.float64], parts: NDArray[np.integer], **info: int) -> Picks:
    indices = np.array(picks, np.intp)
    return Picks(indices, scores[indices], {"gap": 0.0, "clusters": parts[indices], **info})
