"""Strategies that score one item at a time."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baldur import acquire, select
from baldur.core.ranges import Count, Risk
from baldur.errors import InvalidArgument
from baldur.protocols import Picks, Pool
from baldur.strategies import racing
from baldur.strategies.recipe import CLASSES, NamedStrategy, QueryRound, Reduce, Scored, strategy

__all__ = [
    "bald",
    "emoc",
    "entropy",
    "epig",
    "expected_entropy",
    "expected_gradient_length",
    "gaussian_information_gain",
    "learning_loss",
    "least_confidence",
    "margin",
    "mean_kl",
    "mean_std",
    "random",
    "rare_class",
    "variance",
    "variation_ratio",
    "vote_entropy",
]


def _by(name: str, score: Reduce, paper: str) -> NamedStrategy:
    """The strategy that takes the k items of the largest score."""

    def recipe(at: QueryRound, race: Risk | None = None) -> Scored:
        if race is None:
            scores = at.scores(score)
            return select.top(scores, at.k), scores
        at.need(CLASSES)
        found = racing.race_by(at.scorer, at.posterior, at.unlabelled, score, at.k, race, at.rng)
        return found[0], found[1]

    recipe.__name__ = recipe.__qualname__ = name
    recipe.__doc__ = f"""{paper}

    Args:
        at: The round.
        race: A probability with which the picks may differ from those of all samples. Most samples are then not
            computed for most items; 0 saves less and is exact. It is larger than stated if a few samples make the
            score of some of the best items; see `baldur.strategies.racing`. Fewer than 1,000 items, and those of
            which most would stay, are not raced. If it is not given, all samples score all items.
    """
    return strategy(recipe)


# One item at a time


@strategy
def random(at: QueryRound) -> Picks:
    """Random items without replacement: the baseline for every other strategy."""
    return select.random(len(at.unlabelled), at.k, at.rng)


entropy = _by("entropy", acquire.entropy, "The largest predictive entropy (Shannon 1948).")
least_confidence = _by(
    "least_confidence",
    acquire.least_confidence,
    "The smallest probability of the likeliest class (Lewis & Gale 1994).",
)
margin = _by(
    "margin",
    acquire.margin,
    "The smallest margin between the two likeliest classes (Scheffer et al. 2001).",
)
variation_ratio = _by(
    "variation_ratio",
    partial(acquire.variation_ratio, mode="votes"),
    "The largest share of samples that vote against the most frequent class (Freeman 1965).",
)
mean_std = _by(
    "mean_std",
    acquire.mean_std,
    "The largest standard deviation over samples, averaged over classes (Kampffmeyer et al. 2016).",
)
bald = _by(
    "bald", acquire.bald, "The largest mutual information between label and weights (Houlsby et al. 2011)."
)
vote_entropy = _by(
    "vote_entropy",
    acquire.vote_entropy,
    "The largest entropy of the samples' votes (Dagan & Engelson 1995).",
)
mean_kl = _by(
    "mean_kl",
    acquire.mean_kl,
    "The largest mean divergence of a sample from their consensus (McCallum & Nigam 1998); equal to BALD.",
)
expected_entropy = _by(
    "expected_entropy",
    acquire.expected_entropy,
    "The largest noise on which the samples agree, the part of the entropy without BALD; use it as a control.",
)


# Numbers instead of classes


@strategy
def variance(at: QueryRound) -> Scored:
    """The largest variance of the predicted mean over samples (Kendall & Gal 2017); for regression."""
    scores = at.scores(lambda moments: acquire.variance(moments[:, :, 0]), kinds=("gaussian",))
    return select.top(scores, at.k), scores


@strategy
def gaussian_information_gain(at: QueryRound) -> Scored:
    """The most information about the weights, from mean and noise (MacKay 1992); BALD for regression."""

    def gain(moments: Any) -> Any:
        return acquire.gaussian_information_gain(moments[:, :, 0], moments[:, :, 1])

    scores = at.scores(gain, kinds=("gaussian",))
    return select.top(scores, at.k), scores


# By the gradient of the last layer


@strategy
def expected_gradient_length(at: QueryRound) -> Scored:
    """The longest gradient of the last layer, expected over the label (Settles, Craven & Ray 2008)."""
    scores = acquire.expected_gradient_length(at.mean(), at.features(bias=True))
    return select.top(scores, at.k), scores


@strategy
def emoc(at: QueryRound, references: Count = 1000) -> Scored:
    """The largest expected change of the outputs, by the last layer (Käding et al. 2016).

    Args:
        at: The round.
        references: The number of random items of the pool at which the change is measured.
    """
    features = at.features(bias=True)
    some = np.sort(at.rng.permutation(len(features))[:references])
    scores = acquire.emoc(at.mean(), features, features[some])
    return select.top(scores, at.k), scores


@strategy
def epig(at: QueryRound, targets: Count | Pool = 100, weights: Any = None) -> Scored:
    """The most information about predictions at target inputs (Bickford Smith et al. 2023).

    Args:
        at: The round.
        targets: The inputs whose predictions matter: a pool, or a number of random unlabelled items.
        weights: The weight of each target, (M,); or a function from the targets' log-probabilities (M, T, C) to it.
    """
    scores = _epig(at, *_targets(at, targets, weights))
    return select.top(scores, at.k), scores


def _targets(at: QueryRound, targets: Count | Pool, weights: Any) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Log-probabilities (M, T, C) of the targets, and their weights with the mean 1."""
    log_probs = at.log_probs(at.sample(targets) if isinstance(targets, int) else targets)
    if weights is None:
        return log_probs, None
    values = np.asarray(weights(log_probs) if callable(weights) else weights, np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.sum() > 0):
        raise InvalidArgument("weights of targets must be finite and not negative, and one must be above 0")
    return log_probs, values / values.mean()


