"""Drawings as inline SVG for one page: no script, no link, and unique ids."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from baldur.report.curves import RANDOM
from baldur.report.markup import Html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito, Color Universal Design, 2008; its yellow and black are left out, for thin lines and for text.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_GREYS = ("#737373", "#a0a0a0", "#4d4d4d")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
_MARKERS = "osD^vPX"
_INK = "#333333"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": "#8a8a8a",
    "axes.labelcolor": _INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.7,
    "figure.facecolor": "white",
    "text.parse_math": False,
}


@dataclass(frozen=True)
class Style:
    """The style of one strategy of one run in all drawings."""

    colour: str
    dash: Any
    marker: str


def styles(rows: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Style]:
    """A colour for each row, grey for random; a line style for each run.

    Args:
        rows: Pairs of run and strategy.

    Returns:
        Styles by those pairs.
    """
    runs = list(dict.fromkeys(run for run, _ in rows))
    chosen: dict[tuple[str, str], Style] = {}
    for i, (run, strategy) in enumerate(row for row in rows if row[1] != RANDOM):
        marker = _MARKERS[i % len(_MARKERS)]
        chosen[run, strategy] = Style(_COLOURS[i % len(_COLOURS)], _DASHES[runs.index(run) % 4], marker)
    for i, (run, strategy) in enumerate(row for row in rows if row[1] == RANDOM):
        chosen[run, strategy] = Style(_GREYS[i % 3], _DASHES[runs.index(run) % 4], "o")
    return chosen


def render(
    paint: Callable[["Axes"], None], name: str, says: str, width: float = 4.6, height: float = 3.1
) -> Html:
    """A drawing as SVG; it neither uses nor changes the user's matplotlib settings.

    Args:
        paint: Draws on given axes.
        name: Unique on the page; the ids begin with it.
        says: The drawing in words, for screen readers.
        width: Inches.
        height: Inches.

    Returns:
        The markup.
    """
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.figure import Figure

    style: Any = {key: value for key, value in rcParamsDefault.items() if not key.startswith("backend")}
    style |= {**_STYLE, "svg.hashsalt": name}
    with rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        paint(figure.add_subplot())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _inline(file.getvalue(), name, says)


def _inline(text: str, name: str, says: str) -> Html:
    """The SVG element alone, with ids that begin with the name and without a fixed size."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]*)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(says)}"', 1)
    return Html(re.sub(r"\n\s*", "\n", text).strip())
