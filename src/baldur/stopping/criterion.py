"""A stopping criterion as a value, and how several become one."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from baldur.errors import InvalidArgument
from baldur.protocols import Criterion, History, tests_of


@dataclass(frozen=True)
class Rule:
    """A stopping criterion made of a function: `rule(history)` is the reason in words, or empty to go on.

    `a | b` stops as soon as one of both does, and `a & b` when both do.

    Args:
        name: Its name with its options, as `named` reads it.
        why: The function from a history to the reason.
        rounds: How many of the newest rounds' predictions on the stop set it reads.
        splits: The splits whose metrics it reads; "query" is the batch just labelled, before it was trained on.
        limit: The most labels that may be asked for; None for any number.
        wanted: How many test labels of the reserve it needs by now, from a history.
        needs: How many test labels it will need, from the number of items in the reserve.
    """

    name: str
    why: Callable[[History], str] = field(repr=False)
    rounds: int = 0
    splits: frozenset[str] = frozenset()
    limit: int | None = None
    wanted: Callable[[History], int] = field(default=lambda history: 0, repr=False)
    needs: Callable[[int], int] = field(default=lambda size: 0, repr=False)

    def __str__(self) -> str:
        return self.name

    def __call__(self, history: History) -> str:
        """The reason to stop.

        Args:
            history: The past of the trial.

        Returns:
            Words; empty to go on.
        """
        return self.why(history)

    def test_labels(self, history: History) -> int:
        """How many test labels the trial should have by now.

        Args:
            history: The past of the trial.

        Returns:
            A number of labels; 0 without need.
        """
        return self.wanted(history)

    def __or__(self, other: Criterion) -> "Rule":
        return any_of(self, other)

    def __and__(self, other: Criterion) -> "Rule":
        return all_of(self, other)


def any_of(*criteria: Criterion) -> Rule:
    """Stop as soon as one of several criteria does.

    Args:
        criteria: One or more.

    Returns:
        The criterion; its reason joins the reasons of all that hold.

    Raises:
        InvalidArgument: There is none.
    """
    limits = [c.limit for c in _some(criteria) if c.limit is not None]
    return _joined(
        criteria, " | ", lambda reasons: "; ".join(filter(None, reasons)), min(limits, default=None)
    )


def all_of(*criteria: Criterion) -> Rule:
    """Stop when several criteria hold in the same round.

    Args:
        criteria: One or more.

    Returns:
        The criterion; its reason joins the reasons of all.

    Raises:
        InvalidArgument: There is none.
    """
    limits = [c.limit for c in _some(criteria) if c.limit is not None]
    limit = max(limits) if len(limits) == len(criteria) else None  # the others may need the larger budget
    return _joined(criteria, " & ", lambda reasons: " and ".join(reasons) if all(reasons) else "", limit)


def _some(criteria: Sequence[Criterion]) -> Sequence[Criterion]:
    if not criteria:
        raise InvalidArgument("at least one stopping criterion is needed")
    return criteria


def _joined(
    criteria: Sequence[Criterion], sign: str, why: Callable[[list[str]], str], limit: int | None
) -> Rule:
    (first, *others) = criteria
    if not others and isinstance(first, Rule):
        return first
    return Rule(
        "(" + sign.join(c.name for c in criteria) + ")" if others else first.name,
        lambda history: why([c(history) for c in criteria]),
        rounds=max(c.rounds for c in criteria),
        splits=frozenset().union(*(c.splits for c in criteria)),
        limit=limit,
        wanted=lambda history: max(tests_of(c, history) for c in criteria),
        needs=lambda size: max(c.needs(size) if isinstance(c, Rule) else 0 for c in criteria),
    )


def check_number(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Refuse an option that is not a finite number within bounds.

    Args:
        name: The name of the option.
        value: Its value.
        low: The least value.
        high: The largest value.

    Raises:
        InvalidArgument: It is out of bounds, or not a number.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and low <= number <= high):
        bounds = f"at least {low:g}" if math.isinf(high) else f"from {low:g} to {high:g}"
        raise InvalidArgument(f"{name} is a number {bounds}, not {value!r}")


def check_window(window: object) -> None:
    """Refuse a window that is not a number of rounds.

    Args:
        window: The number of rounds.

    Raises:
        InvalidArgument: It is not a whole number of at least 1.
    """
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        raise InvalidArgument(f"window is a whole number of rounds, at least 1, not {window!r}")
