"""Doubtful labels: items to show to a person again."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from baldur.errors import InvalidArgument
from baldur.evaluate._checks import Labels, LogProbs, checked, whole
from baldur.evaluate.agreement import Votes, dawid_skene, normalised


@dataclass(frozen=True)
class Proposals:
    """Items with doubtful labels, the most doubtful first.

    Args:
        positions: Their positions in the given array, shape (m,).
        scores: The probability of the proposed class minus that of the label, in (0, 1], shape (m,).
        labels: The proposed class of each, shape (m,).
    """

    positions: Int[np.ndarray, " m"]
    scores: Float[np.ndarray, " m"]
    labels: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.positions)


def relabelling_proposals(
    log_probs: LogProbs, labels: Labels, k: int, *, votes: Votes | None = None
) -> Proposals:
    """Labels that are probably wrong by the model and the votes, found by confident learning.

    An item is confidently of class c if p_c ≥ t_c, the mean of p_c over the items labelled c. Among several such
    classes the most probable one counts. Items of another class than their label are proposed, ordered by
    p_c - p_label. Thresholds by class allow for a model that is surer of some classes than of others.

    With votes, p_n(c) ∝ p_model(c | x_n) Π_a K_a[c, v_na] with K from `dawid_skene`, so the model is the prior.

    C. G. Northcutt, L. Jiang and I. L. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021;
    V. C. Raykar et al., Learning From Crowds, JMLR 2010.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of models that were not trained on the item. A model that was
            mostly believes the label. `learners.doubts.proposals` computes them by cross-validation.
        labels: The current class indices, shape (N,).
        k: How many to propose.
        votes: Answers of annotators, shape (N, A); -1 where there is no answer.

    Returns:
        At most k proposals; fewer where fewer labels are doubtful.

    Raises:
        InvalidPredictions: The shape or type does not fit, or a row is not normalised.
        InvalidLabel: A label or a vote is not one of the classes.
        InvalidArgument: There are no items, lengths differ, or k is less than 1.
    """
    whole("k", k, 1)
    log_probs, labels = checked(log_probs, labels)
    if votes is not None and np.shape(votes)[:1] != (len(labels),):
        raise InvalidArgument(
            f"{len(labels)} rows of votes were expected, one an item, not the shape {np.shape(votes)}"
        )
    probs = _believed(log_probs, votes)
    own = probs[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probs.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probs.shape[1])
    # A class without labels has no threshold, and is not proposed.
    threshold = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)  # (C,)
    confident = np.where(probs >= threshold, probs, -np.inf)  # (N, C)
    other = confident.argmax(axis=1)
    score = confident.max(axis=1) - own
    doubted = np.flatnonzero((other != labels) & (score > 0))
    best = doubted[np.argsort(-score[doubted], kind="stable")[:k]]
    return Proposals(best, score[best], other[best])


def _believed(log_probs: LogProbs, votes: Votes | None) -> Float[np.ndarray, "N C"]:
    log_weights = np.asarray(log_probs)
    if votes is not None:
        log_weights = log_weights + dawid_skene(votes, log_probs.shape[1]).log_likelihood(votes)
    return normalised(log_weights)
