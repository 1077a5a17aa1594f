"""Which labels are doubtful: what to show to a person again."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from baldur.errors import InvalidArgument
from baldur.evaluate._checks import Labels, LogProbs, check_labels
from baldur.evaluate.agreement import Votes, dawid_skene


@dataclass(frozen=True)
class Proposals:
    """Items whose label is doubted, most doubtful first.

    Args:
        positions: Where they stand in the array given, shape (m,).
        scores: How much more probable the class proposed is than the label, in (0, 1], shape (m,).
        labels: The class proposed for each, shape (m,).
    """

    positions: Int[np.ndarray, " m"]
    scores: Float[np.ndarray, " m"]
    labels: Int[np.ndarray, " m"]

    def __len__(self) -> int:
        return len(self.positions)


def relabelling_proposals(
    log_probs: LogProbs, labels: Labels, k: int, *, votes: Votes | None = None
) -> Proposals:
    """Labels that model and votes hold wrong, by confident learning.

    An item is confidently of class c if p_c ≥ t_c, the mean of p_c over the items labelled c; among several such
    classes it is of the most probable one. Those of another class than their label are proposed, by p_c - p_label.
    Thresholds by class make up for a model that is surer of some classes than of others.

    With votes, p_n(c) ∝ p_model(c | x_n) Π_a K_a[c, v_na] with K from `dawid_skene`: the model stands for the prior.

    C. G. Northcutt, L. Jiang and I. L. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021;
    V. C. Raykar et al., Learning From Crowds, JMLR 2010.

    Args:
        log_probs: Mean log-probabilities, shape (N, C), of a model that was not trained on the item: one that was
            mostly believes its label. `learners.doubts.proposals` makes them by cross-validation.
        labels: The class indices in use, shape (N,).
        k: How many to propose.
        votes: What annotators answered, shape (N, A), -1 for nothing.

    Returns:
        At most k proposals; fewer where fewer labels are doubtful.

    Raises:
        InvalidLabel: A label or a vote is not one of the classes.
        InvalidArgument: There are no items, lengths differ, or k is less than 1.
    """
    check_labels(log_probs.shape, labels)
    if k < 1:
        raise InvalidArgument(f"k is {k}; at least one item must be asked for")
    if votes is not None and len(votes) != len(labels):
        raise InvalidArgument(f"{len(labels)} rows of votes were expected, one an item, not {len(votes)}")
    probs = _believed(log_probs, votes)
    own = probs[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probs.shape[1])
    sums = np.bincount(labels, weights=own, minlength=probs.shape[1])
    # A class that no item is labelled as has no threshold, and is not proposed.
    threshold = np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0)  # (C,)
    confident = np.where(probs >= threshold, probs, -np.inf)  # (N, C)
    other = confident.argmax(axis=1)
    score = confident.max(axis=1) - own
    doubted = np.flatnonzero((other != labels) & (score > 0))
    best = doubted[np.argsort(-score[doubted], kind="stable")[:k]]
    return Proposals(best, score[best], other[best])


def _believed(log_probs: LogProbs, votes: Votes | None) -> Float[np.ndarray, "N C"]:
    log_weights = log_probs.astype(np.float64)
    if votes is not None:
        log_weights = log_weights + dawid_skene(votes, log_probs.shape[1]).log_likelihood(votes)
    weights: Float[np.ndarray, "N C"] = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
