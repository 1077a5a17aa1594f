"""What several annotators agree on: majority, the consensus of Dawid and Skene, and kappas."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Integer

from baldur.errors import InvalidArgument, InvalidLabel

Votes: TypeAlias = Integer[np.ndarray, "N A"]
"""Class indices, one row an item and one column an annotator; -1 where there is no answer."""

_TIE = 1e-9


@dataclass(frozen=True)
class Consensus:
    """What votes say of N items, A annotators and C classes.

    Args:
        probs: The probability that an item is of a class, shape (N, C).
        confusion: That an annotator, shown an item of class c, answers l: `confusion[a, c, l]`, shape (A, C, C).
        prior: The share of each class, shape (C,).
    """

    probs: Float[np.ndarray, "N C"]
    confusion: Float[np.ndarray, "A C C"]
    prior: Float[np.ndarray, " C"]

    def infer(self, votes: Votes) -> Float[np.ndarray, "N C"]:
        """The class probabilities of items, by what is known of the annotators: p(c | v) ∝ π_c Π_a K_a[c, v_a].

        Args:
            votes: Answers of the same annotators, shape (N, A).

        Returns:
            Probabilities, shape (N, C); the prior where nobody answered.

        Raises:
            InvalidLabel: A vote is neither a class nor -1.
            InvalidArgument: There is not one column for each annotator.
        """
        with np.errstate(divide="ignore"):
            log_prior = np.log(self.prior)
        return _normalised(log_prior + self.log_likelihood(votes))

    def log_likelihood(self, votes: Votes) -> Float[np.ndarray, "N C"]:
        """What votes say of the class of each item without the prior: Σ_a log K_a[c, v_a].

        Args:
            votes: Answers of the same annotators, shape (N, A).

        Returns:
            Nats, shape (N, C); 0 where nobody answered.

        Raises:
            InvalidLabel: A vote is neither a class nor -1.
            InvalidArgument: There is not one column for each annotator.
        """
        annotators, classes = self.confusion.shape[:2]
        if votes.shape[1] != annotators:
            raise InvalidArgument(
                f"{annotators} columns were expected, one an annotator, not {votes.shape[1]}"
            )
        return _log_likelihood(_incidence(votes, classes), self.confusion)


def majority(votes: Votes, classes: int) -> Int[np.ndarray, " N"]:
    """The answer that most annotators gave to each item; among equals the one that was given first.

    First is the leftmost column, so where annotators are in random order a tie is broken at random.

    Args:
        votes: Answers, shape (N, A).
        classes: How many classes there are.

    Returns:
        Class indices, shape (N,); -1 where nobody answered.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
        InvalidArgument: There are fewer than two classes.
    """
    return decide(_counts(votes, classes), votes)


def decide(scores: Float[np.ndarray, "N C"], votes: Votes) -> Int[np.ndarray, " N"]:
    """The class of the largest score; among equals the one that an annotator gave first.

    Args:
        scores: Probabilities or counts, shape (N, C).
        votes: Answers, shape (N, A).

    Returns:
        Class indices, shape (N,); -1 where nobody answered.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
    """
    _check(votes, scores.shape[1])
    best = scores >= scores.max(axis=1, keepdims=True) - _TIE  # (N, C)
    named = (votes >= 0) & np.take_along_axis(best, np.maximum(votes, 0), axis=1)  # (N, A)
    first = np.take_along_axis(votes, named.argmax(axis=1)[:, None], axis=1)[:, 0]
    chosen = np.where(named.any(axis=1), first, scores.argmax(axis=1))
    return np.where((votes >= 0).any(axis=1), chosen, -1).astype(np.int64)


def dawid_skene(
    votes: Votes, classes: int, *, shrinkage: float = 10.0, iterations: int = 100, tolerance: float = 1e-6
) -> Consensus:
    """What items are and how annotators err, both at once, by expectation maximisation.

    p_n(c) ∝ π_c Π_a K_a[c, v_na], and K_a[c, l] ∝ s B_a[c, l] + Σ_n p_n(c) 1[v_na = l], in turn, from the shares of the
    votes on. A row of K_a has C - 1 free numbers and few votes, so it is drawn, with the weight of s votes, to what is
    known of its annotator as a whole: B_a has a_a, the share of answers that are right, on the diagonal and the rest
    evenly beside it. s = 0 is maximum likelihood, as published; s → ∞ leaves one number an annotator. The prior π is
    drawn to the uniform one alike.

    A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm,
    Applied Statistics, 1979.

    Args:
        votes: Answers, shape (N, A).
        classes: How many classes there are.
        shrinkage: s, in votes.
        iterations: Turns at most.
        tolerance: The largest change of a probability in one turn at which it ends.

    Returns:
        Class probabilities, confusion matrices and class shares. An item without a vote gets the shares.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
        InvalidArgument: There are fewer than two classes, or a number is negative.
    """
    if shrinkage < 0 or iterations < 1:
        raise InvalidArgument(
            f"shrinkage must not be negative and iterations be at least 1, not {shrinkage} and {iterations}"
        )
    counts = _counts(votes, classes)
    voted = counts.sum(axis=1, keepdims=True)
    probs = np.divide(counts, voted, out=np.full(counts.shape, 1 / classes), where=voted > 0)  # (N, C)
    said, known = _incidence(votes, classes), voted[:, 0] > 0
    for _ in range(iterations):
        prior = _share(probs[known].sum(axis=0), shrinkage)
        confusion = _confusion(said, probs, shrinkage)
        with np.errstate(divide="ignore"):
            new = _normalised(np.log(prior) + _log_likelihood(said, confusion))
        change = np.abs(new - probs).max(initial=0.0)
        probs = new
        if change <= tolerance:
            break
    return Consensus(probs, confusion, prior)


def cohen_kappa(first: Integer[np.ndarray, " N"], second: Integer[np.ndarray, " N"]) -> float:
    """Cohen's kappa of two annotators: κ = (p_o - p_e) / (1 - p_e), agreement beyond chance.

    J. Cohen, A Coefficient of Agreement for Nominal Scales, Educational and Psychological Measurement, 1960.

    Args:
        first: Class indices, shape (N,).
        second: Those of the other annotator, shape (N,).

    Returns:
        At most 1; 0 is chance. 1 where both always give one and the same class.

    Raises:
        InvalidArgument: There are no items, or not equally many.
    """
    if len(first) != len(second) or len(first) == 0:
        raise InvalidArgument(
            f"as many answers of both were expected, not {len(first)} and {len(second)}; at least one"
        )
    classes = np.union1d(first, second)
    chance = sum(float(np.mean(first == c)) * float(np.mean(second == c)) for c in classes)
    return _beyond_chance(float(np.mean(first == second)), chance)


def fleiss_kappa(votes: Votes, classes: int) -> float:
    """Fleiss' kappa of many annotators: κ = (P̄ - P̄_e) / (1 - P̄_e), agreement beyond chance.

    P̄ is the mean over items of Σ_c v_nc (v_nc - 1) / (v_n (v_n - 1)) with v_nc of v_n votes for c, and
    P̄_e = Σ_c (Σ_n v_nc / Σ_n v_n)². Items may have different numbers of votes; those with fewer than two do not count.

    J. L. Fleiss, Measuring Nominal Scale Agreement Among Many Raters, Psychological Bulletin, 1971.

    Args:
        votes: Answers, shape (N, A).
        classes: How many classes there are.

    Returns:
        At most 1; 0 is chance. 1 where everybody always gives one and the same class.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
        InvalidArgument: No item has two votes, or there are fewer than two classes.
    """
    counts = _counts(votes, classes)
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        raise InvalidArgument("no item has two votes, so there is nothing that could agree")
    total = counts.sum(axis=1)
    agreed = np.sum(counts * (counts - 1), axis=1) / (total * (total - 1))
    share = counts.sum(axis=0) / counts.sum()
    return _beyond_chance(float(agreed.mean()), float(np.sum(share**2)))


def _beyond_chance(observed: float, chance: float) -> float:
    return 1.0 if chance >= 1 - 1e-12 else (observed - chance) / (1 - chance)


def _check(votes: Votes, classes: int) -> None:
    if classes < 2:
        raise InvalidArgument(f"there must be at least 2 classes to tell apart, not {classes}")
    bad = (votes < -1) | (votes >= classes)
    if bad.any():
        n, a = np.argwhere(bad)[0]
        raise InvalidLabel(
            f"annotator {a} answers {votes[n, a]} for item {n}; expected 0 to {classes - 1}, or -1 for no answer"
        )


def _counts(votes: Votes, classes: int) -> Float[np.ndarray, "N C"]:
    """How many votes each class of each item has."""
    _check(votes, classes)
    n, a = np.nonzero(votes >= 0)
    flat = np.bincount(n * classes + votes[n, a], minlength=len(votes) * classes)
    return flat.reshape(len(votes), classes).astype(np.float64)


def _incidence(votes: Votes, classes: int) -> Any:
    """1 where annotator a answers l for item n, shape (A * C, N), row a * C + l, as a sparse array."""
    from scipy.sparse import csr_array

    _check(votes, classes)
    n, a = np.nonzero(votes >= 0)
    shape = (votes.shape[1] * classes, len(votes))
    return csr_array((np.ones(len(n)), (a * classes + votes[n, a], n)), shape=shape)


def _log_likelihood(said: Any, confusion: Float[np.ndarray, "A C C"]) -> Float[np.ndarray, "N C"]:
    with np.errstate(divide="ignore"):
        each = np.log(confusion).transpose(0, 2, 1)  # (A, l, c)
    result: Float[np.ndarray, "N C"] = said.T @ each.reshape(-1, each.shape[2])
    return result


def _share(mass: Float[np.ndarray, " C"], shrinkage: float) -> Float[np.ndarray, " C"]:
    mass = mass + shrinkage / len(mass)
    total = mass.sum()
    return mass / total if total > 0 else np.full(len(mass), 1 / len(mass))


def _confusion(said: Any, probs: Float[np.ndarray, "N C"], shrinkage: float) -> Float[np.ndarray, "A C C"]:
    classes = probs.shape[1]
    counts = (said @ probs).reshape(-1, classes, classes).transpose(0, 2, 1)  # (A, c, l)
    right, votes = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    # Two votes halfway between certainty and chance, so that one who is not known yet counts as better than chance.
    accuracy = ((right + 1 + 1 / classes) / (votes + 2))[:, None, None]
    towards = np.where(np.eye(classes, dtype=bool), accuracy, (1 - accuracy) / (classes - 1))  # (A, C, C)
    mass = counts + shrinkage * towards
    total = mass.sum(axis=2, keepdims=True)
    return np.asarray(np.divide(mass, total, out=towards, where=total > 0))


def _normalised(log_weights: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    weights: Float[np.ndarray, "N C"] = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
