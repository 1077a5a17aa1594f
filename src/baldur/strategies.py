"""Named recipes: acquire + select + score. A strategy's name is its function's name."""

from collections.abc import Callable
from typing import Any

import numpy as np

from baldur import acquire, select
from baldur.protocols import Choice, Labelled, Picks, Pool, Posterior, Scorer


def _choice(picks: Picks, unlabelled: Pool, pool_scores: Any = None) -> Choice:
    ids = unlabelled.ids
    return Choice(tuple(ids[i] for i in picks.indices), picks.scores, picks.info, pool_scores)


def _top(
    score: Callable[[Any], Any], posterior: Posterior, unlabelled: Pool, k: int, scorer: Scorer
) -> Choice:
    """The k items of the largest score."""
    scores = scorer.predict(posterior, unlabelled, score)
    return _choice(select.top(scores, k), unlabelled, scores)


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


def entropy(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The largest predictive entropy (Shannon 1948)."""
    return _top(acquire.entropy, posterior, unlabelled, k, scorer)


def least_confidence(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The smallest probability of the likeliest class (Lewis & Gale 1994)."""
    return _top(acquire.least_confidence, posterior, unlabelled, k, scorer)


def margin(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The smallest margin between the two likeliest classes (Scheffer et al. 2001)."""
    return _top(acquire.margin, posterior, unlabelled, k, scorer)


def variation_ratio(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The largest share of samples that vote against the most frequent class (Freeman 1965)."""
    return _top(lambda p: acquire.variation_ratio(p, mode="votes"), posterior, unlabelled, k, scorer)


def mean_std(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The largest standard deviation over samples, averaged over classes (Kampffmeyer et al. 2016)."""
    return _top(acquire.mean_std, posterior, unlabelled, k, scorer)


def bald(
    posterior: Posterior,
    labelled: Labelled,
    unlabelled: Pool,
    k: int,
    rng: np.random.Generator,
    scorer: Scorer,
) -> Choice:
    """The largest mutual information between label and weights (Houlsby et al. 2011)."""
    return _top(acquire.bald, posterior, unlabelled, k, scorer)
