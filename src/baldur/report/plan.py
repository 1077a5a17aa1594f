"""What a run set out to do, read from its settings; whatever they do not say is unknown."""

import tomllib
from dataclasses import dataclass
from typing import Any

from baldur.store import Store


@dataclass(frozen=True)
class Plan:
    """What a run set out to do.

    Args:
        data: The data set; empty if unknown.
        strategies: What is compared.
        seeds: How many repetitions; 0 if unknown.
        rounds: How often each trial asks; None if unknown.
        oracle: Who answers.
        free_labels: Labels used for validation beside the counted ones.
        until: The test accuracy at which a trial ends; None if only rounds end it.
    """

    data: str
    strategies: tuple[str, ...]
    seeds: int
    rounds: int | None
    oracle: str
    free_labels: int
    until: float | None = None

    @property
    def trials(self) -> int:
        """How many trials the run will have; 0 if unknown."""
        return len(self.strategies) * self.seeds


def read_plan(store: Store) -> Plan:
    """What a run set out to do.

    Args:
        store: The run.

    Returns:
        The plan.
    """
    told = _settings(store)
    strategies, rounds = told.get("strategies"), told.get("rounds")
    until = told.get("until")
    validation = told.get("validation") if told.get("validation_free") is True else 0
    return Plan(
        data=str(told.get("data", "")),
        strategies=tuple(map(str, strategies)) if isinstance(strategies, list) else (),
        seeds=_whole(told.get("seeds")),
        rounds=rounds if isinstance(rounds, int) else None,
        oracle=str(told.get("oracle", "simulated")),
        free_labels=_whole(validation),
        until=float(until) if isinstance(until, int | float) else None,
    )


def _settings(store: Store) -> dict[str, Any]:
    try:
        return tomllib.loads(store.settings)
    except tomllib.TOMLDecodeError:
        return {}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
