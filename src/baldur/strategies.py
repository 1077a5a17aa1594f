"""Named recipes: acquire + select + score. A strategy's name is its name here."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from baldur import acquire, select
from baldur.protocols import Choice, Labelled, Picks, Pool, Posterior, Scorer, Strategy, View


def _choice(picks: Picks, unlabelled: Pool, pool_scores: Any = None) -> Choice:
    ids = unlabelled.ids
    return Choice(tuple(ids[i] for i in picks.indices), picks.scores, picks.info, pool_scores)


def _top(name: str, score: Callable[[Any], Any]) -> Strategy:
    """The strategy that takes the k items of the largest score."""

    def choose(
        posterior: Posterior,
        labelled: Labelled,
        unlabelled: Pool,
        k: int,
        rng: np.random.Generator,
        scorer: Scorer,
    ) -> Choice:
        scores = scorer.predict(posterior, unlabelled, score)
        return _choice(select.top(scores, k), unlabelled, scores)

    choose.__name__ = choose.__qualname__ = name
    return choose


def random(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """Uniformly without replacement; the baseline that every other strategy has to beat."""
    return _choice(select.random(len(unlabelled), k, rng), unlabelled)


entropy = _top("entropy", acquire.entropy)
"""The largest predictive entropy (Shannon 1948)."""

least_confidence = _top("least_confidence", acquire.least_confidence)
"""The smallest probability of the likeliest class (Lewis & Gale 1994)."""

margin = _top("margin", acquire.margin)
"""The smallest margin between the two likeliest classes (Scheffer et al. 2001)."""

variation_ratio = _top("variation_ratio", partial(acquire.variation_ratio, mode="votes"))
"""The largest share of samples that vote against the most frequent class (Freeman 1965)."""

mean_std = _top("mean_std", acquire.mean_std)
"""The largest standard deviation over samples, averaged over classes (Kampffmeyer et al. 2016)."""

bald = _top("bald", acquire.bald)
"""The largest mutual information between label and weights (Houlsby et al. 2011)."""

vote_entropy = _top("vote_entropy", acquire.vote_entropy)
"""The largest entropy of the samples' votes (Dagan & Engelson 1995)."""

_TARGETS = 100


def epig(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The largest information about the predictions on 100 random items of the pool (Bickford Smith et al. 2023)."""
    some = rng.permutation(len(unlabelled))[:_TARGETS]
    targets = scorer.predict(posterior, View(unlabelled, np.sort(some)))

    def score(log_probs: Any) -> Any:
        return acquire.epig(log_probs, torch.as_tensor(targets, device=log_probs.device))

    scores = scorer.predict(posterior, unlabelled, score)
    return _choice(select.top(scores, k), unlabelled, scores)


def _perturbed(name: str, pick: Callable[..., Picks]) -> Strategy:
    """The strategy that perturbs BALD by noise and takes the k largest."""

    def choose(
        posterior: Posterior,
        labelled: Labelled,
        unlabelled: Pool,
        k: int,
        rng: np.random.Generator,
        scorer: Scorer,
    ) -> Choice:
        scores = scorer.predict(posterior, unlabelled, acquire.bald)
        return _choice(pick(scores, k, rng), unlabelled, scores)

    choose.__name__ = choose.__qualname__ = name
    return choose


power_bald = _perturbed("power_bald", select.power)
"""A batch drawn with probabilities proportional to BALD (Kirsch et al. 2023)."""

softrank_bald = _perturbed("softrank_bald", select.softrank)
"""A batch drawn with probabilities inverse to the rank by BALD (Kirsch et al. 2023)."""


def batchbald(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The batch whose labels together tell most about the weights (Kirsch, van Amersfoort & Gal 2019)."""
    return _choice(select.batchbald(scorer.predict(posterior, unlabelled), k, rng=rng), unlabelled)


def core_set(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The batch that leaves no item far from a labelled one, by k-center greedy (Sener & Savarese 2018)."""
    centres = scorer.features(posterior, labelled.pool)
    return _choice(select.k_center(scorer.features(posterior, unlabelled), k, centres), unlabelled)


def badge(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The batch of large and different gradients of the last layer, its bias included (Ash et al. 2020)."""
    features = scorer.features(posterior, unlabelled)
    with_bias = np.concatenate([features, np.ones((len(features), 1), features.dtype)], 1)
    return _choice(select.badge(scorer.predict(posterior, unlabelled), with_bias, k, rng), unlabelled)
