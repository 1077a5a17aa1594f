"""The observer of a run."""

from collections.abc import Callable
from dataclasses import dataclass

from baldur import loop


@dataclass(frozen=True)
class Observer:
    """Receives the progress of a run; the command line shows it.

    Args:
        event: Called when a phase begins and when a round was measured.
        detail: Called with (task, finished units, all units) during a long task.
        message: Called with a message for the user.
    """

    event: Callable[[loop.Event], None] = lambda event: None
    detail: Callable[[str, int, int], None] = lambda what, done, total: None
    message: Callable[[str], None] = lambda text: None
