"""A committee of samples: the doubt that its members share, and their differences."""

import array_api_compat
from jaxtyping import Float

from baldur.acquire.pointwise import pointwise, warn_of_ties
from baldur.core.arrays import Array, Samples, p_log_p


def expected_entropy(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """Entropy of one sample's prediction, averaged over the samples: noise that more labels do not remove.

    (1/T) Σ_t H(p_t) = H(p̄) - I(y; ω | x), in [0, log C]: the aleatoric part of the entropy. BALD is the other part.

    S. Depeweg, J. M. Hernández-Lobato, F. Doshi-Velez and S. Udluft, Decomposition of Uncertainty in Bayesian
    Deep Learning for Efficient and Risk-sensitive Learning, ICML 2018.

    Needs: samples. Cost: O(N T C). Use: to see noise, or as a control for BALD; more labels do not lower it.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    return pointwise(log_probs, lambda s: s.xp.clip(mean_entropy(s), min=0.0))


def mean_entropy(s: Samples) -> Float[Array, " R"]:
    """The mean entropy of checked samples: (1/T) Σ_t H(p_t).

    Args:
        s: The samples of R rows.

    Returns:
        Entropies in nats, float64, shape (R,); rounding may bring one slightly below 0.
    """
    p = s.first[:, None, :] * s.ratio  # (R, T, C)
    return -s.xp.mean(s.xp.sum(p_log_p(p), axis=2), axis=1)


def vote_entropy(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """Entropy of the votes of a committee, where each sample votes for its most probable class.

    -Σ_c (v_c/T) log(v_c/T) with v_c the votes for class c, in [0, log min(T, C)]. A sample with several equal largest
    probabilities votes for the first of those classes. Votes take few values, so ties are many.

    I. Dagan and S. P. Engelson, Committee-Based Sampling for Training Probabilistic Classifiers, ICML 1995.

    Needs: samples. Cost: O(N T C). Use: where the members of a committee give decisions, and their probabilities
    cannot be trusted.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    warn_of_ties(log_probs, "vote_entropy")
    return pointwise(log_probs, _entropy_of_votes)


def _entropy_of_votes(s: Samples) -> Float[Array, " R"]:
    # The shares are sorted, so that the sum does not depend on the order of the classes.
    share = s.xp.sort(vote_shares(s), axis=1)
    return s.xp.clip(-s.xp.sum(p_log_p(share), axis=1), min=0.0)


def vote_shares(s: Samples) -> Float[Array, "R C"]:
    """The share of checked samples that vote for each class.

    Args:
        s: The samples of R rows; each votes for its most probable class.

    Returns:
        Shares, float64, shape (R, C).
    """
    xp = s.xp
    classes = xp.arange(s.log_probs.shape[2], device=array_api_compat.device(s.ratio))
    votes = xp.argmax(s.log_probs, axis=2)[:, :, None] == classes  # (R, T, C)
    return xp.mean(xp.astype(votes, xp.float64), axis=1)


def mean_kl(log_probs: Float[Array, "N T C *spatial"]) -> Float[Array, "N *spatial"]:
    """The mean divergence of the members of a committee from their consensus.

    (1/T) Σ_t KL(p_t ‖ p̄), in [0, min(log C, log T)]: the same number as BALD, named as in work on committees.

    A. McCallum and K. Nigam, Employing EM and Pool-Based Active Learning for Text Classification, ICML 1998.

    Needs: samples. Cost: O(N T C). Use: as BALD.

    Args:
        log_probs: Normalised log-probabilities, shape (N, T, C, ...); further axes are spatial and kept.

    Returns:
        Scores in nats, float64, shape (N, ...).

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        NonFiniteScore: A score is not a finite number.
    """
    warn_of_ties(log_probs, "mean_kl")
    return pointwise(log_probs, _divergence_from_consensus)


def _divergence_from_consensus(s: Samples) -> Float[Array, " R"]:
    from_mean = s.log_ratio - s.xp.log(s.mean_ratio)[:, None, :]  # log p_t - log p̄, (R, T, C)
    each = s.first * s.xp.mean(s.ratio * from_mean, axis=1)  # (R, C)
    return s.xp.clip(s.xp.sum(each, axis=1), min=0.0)
