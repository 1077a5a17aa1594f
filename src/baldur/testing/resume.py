"""A run that was interrupted ends as one that was not."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from baldur.loop.parts import Event
from baldur.runs.observer import Observer
from baldur.store import Store


def history(folder: Path) -> dict[str, list[Any]]:
    """What a run came to, without when: picks, labels and curves, every number exact.

    Args:
        folder: The run's folder.

    Returns:
        Lists that are equal for two runs that did the same.
    """
    with Store.open(folder) as store:
        return {
            "picks": [(*row[:6],) for row in store.requests()],
            "labels": [(row.strategy, row.seed, row.item, row.value, row.round) for row in store.labels()],
            "curve": [(*row[:6], repr(row.value)) for row in store.metrics()],
            "trials": [(trial.strategy, trial.seed, trial.state, trial.reason) for trial in store.trials()],
        }


def repeated_phases(folder: Path) -> int:
    """The number of phases that were repeated because they had been interrupted.

    Args:
        folder: The run's folder.

    Returns:
        Attempts beyond the first of each phase.
    """
    with Store.open(folder) as store:
        attempts = Counter((row.strategy, row.seed, row.round, row.phase) for row in store.phases())
    return sum(attempts.values()) - len(attempts)


def verify_resume(start: Callable[[Path, Observer], Any], folder: Path, every: int = 1) -> None:
    """Check that a run that is stopped at every phase gives the same results as an uninterrupted run.

    Args:
        start: Starts or resumes the run in a folder, with an observer.
        folder: An empty folder for the runs.
        every: Stop at every phase (1), at every second phase (2), ...

    Raises:
        AssertionError: Picks, labels or the curve differ, or other phases than the interrupted ones were repeated.
    """
    whole, broken = folder / "whole", folder / "broken"
    start(whole, Observer())
    interruptions = 0
    while True:
        seen = 0

        def stop(event: Event) -> None:
            nonlocal seen
            seen += event.metrics is None
            if seen > every:
                raise InterruptedError

        try:
            start(broken, Observer(event=stop))
            break
        except InterruptedError:
            interruptions += 1
    if not interruptions:
        raise AssertionError("the run was too short to be interrupted")
    if history(broken) != history(whole):
        raise AssertionError("the interrupted run has other results than the uninterrupted run")
    if (again := repeated_phases(broken)) > interruptions:
        raise AssertionError(f"{again} phases were repeated after {interruptions} interruptions")
