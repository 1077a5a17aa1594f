"""Ask about the uncertain items, and take the model's word for the certain ones."""

from typing import Literal, SupportsIndex

import numpy as np
from jaxtyping import Shaped

from baldur import acquire
from baldur.core.arrays import Array, to_numpy
from baldur.errors import InvalidArgument
from baldur.protocols import Picks
from baldur.select._features import mean_probabilities
from baldur.select.ranking import top

_CRITERIA = {
    "least_confidence": acquire.least_confidence,
    "margin": acquire.margin,
    "entropy": acquire.entropy,
}


def ceal(
    log_probs: Shaped[Array, "..."],
    k: SupportsIndex,
    threshold: float,
    criterion: Literal["least_confidence", "margin", "entropy"] = "entropy",
) -> Picks:
    """The k most uncertain items to ask about; and beside them those so certain that their label may be assumed.

    Pseudo-labelled are the items not asked about with H(p̄) < δ, with ŷ = argmax p̄. They belong to one round: they do
    not count as labels, and the next round begins without them.

    K. Wang, D. Zhang, Y. Li, R. Zhang and L. Lin, Cost-Effective Active Learning for Deep Image Classification, IEEE
    Transactions on Circuits and Systems for Video Technology, 2016.

    Needs: prediction. Cost: O(N T C). Use: where a calibrated model finds most of the pool easy; a wrong
    pseudo-label teaches its own mistake.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C); averaged over the samples.
        k: How many to ask about; more than N gives all.
        threshold: δ in nats, not negative; 0 assumes nothing. See `ceal_threshold`.
        criterion: "least_confidence", "margin" or "entropy": what is asked about.

    Returns:
        The picks with their scores. `info["pseudo_indices"]` are the positions of the pseudo-labelled items, ascending,
        and `info["pseudo_labels"]` their classes; `info["ties"]` is that of `top`.

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
    start: float = 0.05,
    rate: float = 0.0033,
    decay: Literal["linear", "cumulative"] = "linear",
) -> float:
    """δ of a round: lower as the model learns, never negative.

    linear: δ_t = δ_0 - r t; cumulative: δ_t = δ_(t-1) - r t, which the paper can also be read as.

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
