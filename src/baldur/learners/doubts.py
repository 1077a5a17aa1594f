"""Finds labels that should be checked again, by cross-validation of a learner."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray

from baldur.core.seeds import derive
from baldur.errors import InvalidArgument
from baldur.evaluate import predictive
from baldur.evaluate.agreement import Votes
from baldur.evaluate.doubt import relabelling_proposals
from baldur.learners.held_out import part
from baldur.protocols import Choice, Labelled, Learner, Pool, Scorer, View
from baldur.score.scorer import PoolScorer


def proposals(
    learner: Learner,
    labelled: Labelled,
    unlabelled: Pool,
    *,
    k: int,
    seed: int,
    folds: int = 5,
    votes: Votes | None = None,
    scorer: Scorer | None = None,
) -> Choice:
    """Propose labels to check again: those that a cross-validated learner considers wrong.

    The items are divided into folds, evenly by class and with whole groups. A learner that is fitted to the other folds
    predicts each fold, and `evaluate.doubt.relabelling_proposals` compares. A label is not judged if the other folds
    have no item of its class.

    C. G. Northcutt, L. Jiang and I. L. Chuang, Confident Learning: Estimating Uncertainty in Dataset Labels, JAIR 2021.

    Args:
        learner: The learner; it is fitted once for each fold.
        labelled: The n items with their labels.
        unlabelled: The unlabelled items, for learners that use them.
        k: Maximum number of proposals.
        seed: Seed of the folds, the fits and the draws.
        folds: Number of folds.
        votes: Votes of A annotators for the labelled items, shape (n, A); -1 for a missing vote.
        scorer: Makes the predictions; by default, with the posterior's own number of samples.

    Returns:
        Ids, most doubtful first. The scores say how much more probable another class is. `info["labels"]` has the
        proposed class indices, and `info["judged"]` the number of judged labels.

    Raises:
        InvalidArgument: There are fewer than two folds, or fewer groups than folds.
    """
    log_probs, judged = _out_of_sample(learner, labelled, unlabelled, seed, folds, scorer)
    doubts = relabelling_proposals(
        log_probs[judged], labelled.labels[judged], k, votes=None if votes is None else votes[judged]
    )
    ids = labelled.pool.ids
    info = {"labels": tuple(doubts.labels.tolist()), "judged": len(judged)}
    return Choice(tuple(ids[i] for i in judged[doubts.positions]), doubts.scores, info)


def _out_of_sample(
    learner: Learner, labelled: Labelled, unlabelled: Pool, seed: int, folds: int, scorer: Scorer | None
) -> tuple[Float[ndarray, "n C"], Int[ndarray, " m"]]:
    """Log-probabilities of all items, and the positions of the items with a label that can be judged."""
    groups = labelled.pool.groups or labelled.pool.ids
    fold = _deal(labelled.labels, groups, folds, seed)
    scorer = scorer or PoolScorer(draws=None, seed=derive(seed, "doubts", "draws"))
    parts, judged = [], np.zeros(len(labelled), np.bool_)
    for f in range(folds):
        inside, outside = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        fitted = learner.fit(
            part(labelled, inside),
            unlabelled,
            seed=derive(seed, "doubts", f),
            round=int(labelled.rounds.max()),
        )
        parts.append((outside, scorer.predict(fitted, View(labelled.pool, outside), predictive)))
        judged[outside] = np.isin(labelled.labels[outside], labelled.labels[inside])
    log_probs = np.empty((len(labelled), parts[0][1].shape[1]))  # (n, C)
    for outside, values in parts:
        log_probs[outside] = values
    return log_probs, np.flatnonzero(judged)


def _deal(labels: Int[ndarray, " n"], groups: Sequence[str], folds: int, seed: int) -> NDArray[np.intp]:
    """The fold of each item. Each group, in random order, goes to the fold with fewest items of its classes."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    if not 2 <= folds <= len(members):
        raise InvalidArgument(
            f"{len(members)} items or groups cannot be dealt out to {folds} parts of two or more"
        )
    _, classes = np.unique(labels, return_inverse=True)
    counts = np.zeros((folds, int(classes.max()) + 1), np.int64)  # (folds, C)
    fold = np.empty(len(labels), np.intp)
    for group in sorted(members, key=lambda group: derive(seed, "doubts", group)):
        own = np.bincount(classes[members[group]], minlength=counts.shape[1])  # (C,)
        # counts @ own is how many items each part has of the group's classes; the least, then the smallest part
        best = int(np.lexsort((counts.sum(axis=1), counts @ own))[0])
        counts[best] += own
        fold[members[group]] = best
    return fold
