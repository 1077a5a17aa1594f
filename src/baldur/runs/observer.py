"""Who is told what a run is doing."""

from collections.abc import Callable
from dataclasses import dataclass

from baldur import loop


@dataclass(frozen=True)
class Observer:
    """Told what a run is doing; the command line shows it.

    Args:
        event: A phase begins, or a round was measured.
        detail: (what, done, in all) of something that may take long.
        message: A sentence that a person should see.
    """

    event: Callable[[loop.Event], None] = lambda event: None
    detail: Callable[[str, int, int], None] = lambda what, done, total: None
    message: Callable[[str], None] = lambda text: None
