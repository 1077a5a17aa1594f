"""Agreement of several annotators: majority, the consensus of Dawid and Skene, and kappas."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Integer

from baldur.core.arrays import Array
from baldur.errors import InvalidArgument, InvalidLabel
from baldur.evaluate._checks import indices, number, numbers, whole

Votes: TypeAlias = Integer[Array, "N A"]
"""Class indices, one row an item and one column an annotator; -1 where there is no answer. Of NumPy or torch."""

_TIE = 1e-9


@dataclass(frozen=True)
class Consensus:
    """Class probabilities of N items, confusion matrices of A annotators and shares of C classes.

    Args:
        probs: The class probabilities of each item, shape (N, C).
        confusion: `confusion[a, c, l]` is the probability that annotator a answers l for class c, shape (A, C, C).
        prior: The share of each class, shape (C,).
    """

    probs: Float[np.ndarray, "N C"]
    confusion: Float[np.ndarray, "A C C"]
    prior: Float[np.ndarray, " C"]

    def infer(self, votes: Votes) -> Float[np.ndarray, "N C"]:
        """Class probabilities of items by the confusion of the annotators: p(c | v) ∝ π_c Π_a K_a[c, v_a].

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
        return normalised(log_prior + self.log_likelihood(votes))

    def log_likelihood(self, votes: Votes) -> Float[np.ndarray, "N C"]:
        """The log-likelihood of each item's votes for each class, without the prior: Σ_a log K_a[c, v_a].

        Args:
            votes: Answers of the same annotators, shape (N, A).

        Returns:
            Nats, shape (N, C); 0 where nobody answered.

        Raises:
            InvalidLabel: A vote is neither a class nor -1.
            InvalidArgument: There is not one column for each annotator.
        """
        annotators, classes = self.confusion.shape[:2]
        votes = _checked(votes, classes)
        if votes.shape[1] != annotators:
            raise InvalidArgument(
                f"{annotators} columns were expected, one an annotator, not {votes.shape[1]}"
            )
        return _log_likelihood(_incidence(votes, classes), self.confusion)


