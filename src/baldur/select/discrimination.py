"""Batches that make the labelled set look like the pool."""

import warnings
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Shaped
from numpy.typing import NDArray

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import count, host_features, labelled_features

_SEPARATED = 0.98


def discriminative(
    features: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    labelled: Shaped[Array, "..."],
    rng: np.random.Generator | int,
    queries: int = 10,
    hidden: tuple[int, ...] = (256, 256, 256),
    epochs: int = 500,
    rate: float = 2e-4,
    ratio: int = 10,
) -> Picks:
    """The items that a classifier separates best from the labelled ones, in several small queries.

    In each of n queries a multilayer perceptron learns "labelled" against "unlabelled", both sides with equal weight.
    The k/n items with the largest logit of "unlabelled" move to the labelled side; this needs no labels. If n does not
    divide k, the first queries take one item more than the others. Training stops when more than 98 % are separated,
    before the scores saturate. Logits are compared, since probabilities tie.

    D. Gissin and S. Shalev-Shwartz, Discriminative Active Learning, arXiv:1907.06347, 2019.

    Needs: features, features of the labelled. Cost: n trainings of a small classifier. Use: to make the
    labelled set look like the pool, where new regions keep appearing. It knows the features, but not the task.

    Args:
        features: Features of the unlabelled items, shape (N, D); they are standardised inside.
        k: How many to choose; more than N gives all.
        labelled: Features of the labelled items, shape (M, D), M at least 1.
        rng: A generator, or a seed, for the subsample, the weights and the order of training.
        queries: n; with fewer than n items to choose, each query takes one.
        hidden: Units of the hidden layers.
        epochs: How many passes over the training set a query makes at most.
        rate: Adam's learning rate.
        ratio: How many unlabelled items are drawn for each labelled one, again in each query.

    Returns:
        The picks; each score is its logit when it was chosen. `info["query"]` is the query of each pick,
        `info["accuracy"]` the training accuracy of each query.

    Raises:
        InvalidArgument: A shape does not fit, a row is not finite, nothing is labelled, or k is negative.
    """
    x = host_features(features)
    given = labelled_features(labelled, x)
    if len(given) == 0:
        raise InvalidArgument(
            "nothing is labelled yet, so there is nothing to separate; begin with typiclust or random"
        )
    if min(queries, epochs, ratio) < 1:
        raise InvalidArgument(f"queries, epochs and ratio are at least 1, not {queries}, {epochs}, {ratio}")
    size = count(k, len(x))
    random = np.random.default_rng(rng)
    everything = np.concatenate([x, given])  # (N + M, D)
    deviation = everything.std(axis=0)
    x, given = ((a - everything.mean(axis=0)) / np.where(deviation > 0, deviation, 1) for a in (x, given))
    shares = [len(part) for part in np.array_split(np.arange(size), min(queries, size))] if size else []
    picks: list[int] = []
    scores: list[float] = []
    turns: list[int] = []
    accuracies: list[float] = []
    for share in shares:
        rest = np.setdiff1d(np.arange(len(x)), picks)
        known = np.concatenate([given, x[picks]])  # (M + picks, D)
        sample = random.choice(rest, size=min(len(rest), ratio * len(known)), replace=False)
        network, accuracy = _train(known, x[sample], random, hidden, epochs, rate)
        logits = _logits(network, x[rest])
        best = np.argsort(-logits, kind="stable")[:share]
        picks += rest[best].tolist()
        scores += logits[best].tolist()
        turns += [len(accuracies)] * len(best)
        accuracies.append(accuracy)
    info = {"gap": 0.0, "query": np.array(turns, np.intp), "accuracy": np.array(accuracies, np.float64)}
    return Picks(np.array(picks, np.intp), np.array(scores, np.float64), info)


def _train(
    known: Float[np.ndarray, "M D"],
    unknown: Float[np.ndarray, "R D"],
    rng: np.random.Generator,
    hidden: tuple[int, ...],
    epochs: int,
    rate: float,
) -> tuple[Any, float]:
    """A perceptron that separates unknown (1) from known (0), and its balanced training accuracy.

    The smaller side is repeated until both sides have one size, so that both count the same.
    """
    from sklearn.neural_network import MLPClassifier

    longer = max(len(known), len(unknown))
    again = np.arange(longer)
    x = np.concatenate([known[again % len(known)], unknown[again % len(unknown)]])  # (2·longer, D)
    y = np.repeat([0, 1], longer)  # (2·longer,)
    network = MLPClassifier(
        hidden, learning_rate_init=rate, batch_size=min(len(x), 256), random_state=int(rng.integers(2**31))
    )
    accuracy = 0.0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.partial_fit(x[order], y[order], classes=[0, 1])
        accuracy = float(np.mean((_logits(network, x) > 0) == y))
        if accuracy > _SEPARATED:
            break
    return network, accuracy


def _logits(network: Any, x: Float[np.ndarray, "N D"]) -> NDArray[np.float64]:
    """Outputs of the last layer before the sigmoid."""
    weights, biases = network.coefs_, network.intercepts_
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = np.maximum(x @ weight + bias, 0)
    return np.asarray(x @ weights[-1] + biases[-1])[:, 0]
