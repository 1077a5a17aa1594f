"""The plan of a run, read from its settings; a missing setting is unknown."""

from dataclasses import dataclass

from baldur.errors import InvalidSettings
from baldur.stopping import named
from baldur.store import Store


@dataclass(frozen=True)
class Plan:
    """The plan of a run.

    Args:
        data: The data set; empty if unknown.
        strategies: The strategies that are compared.
        seeds: The number of repetitions; 0 if unknown.
        rounds: The number of queries of each trial; None if unknown.
        oracle: The source of the answers.
        free_labels: The number of validation labels that are not counted.
        until: The test accuracy at which a trial ends; None if there is none.
        stop: Stopping criteria; each of them ends a trial.
        noise: The rate of wrong answers, or the name of recorded answers; empty if all answers are right.
        annotators: The number of answers that make one label.
    """

    data: str
    strategies: tuple[str, ...]
    seeds: int
    rounds: int | None
    oracle: str
    free_labels: int
    until: float | None = None
    stop: tuple[str, ...] = ()
    noise: str = ""
    annotators: int = 1

    @property
    def trials(self) -> int:
        """The number of trials that the run will have; 0 if unknown."""
        return len(self.strategies) * self.seeds

    @property
    def stops_on_test(self) -> bool:
        """Whether a criterion is known to look at the test set."""
        return any(map(_reads_test, self.stop))


def read_plan(store: Store) -> Plan:
    """Read the plan of a run.

    Args:
        store: The run.

    Returns:
        The plan.
    """
    told = store.options
    strategies, rounds = told.get("strategies"), told.get("rounds")
    until, stop = told.get("until"), told.get("stop")
    validation = told.get("validation") if told.get("validation_free") is True else 0
    return Plan(
        data=str(told.get("data", "")),
        strategies=tuple(map(str, strategies)) if isinstance(strategies, list) else (),
        seeds=_whole(told.get("seeds")),
        rounds=rounds if isinstance(rounds, int) and told.get("oracle") != "people" else None,
        oracle=str(told.get("oracle", "simulated")),
        free_labels=_whole(validation),
        until=float(until) if isinstance(until, int | float) else None,
        stop=tuple(map(str, stop)) if isinstance(stop, list) else (),
        noise=str(told.get("noise", "")),
        annotators=_whole(told.get("annotators")) or 1,
    )


def _reads_test(criterion: str) -> bool:
    try:
        return "test" in named(criterion).splits
    except InvalidSettings:  # one's own
        return False


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
