"""Disagreement between posterior samples: uncertainty that more labels can remove."""

from typing import Literal

from jaxtyping import Float

from baldur.acquire import fused
from baldur.acquire.committee import vote_shares
from baldur.acquire.pointwise import pointwise, warn_of_ties
from baldur.acquire.uncertainty import least_confidence
from baldur.core.arrays import Array, Samples, p_log_p
from baldur.errors import InvalidArgument


def bald(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """Mutual information between label and parameters: large where samples are sure and disagree.

    I(y; ω | x) = (1/T) Σ_t KL(p_t ‖ p̄) = H(p̄) - (1/T) Σ_t H(p_t), in [0, min(log C, log T)]. It is exactly 0 where
    all samples are the same. Few samples make it too low, so compare scores at equal T only.

    N. Houlsby, F. Huszár, Z. Ghahramani and M. Lengyel, Bayesian Active Learning for Classification and
    Preference Learning, arXiv:1112.5745, 2011; Y. Gal, R. Islam and Z. Ghahramani, Deep Bayesian Active
    Learning with Image Data, ICML 2017.

    Needs: samples. Cost: O(N T C). Use: where labels are noisy and few items are labelled at a time. Its k
    best are often alike, so take `power` or `batchbald` for a batch.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    warn_of_ties(log_probs, "bald")
    if fused.applies(log_probs):
        return fused.bald(log_probs, mean_divergence)
    return pointwise(log_probs, mean_divergence)


def mean_divergence(s: Samples) -> Float[Array, " R"]:
    """BALD of checked samples: only the formula.

    Args:
        s: The samples of R rows.

    Returns:
        Scores in nats, float64, shape (R,).
    """
    # With p_t = a r_t the divergence is Σ_c a [mean_t(r log r) - r̄ log r̄]: exactly 0 where every r is 1.
    within = s.xp.mean(s.ratio * s.log_ratio, axis=1)  # (R, C)
    return s.xp.clip(s.xp.sum(s.first * (within - p_log_p(s.mean_ratio)), axis=1), min=0.0)


def mean_std(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """Standard deviation over the samples of a class's probability, averaged over the classes.

    (1/C) Σ_c ((1/T) Σ_t (p_tc - p̄_c)²)^½, in [0, ½].

    M. Kampffmeyer, A.-B. Salberg and R. Jenssen, Semantic Segmentation of Small Objects and Modeling of
    Uncertainty in Urban Remote Sensing Images Using Deep Convolutional Neural Networks, CVPR Workshops 2016.

    Needs: samples. Cost: O(N T C). Use: to compare with published results; BALD measures the same disagreement
    as information about the label.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    warn_of_ties(log_probs, "mean_std")
    return pointwise(log_probs, _mean_deviation)


def _mean_deviation(s: Samples) -> Float[Array, " R"]:
    xp = s.xp
    from_first = s.first[:, None, :] * (s.ratio - 1.0)  # (R, T, C)
    centred = from_first - xp.mean(from_first, axis=1, keepdims=True)
    return xp.mean(xp.sqrt(xp.mean(centred * centred, axis=1)), axis=1)


def variation_ratio(
    log_probs: Float[Array, "N T C *spatial"], mode: Literal["mean", "votes"] = "mean"
) -> Float[Array, "N *spatial"]:
    """The share of the samples that disagree with the most frequent class.

    mean: 1 - max_c p̄_c, in [0, 1 - 1/C], the same as least confidence (as printed in Gal 2017);
    votes: 1 - f/T with f the votes for the most frequent class, in [0, 1 - 1/min(T, C)]. A sample with several equal
    largest probabilities votes for the first of those classes. Votes take few values, so ties are many.

    L. C. Freeman, Elementary Applied Statistics, 1965; Y. Gal, R. Islam and Z. Ghahramani, Deep Bayesian
    Active Learning with Image Data, ICML 2017.

    Needs: samples. Cost: O(N T C). Use: where decisions of samples can be trusted more than probabilities; draw
    many samples, or most items tie.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.
        mode: "mean" or "votes".

    Returns:
        Scores, float64, shape (N, ...).

    Raises:
        InvalidArgument: The mode has another name.
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    if mode == "mean":
        return least_confidence(log_probs)
    if mode != "votes":
        raise InvalidArgument(f"mode is 'mean' or 'votes', not {mode!r}")
    warn_of_ties(log_probs, "variation_ratio")
    return pointwise(log_probs, _share_of_dissent)


def _share_of_dissent(s: Samples) -> Float[Array, " R"]:
    return 1.0 - s.xp.max(vote_shares(s), axis=1)