def _epig(at: QueryRound, targets: NDArray[Any], weights: NDArray[Any] | None) -> NDArray[Any]:
    def score(log_probs: Any) -> Any:
        if isinstance(log_probs, torch.Tensor):
            there = partial(torch.as_tensor, device=log_probs.device)
            return acquire.epig(log_probs, there(targets), None if weights is None else there(weights))
        return acquire.epig(log_probs, targets, weights)

    return at.scores(score)


@strategy
def learning_loss(at: QueryRound) -> Scored:
    """The largest loss that a module beside the network predicts, if the learner trains one (Yoo & Kweon 2019)."""
    scores = np.asarray(acquire.learning_loss(at.scorer.outputs(at.posterior, at.unlabelled, "loss")))
    return select.top(scores, at.k), scores


@strategy
def rare_class(at: QueryRound, score: Reduce = acquire.bald, classes: Sequence[int] | None = None) -> Scored:
    """The largest score times the probability of a rare class: score(x) Σ_c w_c p̄_c(x).

    Args:
        at: The round.
        score: The score of an item of any class.
        classes: The rare classes, which get the weight 1 and all others 0. If they are not given, w_c = 1 / (1 +
            labelled items of class c).

    Raises:
        Unsupported: An item has several labels, a map of them or a number.
    """
    seen = at.seen()

    def weighted(log_probs: Any) -> Any:
        p = log_probs.exp().mean(1) if isinstance(log_probs, torch.Tensor) else np.exp(log_probs).mean(1)
        w = np.zeros(p.shape[1])
        if classes is None:
            w[: len(seen)] = seen[: len(w)]
            w = 1 / (1 + w)
        else:
            w[list(classes)] = 1
        wanted = (
            p @ torch.as_tensor(w, dtype=p.dtype, device=p.device) if isinstance(p, torch.Tensor) else p @ w
        )
        return score(log_probs) * wanted

    scores = at.scores(weighted)
    return select.top(scores, at.k), scores
