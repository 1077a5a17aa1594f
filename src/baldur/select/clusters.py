"""Batches spread over clusters: the typical of each, or the uncertain of each."""

from typing import SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._features import blocks, count, host_features, mean_probabilities, same_length
from baldur.select.ranking import top

_KMEANS_LIMIT = 50


def typiclust(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    rng: np.random.Generator | int,
    labelled: Shaped[Array, "..."] | None = None,
    neighbours: int = 20,
    smallest: int = 5,
    most_clusters: int = 500,
) -> Picks:
    """The most typical item of each large cluster without a label: for the first labels of all.

    L ∪ U is divided by k-means into min(n_L + k, K_max) clusters (mini-batches above 50); those of more than `smallest`
    items, ordered by labels ascending, then size descending, give their items in turn, the most typical first:
    1 / mean distance to the K nearest neighbours within the cluster, K = min(20, ⌊size / 2⌋). When these
    are used up, the small clusters follow in the same way.

    G. Hacohen, A. Dekel and D. Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets,
    ICML 2022.

    Needs: features, features of the labelled. Cost: k-means with n_L + k clusters, then neighbours within each.
    Use: below some tens of labels for each class, on features that needed no labels; later an uncertainty does
    better.

    Args:
        features: Features of the unlabelled items, shape (N, D); the paper takes self-supervised ones of length 1.
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed: where k-means begins.
        labelled: Features of the labelled items, shape (M, D).
        neighbours: K at most.
        smallest: Clusters of so many items or fewer come last.
        most_clusters: K_max.

    Returns:
        The picks; each score is its typicality. `info["clusters"]` is the cluster of each pick, shape (k,).

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, or k is negative.
    """
    x = host_features(features)
    given = x[:0] if labelled is None else host_features(labelled, "labelled features", x.shape[1])
    size = count(k, len(x))
    if size == 0:
        return _picks([], np.zeros(0), np.zeros(0, np.intp))
    if neighbours < 1 or most_clusters < 1:
        raise InvalidArgument(
            f"neighbours and most_clusters are at least 1, not {neighbours}, {most_clusters}"
        )
    everything = np.concatenate([x, given])
    parts = _k_means(everything, min(len(given) + size, most_clusters), np.random.default_rng(rng))
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
    features: Shaped[Array, "..."], neighbours: int, squared: bool = False
) -> Float[np.ndarray, " N"]:
    """How dense the pool is around an item: 1 / mean distance to the nearest neighbours, without the item itself.

    ((1/K) Σ_j ‖x - x_j‖)⁻¹ over the K nearest x_j; squared: with ‖x - x_j‖², as released code has it, which ranks
    otherwise.

    G. Hacohen, A. Dekel and D. Weinshall, Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets,
    ICML 2022.

    Needs: features. Cost: neighbours: O(N² D) at worst. Use: to see where a pool is dense; `typiclust` does so
    by itself.

    Args:
        features: What distances are measured on, shape (N, D).
        neighbours: How many; at least 1 and at most all others are taken.
        squared: Whether squared distances are averaged.

    Returns:
        Typicality, shape (N,); very large, but finite, where all neighbours are duplicates; 0 without neighbours.

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
    rng: np.random.Generator | int,
    candidates: SupportsIndex | None = None,
) -> Picks:
    """Of the items of smallest margin one after another from every cluster, small clusters first.

    The k_m items with the smallest p̄_(1) - p̄_(2) are grouped by cluster; the groups in ascending order of size give
    one random member each in turn until k are chosen.

    G. Citovsky, G. DeSalvo, C. Gentile, L. Karydas, A. Rajagopalan, A. Rostamizadeh and S. Kumar, Batch Active
    Learning at Scale, NeurIPS 2021.

    Needs: prediction, clusters. Cost: O(N (T C + log N)). Use: for very large batches, hundreds and more, whose
    clusters are made once.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        clusters: The cluster of each item, whole numbers, shape (N,); see `average_linkage`.
        k: How many to choose; more than N gives all.
        rng: A generator, or a seed.
        candidates: k_m, at least k; 10k where it is not given, as in the paper on large sets (1.25k on CIFAR).

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
    wide = count(10 * size if candidates is None else candidates, len(probs))
    if wide < size:
        raise InvalidArgument(f"{wide} candidates are too few to choose {size} of")
    scores = probs[:, -2] - probs[:, -1]
    smallest = top(scores, wide)
    pool = np.random.default_rng(rng).permutation(smallest.indices)
    queues = [pool[groups[pool] == c].tolist() for c in np.unique(groups[pool])]
    return _picks(_in_turn(sorted(queues, key=len), size), scores, groups, ties=smallest.info["ties"])


def average_linkage(
    features: Shaped[Array, "..."],
    rng: np.random.Generator | int,
    distance: float | None = None,
    clusters: int | None = None,
    sample: int = 5000,
) -> NDArray[np.intp]:
    """Clusters by hierarchical agglomeration with average linkage; done once, for `cluster_margin` in every round.

    The two clusters of the smallest mean ‖x - y‖, x of one and y of the other, are joined until the tree is cut.
    Memory is quadratic in what is agglomerated, so of more than `sample` items only as many are, drawn
    uniformly, and each other item joins the cluster of the nearest of them.

    R. R. Sokal and C. D. Michener, A Statistical Method for Evaluating Systematic Relationships, University of Kansas
    Science Bulletin, 1958.

    Needs: features. Cost: O(S² D), memory O(S²) for S agglomerated items, and O(N S D) for the rest. Use:
    before `cluster_margin`.

    Args:
        features: What distances are measured on, shape (N, D).
        rng: A generator, or a seed: which items are agglomerated.
        distance: Where the tree is cut; or
        clusters: how many clusters there shall be. The paper asks for about ten times the batch at least.
        sample: The most items agglomerated.

    Returns:
        The cluster of each item, shape (N,).

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, or not exactly one of distance and clusters
            is given.
    """
    from sklearn.cluster import AgglomerativeClustering

    x = host_features(features)
    if (distance is None) == (clusters is None):
        raise InvalidArgument("exactly one of distance and clusters says where the tree is cut")
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
    halves = np.einsum("nd,nd->n", points, points) / 2
    result = np.empty(len(x), np.intp)
    for rows in blocks(len(x), len(points)):
        result[rows] = parts[np.argmax((x[rows] - mean) @ points.T - halves, axis=1)]
    result[chosen] = parts
    return result


def _k_means(x: Float[np.ndarray, "N D"], clusters: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Clusters by k-means; no more than there are different rows."""
    from sklearn.cluster import KMeans, MiniBatchKMeans

    seed = int(rng.integers(2**31))
    clusters = min(clusters, len(np.unique(x, axis=0)))
    if clusters <= _KMEANS_LIMIT:
        found = KMeans(clusters, n_init=5, random_state=seed)
    else:
        found = MiniBatchKMeans(clusters, n_init=1, batch_size=5000, random_state=seed)
    return np.asarray(found.fit_predict(x), np.intp)


def _by(scores: NDArray[np.float64], items: NDArray[np.intp]) -> list[int]:
    return [int(i) for i in items[np.argsort(-scores[items], kind="stable")]]


def _in_turn(queues: list[list[int]], k: int) -> list[int]:
    """One of each queue after another, again and again, until there are k or no more."""
    longest = max(map(len, queues), default=0)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)][:k]


def _picks(picks: list[int], scores: NDArray[np.float64], parts: NDArray[np.integer], **info: int) -> Picks:
    indices = np.array(picks, np.intp)
    return Picks(indices, scores[indices], {"gap": 0.0, "clusters": parts[indices], **info})