def majority(votes: Votes, classes: int) -> Int[np.ndarray, " N"]:
    """The answer of most annotators to each item; among equals the one that was given first.

    The first answer is in the leftmost column. So if annotators are in random order, ties are broken at random.

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


def decide(scores: Float[Array, "N C"], votes: Votes) -> Int[np.ndarray, " N"]:
    """The class of the largest score; among equals the first one that an annotator gave.

    Args:
        scores: Probabilities or counts, shape (N, C).
        votes: Answers, shape (N, A).

    Returns:
        Class indices, shape (N,); -1 where nobody answered.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
        InvalidArgument: There is not one row of votes for each row of scores, or a score is NaN.
    """
    scores = numbers("scores", scores, 2, finite=False)
    votes = _checked(votes, scores.shape[1])
    if len(votes) != len(scores):
        raise InvalidArgument(f"{len(scores)} rows of votes were expected, one an item, not {len(votes)}")
    if not len(votes):
        return np.zeros(0, np.int64)
    best = scores >= scores.max(axis=1, keepdims=True) - _TIE  # (N, C)
    named = (votes >= 0) & np.take_along_axis(best, np.maximum(votes, 0), axis=1)  # (N, A)
    first = np.take_along_axis(votes, named.argmax(axis=1)[:, None], axis=1)[:, 0]  # (N,)
    chosen = np.where(named.any(axis=1), first, scores.argmax(axis=1))
    return np.where((votes >= 0).any(axis=1), chosen, -1).astype(np.int64)


def dawid_skene(
    votes: Votes, classes: int, *, shrinkage: float = 10.0, iterations: int = 100, tolerance: float = 1e-6
) -> Consensus:
    """The classes of items and the confusion of annotators together, by expectation maximisation.

    p_n(c) ∝ π_c Π_a K_a[c, v_na] and K_a[c, l] ∝ s B_a[c, l] + Σ_n p_n(c) 1[v_na = l] alternate. They begin with the
    shares of the votes. A row of K_a has C - 1 free numbers and few votes, so it shrinks to B_a with the weight of s
    votes. B_a has the annotator's share of right answers a_a on the diagonal, and 1 - a_a spread evenly beside it.
    s = 0 is maximum likelihood, as published. s → ∞ leaves one number for each annotator. The prior π shrinks to the
    uniform one in the same way.

    A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm,
    Applied Statistics, 1979.

    Args:
        votes: Answers, shape (N, A).
        classes: How many classes there are.
        shrinkage: s, in votes.
        iterations: How many iterations at most.
        tolerance: Iterations end when no probability changes by more than this.

    Returns:
        Class probabilities, confusion matrices and class shares. An item without a vote gets the shares.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
        InvalidArgument: There are fewer than two classes, or a number is negative.
    """
    shrinkage, iterations = number("shrinkage", shrinkage, 0), whole("iterations", iterations, 1)
    number("tolerance", tolerance, 0)
    votes = _checked(votes, classes)
    counts = _counts(votes, classes)
    voted = counts.sum(axis=1, keepdims=True)  # (N, 1)
    probs = np.divide(counts, voted, out=np.full(counts.shape, 1 / classes), where=voted > 0)  # (N, C)
    said, known = _incidence(votes, classes), voted[:, 0] > 0
    for _ in range(iterations):
        prior = _share(probs[known].sum(axis=0), shrinkage)
        confusion = _confusion(said, probs, shrinkage)
        with np.errstate(divide="ignore"):
            new = normalised(np.log(prior) + _log_likelihood(said, confusion))
        change = np.abs(new - probs).max(initial=0.0)
        probs = new
        if change <= tolerance:
            break
    return Consensus(probs, confusion, prior)


def cohen_kappa(first: Integer[Array, " N"], second: Integer[Array, " N"]) -> float:
    """Cohen's kappa of two annotators: κ = (p_o - p_e) / (1 - p_e), agreement beyond chance.

    J. Cohen, A Coefficient of Agreement for Nominal Scales, Educational and Psychological Measurement, 1960.

    Args:
        first: Class indices, shape (N,).
        second: Those of the other annotator, shape (N,).

    Returns:
        At most 1; 0 is chance. It is 1 where both always give one and the same class.

    Raises:
        InvalidLabel: The answers are not integers.
        InvalidArgument: There are no items, or not equally many.
    """
    first, second = indices("first", first, 1), indices("second", second, 1)
    if len(first) != len(second) or len(first) == 0:
        raise InvalidArgument(
            f"equally many answers of both were expected, at least one, not {len(first)} and {len(second)}"
        )
    classes = np.union1d(first, second)
    chance = sum(float(np.mean(first == c)) * float(np.mean(second == c)) for c in classes)
    return _beyond_chance(float(np.mean(first == second)), chance)


def fleiss_kappa(votes: Votes, classes: int) -> float:
    """Fleiss' kappa of many annotators: κ = (P̄ - P̄_e) / (1 - P̄_e), agreement beyond chance.

    P̄ is the mean over items of Σ_c v_nc (v_nc - 1) / (v_n (v_n - 1)) with v_nc of v_n votes for c, and
    P̄_e = Σ_c (Σ_n v_nc / Σ_n v_n)². Items may have different numbers of votes. Items with fewer than two do not count.

    J. L. Fleiss, Measuring Nominal Scale Agreement Among Many Raters, Psychological Bulletin, 1971.

    Args:
        votes: Answers, shape (N, A).
        classes: How many classes there are.

    Returns:
        At most 1; 0 is chance. It is 1 where everybody always gives one and the same class.

    Raises:
        InvalidLabel: A vote is neither a class nor -1.
        InvalidArgument: No item has two votes, or there are fewer than two classes.
    """
    counts = _counts(votes, classes)
    counts = counts[counts.sum(axis=1) >= 2]
    if len(counts) == 0:
        raise InvalidArgument("no item has two votes, so there is no agreement to measure")
    total = counts.sum(axis=1)
    agreed = np.sum(counts * (counts - 1), axis=1) / (total * (total - 1))
    share = counts.sum(axis=0) / counts.sum()
    return _beyond_chance(float(agreed.mean()), float(np.sum(share**2)))


def _beyond_chance(observed: float, chance: float) -> float:
    return 1.0 if chance >= 1 - 1e-12 else (observed - chance) / (1 - chance)


def _checked(votes: Votes, classes: int) -> Int[np.ndarray, "N A"]:
    if whole("classes", classes, 1) < 2:
        raise InvalidArgument(f"there must be at least 2 classes to tell apart, not {classes}")
    said = indices("votes", votes, 2)
    bad = (said < -1) | (said >= classes)
    if bad.any():
        n, a = np.argwhere(bad)[0]
        raise InvalidLabel(
            f"annotator {a} answers {said[n, a]} for item {n}; expected 0 to {classes - 1}, or -1 for no answer"
        )
    return said


def _counts(votes: Votes, classes: int) -> Float[np.ndarray, "N C"]:
    """How many votes each class of each item has."""
    said = _checked(votes, classes)
    n, a = np.nonzero(said >= 0)
    flat = np.bincount(n * classes + said[n, a], minlength=len(said) * classes)
    return flat.reshape(len(said), classes).astype(np.float64)  # (N, C)


def _incidence(votes: Votes, classes: int) -> Any:
    """1 where annotator a answers l for item n, shape (A * C, N), row a * C + l, as a sparse array."""
    from scipy.sparse import csr_array

    n, a = np.nonzero(votes >= 0)
    shape = (votes.shape[1] * classes, len(votes))
    return csr_array((np.ones(len(n)), (a * classes + votes[n, a], n)), shape=shape)


def _log_likelihood(said: Any, confusion: Float[np.ndarray, "A C C"]) -> Float[np.ndarray, "N C"]:
    with np.errstate(divide="ignore"):
        each = np.log(confusion).transpose(0, 2, 1)  # (A, l, c)
    result: Float[np.ndarray, "N C"] = said.T @ each.reshape(-1, each.shape[2])  # (N, A·C) @ (A·C, C)
    return result


def _share(mass: Float[np.ndarray, " C"], shrinkage: float) -> Float[np.ndarray, " C"]:
    mass = mass + shrinkage / len(mass)
    total = mass.sum()
    return mass / total if total > 0 else np.full(len(mass), 1 / len(mass))


def _confusion(said: Any, probs: Float[np.ndarray, "N C"], shrinkage: float) -> Float[np.ndarray, "A C C"]:
    classes = probs.shape[1]
    counts = (said @ probs).reshape(-1, classes, classes).transpose(0, 2, 1)  # (A, c, l)
    right, votes = np.trace(counts, axis1=1, axis2=2), counts.sum(axis=(1, 2))
    # Two more votes, halfway between certainty and chance: an unknown annotator counts as better than chance.
    accuracy = ((right + 1 + 1 / classes) / (votes + 2))[:, None, None]  # (A, 1, 1)
    towards = np.where(np.eye(classes, dtype=bool), accuracy, (1 - accuracy) / (classes - 1))  # (A, C, C)
    mass = counts + shrinkage * towards
    total = mass.sum(axis=2, keepdims=True)  # (A, C, 1)
    return np.asarray(np.divide(mass, total, out=towards, where=total > 0))


def normalised(log_weights: Float[np.ndarray, "N C"]) -> Float[np.ndarray, "N C"]:
    """Probabilities that are proportional to weights.

    Args:
        log_weights: Logarithms of the weights, shape (N, C).

    Returns:
        Probabilities, shape (N, C).
    """
    weights: Float[np.ndarray, "N C"] = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)  # (N, C)
    return weights
