"""Simulated annotators who make errors."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.core.seeds import derive
from baldur.data.people import People
from baldur.errors import InvalidArgument, InvalidData
from baldur.oracles.simulated import Simulated
from baldur.protocols import Oracle

Transition = Float[np.ndarray, "C C"]
"""Rows are true classes; columns are the probabilities of the answers."""

_SPAN = 2.0**63


def uniform(rate: float, classes: int) -> Transition:
    """All wrong classes have equal probabilities: 1 - rate on the diagonal, rate / (C - 1) elsewhere.

    `rate` is the share of wrong answers. Some papers draw a share r of the labels again from all classes, the true one
    included; this is the rate r (C - 1) / C here.

    Args:
        rate: The share of wrong answers, in [0, 1].
        classes: How many classes there are.

    Returns:
        A transition matrix, shape (C, C).

    Raises:
        InvalidArgument: The rate is not in [0, 1], or there are fewer than two classes.
    """
    _check_rate(rate, classes)
    matrix = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(matrix, 1 - rate)
    return matrix


def confused(rate: float, classes: int, taken_for: Mapping[int, int] | None = None) -> Transition:
    """Each class is confused with one other: 1 - rate on the diagonal, `rate` at that class.

    G. Patrini, A. Rozza, A. K. Menon, R. Nock and L. Qu, Making Deep Neural Networks Robust to Label Noise: A Loss
    Correction Approach, CVPR 2017 (for CIFAR-10: 9 → 1, 2 → 0, 4 → 7, 3 → 5, 5 → 3).

    Args:
        rate: The share of wrong answers for a confused class, in [0, 1].
        classes: How many classes there are.
        taken_for: The wrong class of each confused class; if it is not given, the next class.

    Returns:
        A transition matrix, shape (C, C).

    Raises:
        InvalidArgument: The rate is not in [0, 1], there are fewer than two classes, or a class is not one of them.
    """
    _check_rate(rate, classes)
    wrong = {c: (c + 1) % classes for c in range(classes)} if taken_for is None else taken_for
    matrix = np.eye(classes)
    for c, other in wrong.items():
        if not (0 <= c < classes and 0 <= other < classes and c != other):
            raise InvalidArgument(f"class {c} cannot be taken for {other}; classes are 0 to {classes - 1}")
        matrix[c, c], matrix[c, other] = 1 - rate, rate
    return matrix


class Noisy:
    """An annotator who makes errors: answers are drawn from the true class's row of a transition matrix.

    An answer follows from (seed, annotator, id) alone. The order of the questions and a restart do not change it, and
    the same question always gets the same answer.

    Args:
        truth: An oracle with the true classes.
        classes: The names of the classes.
        transition: The probability of each answer, by the true class; `uniform` and `confused` make such matrices.
        seed: The seed of the errors. Annotators with one seed make independent errors.
        annotator: The name of the annotator.

    Raises:
        InvalidArgument: `transition` is not (C, C), or one of its rows is not a distribution.
    """

    def __init__(
        self,
        truth: Oracle,
        classes: Sequence[str],
        transition: Transition,
        *,
        seed: int,
        annotator: str = "noisy annotator",
    ) -> None:
        count = len(classes)
        if transition.shape != (count, count):
            raise InvalidArgument(
                f"a transition matrix of {count} classes was expected, not {transition.shape}"
            )
        sums = transition.sum(axis=1)
        if not ((transition >= 0).all() and np.allclose(sums, 1, rtol=0, atol=1e-6)):
            raise InvalidArgument(
                f"each row of the transition matrix must be a distribution; the rows sum to {sums.round(6).tolist()}"
            )
        self.annotator = annotator
        self._truth = truth
        self._classes = tuple(classes)
        shares = transition / sums[:, None]  # (C, C)
        self._rows = dict(zip(self._classes, np.cumsum(shares, axis=1), strict=True))
        self._seed = seed

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """This annotator's class of each item; an item without a known truth stays unanswered.

        Args:
            ids: Items.

        Returns:
            Class names by id.
        """
        return {i: self._said(i, true) for i, true in self._truth.ask(ids).items()}

    def _said(self, id: str, true: str) -> str:
        u = derive(self._seed, "answer", self.annotator, id) / _SPAN
        row = self._rows[true]
        return self._classes[min(int(np.searchsorted(row, u, side="right")), len(row) - 1)]


class Recorded:
    """Gives the recorded answers of somebody.

    Args:
        ids: The items.
        answers: The class index of each, shape (N,); -1 where there is no answer.
        classes: The names of the classes.
        annotator: The name of the annotator.

    Raises:
        InvalidArgument: There is not one answer for each id.
    """

    def __init__(
        self, ids: Sequence[str], answers: NDArray[np.int64], classes: Sequence[str], annotator: str
    ) -> None:
        self.annotator = annotator
        self._known = Simulated(ids, answers, classes)

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The recorded answers.

        Args:
            ids: Items.

        Returns:
            Class names by id.
        """
        return self._known.ask(ids)


def from_people(
    people: People, which: str, ids: Sequence[str], labels: NDArray[np.int64], classes: Sequence[str]
) -> Recorded:
    """An oracle that gives the recorded answers of people.

    Args:
        people: Their answers; `baldur.data.people` reads some.
        which: A name in `people.answers`, such as "worst".
        ids: The items of the pool.
        labels: Their true classes, shape (N,); they reveal answers that are about other items.
        classes: The names of the classes.

    Returns:
        The oracle.

    Raises:
        InvalidArgument: There are no answers with that name.
        InvalidData: The answers are not about these items.
    """
    if which not in people.answers:
        raise InvalidArgument(f"there are no answers called {which!r}; there are {', '.join(people.answers)}")
    where = {i: position for position, i in enumerate(people.ids)}
    missing = [i for i in ids if i not in where]
    if missing:
        raise InvalidData(
            f"there are no people's answers for {missing[0]!r} ({len(missing)} such items of the pool)"
        )
    at = np.array([where[i] for i in ids], np.intp)
    differ = np.flatnonzero(people.truth[at] != labels)
    if len(differ):
        i = differ[0]
        raise InvalidData(
            f"item {ids[i]!r} is of class {labels[i]} in the pool and of class {people.truth[at[i]]} in the people's"
            f" data ({len(differ)} such items), so their answers are about other items"
        )
    return Recorded(ids, people.answers[which][at], classes, f"people ({which})")


def _check_rate(rate: float, classes: int) -> None:
    if not 0 <= rate <= 1 or classes < 2:
        raise InvalidArgument(
            f"a share of wrong answers and two classes or more were expected, not {rate} and {classes}"
        )
