"""The drawings of the report. Each function takes plain numbers and returns an SVG."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from baldur.report import wording
from baldur.report.curves import LOSSES, Group, Point, bounds_of, difference_curve, mean_curve
from baldur.report.markup import Html
from baldur.report.svg import Style, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS_AXIS = "labels, initial ones included"
PHASES = {"label": "#B0B0B0", "fit": "#0072B2", "measure": "#56B4E9", "choose": "#E69F00"}
MOST_CLASSES = 40
FEWEST = 3
"""A band is drawn for so many seeds or more; the interval of two seeds is too wide to draw."""

FIRM = 0.01
"""The line of a reliability diagram leaves out bins with less than this share of the items."""


@dataclass(frozen=True)
class Series:
    """Some curves of one strategy under one name and in one style."""

    name: str
    group: Group
    style: Style


def learning(name: str, series: Sequence[Series], metric: str, targets: Sequence[float]) -> Html:
    """The mean learning curve of each strategy, its 95 % interval, and the curve of each seed.

    Args:
        name: Of the drawing.
        series: The strategies.
        metric: The metric of the curves.
        targets: Values that are marked with a line.

    Returns:
        The markup.
    """

    means = [mean_curve(one.group.counted) for one in series]

    def paint(axes: "Axes") -> None:
        for target in targets:
            axes.axhline(target, color="#8a8a8a", linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
        for one in series:
            for curve in one.group.counted:
                axes.plot(curve.labels, curve.values, color=one.style.colour, alpha=0.25, linewidth=0.6)
        for one, points in zip(series, means, strict=True):
            _band(axes, points, one.name, one.style)
        values = [value for one in series for c in one.group.counted for value in c.values]
        _frame(axes, means, values, targets, metric)
        axes.set_xlabel(LABELS_AXIS)
        axes.set_ylabel(f"test {wording.full_name(metric)}")
        axes.legend(loc="upper right" if metric in LOSSES else "lower right")

    said = [f"{one.name} {_from_to(points)}" for one, points in zip(series, means, strict=True)]
    return render(paint, name, f"Test {wording.full_name(metric)} over labels: {'; '.join(said)}.")


@dataclass(frozen=True)
class Look:
    """The accuracy on test labels in one round, with its interval.

    Args:
        labels: The number of labels that the model was trained on.
        accuracy: The estimate.
        low: Lower end of its interval.
        high: Upper end.
        tests: The number of test labels.
    """

    labels: int
    accuracy: float
    low: float
    high: float
    tests: int


def looks(name: str, found: Sequence[Look], style: Style) -> Html:
    """The accuracy on test labels over the number of labels, with its interval.

    Args:
        name: Of the drawing.
        found: The rounds in order; at least one.
        style: Of the line.

    Returns:
        The markup.
    """
    n = [one.labels for one in found]

    def paint(axes: "Axes") -> None:
        axes.fill_between(
            n, [one.low for one in found], [one.high for one in found], color=style.colour, alpha=0.16
        )
        axes.errorbar(
            n[-1:],
            [found[-1].accuracy],
            [[found[-1].accuracy - found[-1].low], [found[-1].high - found[-1].accuracy]],
            color=style.colour,
            capsize=3,
        )
        axes.plot(n, [one.accuracy for one in found], color=style.colour, marker="o", markersize=4)
        axes.set_ylim(0, 1)
        axes.set_xlabel("labels")
        axes.set_ylabel("accuracy on test labels")

    last = found[-1]
    says = f"{wording.value(last.accuracy)} with {last.labels} labels, between {wording.value(last.low)} and"
    return render(paint, name, f"Accuracy on test labels: {says} {wording.value(last.high)}.")


def difference(name: str, series: Sequence[Series], baselines: Mapping[str, Group], metric: str) -> Html:
    """The difference of each strategy from random, paired by seed, with its 95 % interval.

    Args:
        name: Of the drawing.
        series: The strategies without random.
        baselines: The random baseline of each run.
        metric: The metric of the curves.

    Returns:
        The markup.
    """
    gains = [(one, difference_curve(one.group.counted, baselines[one.group.run].counted)) for one in series]

    def paint(axes: "Axes") -> None:
        axes.axhline(0, color="#333333", linewidth=0.9, zorder=2)
        for one, points in gains:
            _band(axes, points, one.name, one.style)
        _frame(axes, [points for _, points in gains], [0.0], (), None)
        axes.set_xlabel(LABELS_AXIS)
        axes.set_ylabel(f"{wording.full_name(metric)} − that of random")
        axes.legend(loc="lower right" if metric in LOSSES else "upper right")

    said = [f"{one.name} {_largest(points)}" for one, points in gains]
    return render(paint, name, f"Paired difference from random over labels: {'; '.join(said)}.")


def balance(
    name: str,
    shares: Mapping[str, NDArray[np.float64]],
    styles: Mapping[str, Style],
    classes: Sequence[str],
    pool: NDArray[np.float64],
    mark: str = "pool",
) -> Html:
    """The share of each class among the picks.

    Args:
        name: Of the drawing.
        shares: For each strategy the share of each class among its picks, shape (C,).
        styles: By the same names.
        classes: Their names.
        pool: The share of each class in the pool, shape (C,); or other shares to compare with.
        mark: What these shares are.

    Returns:
        The markup.
    """
    places = np.arange(len(classes))

    def paint(axes: "Axes") -> None:
        axes.scatter(
            100 * pool, places, marker="|", s=160, color="#333333", linewidth=1.3, label=mark, zorder=2
        )
        for one, share in shares.items():
            style = styles[one]
            axes.scatter(
                100 * share,
                places,
                s=24,
                color=style.colour,
                marker=style.marker,
                label=legend(one),
                alpha=0.9,
                zorder=3,
            )
        axes.set_yticks(places, [_short(c) for c in classes])
        axes.set_ylim(len(classes) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("share of the picks, %")
        axes.grid(axis="y", color="#f0f0f0")
        axes.figure.legend(
            *axes.get_legend_handles_labels(), loc="outside upper center", ncols=min(4, 1 + len(shares))
        )

    said = []
    for one, share in shares.items():
        most, least = int(np.argmax(share)), int(np.argmin(share))
        said.append(
            f"{one} most often {classes[most]} ({share[most]:.0%}), least often {classes[least]} ({share[least]:.0%})"
        )
    height = 1.1 + 0.2 * len(classes)
    return render(paint, name, f"Classes of the picks: {'; '.join(said)}.", height=max(height, 2.2))


@dataclass(frozen=True)
class Scores:
    """The scores of a pool in one round.

    Args:
        labels: The number of labels that the model was trained on.
        quantiles: The 0, 5, 25, 50, 75, 95 and 100 % quantiles of the scores of the pool.
        picked: The scores of the picks when they were chosen.
        tied: The number of items that tied for the last places within rounding; 0 if all of them had a place.
    """

    labels: int
    quantiles: tuple[float, ...]
    picked: tuple[float, ...]
    tied: int = 0


def score_bands(name: str, title: str, rounds: Sequence[Scores], style: Style) -> Html:
    """The distribution of the scores in each round, and the scores of the picks.

    Args:
        name: Of the drawing.
        title: The strategy and seed.
        rounds: The rounds in order.
        style: The style of the strategy.

    Returns:
        The markup.
    """
    n = [one.labels for one in rounds]
    _, q05, q25, q50, q75, q95, top = np.array([one.quantiles for one in rounds]).T

    def paint(axes: "Axes") -> None:
        axes.fill_between(
            n, q05, q95, color=style.colour, alpha=0.15, linewidth=0, label="5–95 % of the pool"
        )
        axes.fill_between(n, q25, q75, color=style.colour, alpha=0.3, linewidth=0, label="25–75 %")
        axes.plot(n, q50, color=style.colour, label="median")
        axes.plot(n, top, color=style.colour, linewidth=0.8, linestyle=(0, (4, 2)), label="highest")
        x = [one.labels for one in rounds for _ in one.picked]
        y = [score for one in rounds for score in one.picked]
        axes.scatter(x, y, s=9, color="#333333", linewidth=0, alpha=0.6, label="picked", zorder=3)
        axes.set_title(title)
        axes.set_xlabel(LABELS_AXIS)
        axes.set_ylabel("score")
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)

    says = (
        f"Scores of the pool under {title}: the median went from {q50[0]:.3g} to {q50[-1]:.3g}, "
        f"the highest from {top[0]:.3g} to {top[-1]:.3g}."
    )
    return render(paint, name, says, height=3.4)


def reliability(
    name: str,
    bins: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]],
    styles: Mapping[str, Style],
) -> Html:
    """Accuracy over confidence; on the diagonal the model is calibrated.

    Args:
        name: Of the drawing.
        bins: For each strategy the counts, mean confidences and accuracies of its bins that are not empty.
        styles: By the same names.

    Returns:
        The markup.
    """

    def paint(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color="#333333", linewidth=0.9, linestyle=(0, (1, 2)))
        for one, (count, confidence, accuracy) in bins.items():
            style = styles[one]
            axes.plot(
                confidence,
                accuracy,
                color=style.colour,
                linestyle=style.dash,
                linewidth=1.2,
                label=legend(one),
            )
            size = 6 + 90 * count / count.sum()
            axes.scatter(confidence, accuracy, s=size, color=style.colour, alpha=0.85, linewidth=0, zorder=3)
        axes.set_xlim(0, 1.03)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("confidence")
        axes.set_ylabel("accuracy")
        axes.legend(loc="upper left")

    said = [
        f"{one} is {'over' if np.sum(count * (confidence - accuracy)) > 0 else 'under'}confident on the whole"
        for one, (count, confidence, accuracy) in bins.items()
    ]
    return render(paint, name, f"Reliability diagram of the last round: {'; '.join(said)}.")


def time_by_phase(name: str, seconds: Mapping[str, Mapping[str, float]]) -> Html:
    """The time of one trial, by phase.

    Args:
        name: Of the drawing.
        seconds: For each strategy the mean seconds of each phase.

    Returns:
        The markup.
    """
    rows = list(seconds)

    def paint(axes: "Axes") -> None:
        left = np.zeros(len(rows))
        for phase, colour in PHASES.items():
            width = np.array([seconds[row].get(phase, 0.0) for row in rows])
            axes.barh(rows, width, left=left, height=0.6, color=colour, label=phase)
            left += width
        for place, total in enumerate(left):
            axes.text(
                float(total), place, f"\u2002{wording.duration(float(total))}", va="center", fontsize=8.5
            )
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlim(0, 1.15 * float(left.max()))
        axes.set_xlabel("seconds for one trial, mean over seeds")
        axes.grid(axis="y", visible=False)
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4)

    said = [f"{row} {wording.duration(sum(seconds[row].values()))}" for row in rows]
    return render(paint, name, f"Time of one trial: {'; '.join(said)}.", height=1.2 + 0.36 * len(rows))


def legend(name: str) -> str:
    """A name for a legend. matplotlib leaves out those that begin with an underscore, such as those of a notebook.

    Args:
        name: Of a strategy.

    Returns:
        The name, after a thin space if it needs one.
    """
    return f"\u2009{name}" if name.startswith("_") else name


def _band(axes: "Axes", points: Sequence[Point], name: str, style: Style) -> None:
    """The mean as a line, and the interval around it if there is one."""
    n = [point.labels for point in points]
    mean = [point.value.mean for point in points]
    marker = style.marker if len(points) == 1 else ""
    axes.plot(n, mean, color=style.colour, linestyle=style.dash, marker=marker, label=legend(name), zorder=4)
    low = [point.value.low if point.value.n >= FEWEST else np.nan for point in points]
    high = [point.value.high if point.value.n >= FEWEST else np.nan for point in points]
    axes.fill_between(n, low, high, color=style.colour, alpha=0.16, linewidth=0, zorder=3)


def _frame(
    axes: "Axes",
    curves: Sequence[Sequence[Point]],
    values: Sequence[float],
    targets: Sequence[float],
    metric: str | None,
) -> None:
    """Fit the axis to the curves, not to the intervals: a wide interval would flatten all curves.

    The axis never leaves the range of the metric; a difference, whose metric is None, has none.
    """
    points = [point.value for curve in curves for point in curve]
    spread = [(p.mean, 2.5 * p.sd if p.n >= FEWEST else 0.0) for p in points]
    low = min([*values, *(mean - sd for mean, sd in spread)])
    high = max([*values, *(mean + sd for mean, sd in spread)])
    high = max([high, *(target for target in targets if target <= high + (high - low) / 2)])
    room = 0.05 * (high - low) or 0.05
    least, most = (-np.inf, np.inf) if metric is None else bounds_of(metric)
    axes.set_ylim(max(low - room, least), min(high + room, most))


def _from_to(points: Sequence[Point]) -> str:
    first, last = points[0], points[-1]
    return (
        f"from {wording.value(first.value.mean)} at {first.labels:.0f} "
        f"to {wording.value(last.value.mean)} at {last.labels:.0f} labels"
    )


def _largest(points: Sequence[Point]) -> str:
    if not points:
        return "has no point in common with random"
    most = max(points, key=lambda point: abs(point.value.mean))
    return f"at most {wording.signed(most.value.mean)}, at {most.labels:.0f} labels"


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
