"""Labels for the uncertain items, and pseudo-labels for the certain ones."""

from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Shaped

from baldur import acquire
from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._arguments import mean_probabilities
from baldur.select.ranking import top

_CRITERIA = {
    "least_confidence": acquire.least_confidence,
    "margin": acquire.margin,
    "entropy": acquire.entropy,
}


def ceal(
    log_probs: Shaped[Array, "..."],
    k: SupportsIndex,
    *,
    threshold: float,
    criterion: Literal["least_confidence", "margin", "entropy"] = "entropy",
) -> Picks:
    """The k most uncertain items to label, and pseudo-labels for the items that are certain enough.

    An item that is not chosen gets the pseudo-label ŷ = argmax p̄ if H(p̄) < δ. Pseudo-labels are for one round: they do
    not count as labels, and the next round begins without them.

    K. Wang, D. Zhang, Y. Li, R. Zhang and L. Lin, Cost-Effective Active Learning for Deep Image Classification, IEEE
    Transactions on Circuits and Systems for Video Technology, 2016.

    Needs: prediction. Cost: O(N T C). Use: where a calibrated model finds most of the pool easy. A model learns its own
    mistakes from wrong pseudo-labels.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        k: How many to choose; more than N gives all.
        threshold: δ in nats, not negative; 0 gives no pseudo-labels. See `ceal_threshold`.
        criterion: The uncertainty by which items are chosen: "least_confidence", "margin" or "entropy".

    Returns:
        The picks with their scores. `info["pseudo_indices"]` has the positions of the pseudo-labelled items, ascending.
        `info["pseudo_labels"]` has their classes, and `info["ties"]` is that of `top`.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidArgument: The threshold is negative, the criterion unknown, or k is negative.
    """
    if not threshold >= 0:
        raise InvalidArgument(f"threshold is an entropy that is not negative, not {threshold!r}")
    if criterion not in _CRITERIA:
        raise InvalidArgument(f"criterion is one of {', '.join(_CRITERIA)}, not {criterion!r}")
    likeliest = to_numpy(mean_probabilities(log_probs)).argmax(axis=1)
    scores = to_numpy(_CRITERIA[criterion](log_probs))
    entropies = to_numpy(acquire.entropy(log_probs))
    asked = top(scores, k)
    sure = entropies < threshold
    sure[asked.indices] = False
    pseudo = np.flatnonzero(sure)
    labels = likeliest[pseudo].astype(np.int64)
    return Picks(
        asked.indices, asked.scores, {**asked.info, "pseudo_indices": pseudo, "pseudo_labels": labels}
    )


def ceal_threshold(
    round: SupportsIndex,
    *,
    start: float = 0.05,
    rate: float = 0.0033,
    decay: Literal["linear", "cumulative"] = "linear",
) -> float:
    """The threshold δ of a round: it falls as the model learns, and is never negative.

    linear: δ_t = δ_0 - r t; cumulative: δ_t = δ_(t-1) - r t, another reading of the paper.

    K. Wang et al., Cost-Effective Active Learning for Deep Image Classification, IEEE TCSVT, 2016.

    Needs: nothing. Cost: O(1). Use: before `ceal`, once in each round.

    Args:
        round: t, from 0.
        start: δ_0 in nats.
        rate: r.
        decay: "linear" or "cumulative".

    Returns:
        The threshold for `ceal`.

    Raises:
        InvalidArgument: The round, start or rate is negative, or the decay unknown.
    """
    if decay not in ("linear", "cumulative"):
        raise InvalidArgument(f"decay is 'linear' or 'cumulative', not {decay!r}")
    t = int(round)
    if t < 0 or not start >= 0 or not rate >= 0:
        raise InvalidArgument(f"round, start and rate are not negative, not {t}, {start} and {rate}")
    return max(0.0, start - rate * (t if decay == "linear" else t * (t + 1) / 2))
