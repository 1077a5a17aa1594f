"""Looks at uniformly drawn test labels: when to look, what a look costs, and what it shows."""

import math

import numpy as np

from baldur.evaluate import Audited, audited_mean, labels_for_target
from baldur.protocols import History

GROWTH = 1.3
"""Between two looks, the labels that a model is trained on grow by this factor at least."""

NEAR = 3.0
"""A look is taken once the model guesses at most this many times the errors that the target allows. Dropout networks on
few labels guess several times the errors that they make, so a smaller factor would never look at some."""


def looks(history: History, errors: float) -> list[int]:
    """The rounds at which a trial looks at its test labels.

    They depend on the guesses of the models and on numbers of labels, never on the answers. So the k-th look may spend
    α / (k (k + 1)), and all looks together err with a probability of at most α.

    Args:
        history: The past of the trial.
        errors: The error rate that a target allows.

    Returns:
        Positions in the history, ascending.
    """
    found: list[int] = []
    items = history.values("items", "reserve")
    trained = [labels - n for labels, n in zip(history.labels, items, strict=True)]
    for r, guess in enumerate(history.values("guess", "reserve")):
        if not items[r] > 0 or not guess <= NEAR * errors:
            continue
        if not found or trained[r] >= GROWTH * trained[found[-1]]:
            found.append(r)
    return found


def spent(look: int, level: float) -> float:
    """The level of one look, so that all looks together have the level.

    Args:
        look: Which look it is, from 1.
        level: The level of all.

    Returns:
        1 - α / (k (k + 1)) for the k-th look.
    """
    return 1 - (1 - level) / (look * (look + 1))


def shown(history: History, errors: float, level: float) -> Audited | None:
    """The error rate that the newest round's look shows.

    Args:
        history: The past of the trial.
        errors: The error rate that the target allows.
        level: The level of all looks together.

    Returns:
        The error rate with its interval; None where this round is no look.
    """
    rounds = looks(history, errors)
    if history.tested is None or not rounds or rounds[-1] != len(history.metrics) - 1:
        return None
    wrong, guess = history.tested.wrong, history.tested.guess
    return audited_mean(wrong, guess, np.arange(len(wrong)), spent(len(rounds), level))


def wanted(history: History, errors: float, level: float, most: int | None) -> int:
    """How many test labels a trial should have by now: none before the model's guesses come near the target.

    Args:
        history: The past of the trial.
        errors: The error rate that the target allows.
        level: The level of all looks together.
        most: The number of labels; None for as many as the first look needs.

    Returns:
        A number of labels.
    """
    guesses = [guess for guess in history.values("guess", "reserve") if not math.isnan(guess)]
    if not guesses or min(guesses) > NEAR * errors:
        return 0
    return needed(errors, level, int(history.values("size", "reserve")[-1]), most)


def needed(errors: float, level: float, size: int, most: int | None) -> int:
    """The number of test labels for a target.

    Args:
        errors: The error rate that the target allows.
        level: The level of all looks together.
        size: How many items the reserve has.
        most: The number that was asked for; None for as many as the first look needs.

    Returns:
        A number of labels.
    """
    if most is not None:
        return min(most, size)
    if not 0 < errors < 1:
        return size
    return labels_for_target(1 - errors, population=size, level=spent(1, level))
