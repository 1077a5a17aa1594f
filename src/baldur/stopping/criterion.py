"""What a stopping criterion is, what it is told, and how several become one."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from baldur.errors import InvalidArgument

Metrics = Mapping[tuple[str, str], float]
"""Values by (metric, split)."""


@dataclass(frozen=True)
class History:
    """What a trial has seen up to the round that was just measured. R rounds, S items of the stop set, C classes.

    Args:
        labels: How many labels each round was trained on, R numbers.
        metrics: What each round measured, by (metric, split); R mappings.
        predictions: Mean log-probabilities (S, C) of the newest rounds, the newest last: at most as many as the
            criterion looks at, all of the same items, none of which is labelled by now.
        scores: The scores of the batch that each round was the first to train on, (k,) each; (0,) for the initial one.
    """

    labels: Sequence[int]
    metrics: Sequence[Metrics] = ()
    predictions: Sequence[NDArray[np.floating]] = ()
    scores: Sequence[NDArray[np.float64]] = ()

    def values(self, metric: str, split: str) -> list[float]:
        """One metric, round by round.

        Args:
            metric: Its name.
            split: The part of the data that it was measured on.

        Returns:
            R numbers; NaN where it was not measured.
        """
        return [measured.get((metric, split), math.nan) for measured in self.metrics]


@dataclass(frozen=True)
class Criterion:
    """When it is enough: `criterion(history)` is the reason in words, or empty to go on.

    Args:
        name: As `named` reads it.
        why: The reason, given the history.
        rounds: At how many of the newest rounds' predictions on the stop set it looks.
        splits: The splits whose metrics it reads; "query" is the batch just labelled, before it was trained on.
        limit: The most labels that may be asked for.
    """

    name: str
    why: Callable[[History], str] = field(repr=False)
    rounds: int = 0
    splits: frozenset[str] = frozenset()
    limit: int | None = None

    def __str__(self) -> str:
        return self.name

    def __call__(self, history: History) -> str:
        """The reason to stop.

        Args:
            history: What the trial has seen.

        Returns:
            Words; empty to go on.
        """
        return self.why(history)

    def __or__(self, other: "Criterion") -> "Criterion":
        return any_of(self, other)

    def __and__(self, other: "Criterion") -> "Criterion":
        return all_of(self, other)

    def reason(
        self,
        *,
        labels: Sequence[int],
        metrics: Sequence[Metrics],
        predictions: Sequence[NDArray[np.floating]],
        scores: Sequence[NDArray[np.float64]],
    ) -> str:
        """The same of plain values; the arguments are the fields of `History`.

        Args:
            labels: Of each round.
            metrics: Of each round.
            predictions: Of the newest rounds.
            scores: Of each round's batch.

        Returns:
            Words; empty to go on.
        """
        return self.why(History(labels, metrics, predictions, scores))


def any_of(*criteria: Criterion) -> Criterion:
    """Stop as soon as one of several criteria does.

    Args:
        criteria: One or more.

    Returns:
        The criterion; its reason is the reasons of all that hold.

    Raises:
        InvalidArgument: There is none.
    """
    limits = [c.limit for c in _some(criteria) if c.limit is not None]
    return _joined(
        criteria, " | ", lambda reasons: "; ".join(filter(None, reasons)), min(limits, default=None)
    )


def all_of(*criteria: Criterion) -> Criterion:
    """Stop when several criteria hold in the same round.

    Args:
        criteria: One or more.

    Returns:
        The criterion; its reason is those of all.

    Raises:
        InvalidArgument: There is none.
    """
    limits = [c.limit for c in _some(criteria) if c.limit is not None]
    limit = max(limits) if len(limits) == len(criteria) else None  # what one allows, the others may need
    return _joined(criteria, " & ", lambda reasons: " and ".join(reasons) if all(reasons) else "", limit)


def _some(criteria: Sequence[Criterion]) -> Sequence[Criterion]:
    if not criteria:
        raise InvalidArgument("at least one stopping criterion is needed")
    return criteria


def _joined(
    criteria: Sequence[Criterion], sign: str, why: Callable[[list[str]], str], limit: int | None
) -> Criterion:
    if len(criteria) == 1:
        return criteria[0]
    return Criterion(
        "(" + sign.join(c.name for c in criteria) + ")",
        lambda history: why([c(history) for c in criteria]),
        rounds=max(c.rounds for c in criteria),
        splits=frozenset().union(*(c.splits for c in criteria)),
        limit=limit,
    )


def check_number(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Refuse an option that is no finite number within bounds.

    Args:
        name: Of the option.
        value: What was given.
        low: Its least value.
        high: Its largest value.

    Raises:
        InvalidArgument: It is out of bounds, or no number.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and low <= number <= high):
        bounds = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise InvalidArgument(f"{name} is a number {bounds}, not {value!r}")


def check_window(window: object) -> None:
    """Refuse a window that is no number of rounds.

    Args:
        window: What was given.

    Raises:
        InvalidArgument: It is not a whole number of at least 1.
    """
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        raise InvalidArgument(f"window is a whole number of rounds, at least 1, not {window!r}")
