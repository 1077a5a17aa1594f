"""Shows the progress of a run: round, phase, number of labels, accuracy and remaining time."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from baldur.loop.parts import Event
    from baldur.runs.observer import Observer

_WORDS = {"label": "labelling", "fit": "training", "measure": "testing", "choose": "choosing"}
# Minimum seconds between two lines if there is no terminal.
_INTERVAL = 10.0
# Minimum seconds between two updates in a notebook.
_CELL_INTERVAL = 0.3


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and type(shell).__name__ == "ZMQInteractiveShell"


class _Cell:
    """A progress bar in the cell of a notebook; it needs only IPython."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._handle = display(HTML(""), display_id=True)

    def show(self, text: str, share: float) -> None:
        """Update the bar.

        Args:
            text: The text beside the bar; an empty text removes the bar.
            share: The finished share of the work.
        """
        bar = f'<progress value="{share:.3f}" max="1"></progress> {escape(text)}' if text else ""
        self._handle.update(self._html(bar))


def clock(seconds: float) -> str:
    """Format seconds as m:ss or h:mm:ss.

    Args:
        seconds: A duration.

    Returns:
        The text.
    """
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02}:{s:02}" if hours else f"{m}:{s:02}"


@dataclass
class Live:
    """The display of one run.

    Args:
        console: Shows a bar if it is a terminal, and otherwise a line from time to time.
        points: Number of measurements in the whole run: trials times (rounds + 1).
        done: Number of measurements before this start.
        notebook: Whether to show a bar in the cell of a notebook instead.
    """

    console: Console
    points: int
    done: int = 0
    notebook: bool = False
    _begun: float = field(default_factory=time.monotonic)
    _before: int = 0
    _said: float = 0.0
    _where: str = ""
    _accuracy: dict[tuple[str, int], str] = field(default_factory=dict)
    _progress: Progress | None = None
    _task: TaskID | None = None
    _cell: "_Cell | None" = None

    def __post_init__(self) -> None:
        self._before = self.done

    @contextmanager
    def showing(self) -> Iterator["Observer"]:
        """Show the progress until the block ends.

        Yields:
            The observer of the run.
        """
        from baldur.runs.observer import Observer

        observer = Observer(self.event, self.detail, self.message)
        if self.notebook:
            self._cell = _Cell()
            yield observer
            self._cell.show("", 1.0)
            return
        if not self.console.is_terminal:
            yield observer
            return
        columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(*columns, console=self.console, transient=True, refresh_per_second=5) as progress:
            self._progress = progress
            self._task = progress.add_task("loading", total=self.points, completed=self.done)
            yield observer
        self._progress = None

    def event(self, event: "Event") -> None:
        """Show that a phase begins or that a round was measured.

        Args:
            event: The event.
        """
        trial = event.strategy, event.seed  # trials may go on side by side: each has an accuracy of its own
        labels = f", {event.labels} labels" if event.labels else ""
        if event.metrics is not None:
            self.done += 1
            measured = [event.metrics.get(("accuracy", split)) for split in ("test", "reserve")]
            known = [value for value in measured if value is not None and value == value]
            self._accuracy[trial] = f", accuracy {known[0]:.3f}" if known else ""
        self._where = f"{event.strategy}, seed {event.seed}, round {event.round}{labels}"
        self._where += self._accuracy.get(trial, "")
        self._show(_WORDS[event.phase])

    def detail(self, what: str, done: int, total: int) -> None:
        """Show the progress of a long task.

        Args:
            what: The task, in one word.
            done: Finished units.
            total: All units.
        """
        self._show(f"{what} {done:,}/{total:,}" if self._where or done < total else what)

    def message(self, text: str) -> None:
        """Print a message that stays on the screen.

        Args:
            text: The message.
        """
        self.console.print(text, highlight=False, markup=False)

    def _left(self) -> str:
        """The estimated remaining time, once a first measurement is done."""
        here = self.done - self._before
        if here < 1:
            return ""
        return f", {clock((time.monotonic() - self._begun) / here * (self.points - self.done))} left"

    def _show(self, phase: str) -> None:
        text = self._where or "loading"
        if self._cell is not None:
            if time.monotonic() - self._said > _CELL_INTERVAL:
                self._said = time.monotonic()
                self._cell.show(f"{text}{self._left()} · {phase}", self.done / max(self.points, 1))
            return
        if self._progress is not None and self._task is not None:
            line = f"{text}{self._left()} · {phase}"
            self._progress.update(self._task, description=line, completed=self.done)
        elif time.monotonic() - self._said > _INTERVAL:
            self._said = time.monotonic()
            share = f"{self.done}/{self.points} " if self.points else ""
            self.console.print(
                f"{share}{text}{self._left()} · {phase}", highlight=False, markup=False, soft_wrap=True
            )
