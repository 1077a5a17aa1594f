"""Learning curves from the store of a run: measured on the test split, with all labels counted."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.evaluate import Interval, interval
from baldur.store import Store
from baldur.store.artefacts import write_text

HEADER = ("strategy", "seed", "round", "labels", "metric", "value")
LOSSES = frozenset({"nll", "ece", "adaptive_ece", "brier"})
"""The metrics for which smaller is better."""

_NO_SHARE = {"nll": (0.0, math.inf), "brier": (0.0, 2.0)}

RANDOM = "random"
"""The strategy that all others are compared with."""


@dataclass(frozen=True)
class Curve:
    """The learning curve of one trial.

    Args:
        run: The name of its run.
        strategy: Its strategy.
        seed: Its seed.
        state: The state of the trial: "running", "waiting", "done" or "failed".
        labels: The number of labels that each round was trained on, strictly growing, shape (R,).
        values: The metric after each round, finite, shape (R,).
        metric: The metric.
    """

    run: str
    strategy: str
    seed: int
    state: str
    labels: Float[NDArray[np.float64], " R"]
    values: Float[NDArray[np.float64], " R"]
    metric: str = "accuracy"


@dataclass(frozen=True)
class Group:
    """The trials of one strategy of one run.

    Args:
        run: The name of the run.
        strategy: The strategy.
        counted: The curves that count, by seed: the finished ones, or if there are none, all that measured something.
        unfinished: The number of trials that do not count.
    """

    run: str
    strategy: str
    counted: tuple[Curve, ...]
    unfinished: int

    @property
    def labels(self) -> int:
        """Labels at the end of the shortest curve; 0 if nothing is measured."""
        return int(min((curve.labels[-1] for curve in self.counted), default=0))


@dataclass(frozen=True)
class Point:
    """A number of labels, and the mean over the seeds that were measured there."""

    labels: float
    value: Interval


def bounds_of(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can have.

    Args:
        metric: Its name in the store.

    Returns:
        (0, 1) for most.
    """
    return _NO_SHARE.get(metric, (0.0, 1.0))


def name_runs(stores: Sequence[Store]) -> list[str]:
    """A short name for each run, all different.

    Args:
        stores: The runs.

    Returns:
        The names of the folders, with as many parents as are needed to tell them apart.
    """
    parts = [store.folder.resolve().parts for store in stores]
    deepest = max((len(part) for part in parts), default=0)
    for depth in range(1, deepest + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{part[-1]} ({i})" for i, part in enumerate(parts, 1)]


def read_curves(store: Store, run: str, metric: str) -> list[Curve]:
    """The learning curve of every trial, including those that have measured nothing yet.

    If two rounds trained on the same number of labels, the later one counts. Undefined values are left out.

    Args:
        store: The run.
        run: Its name in the report.
        metric: The metric of the test split.

    Returns:
        One curve for each trial, in the order of the trials.
    """
    measured = [row for row in store.metrics("test") if row.metric == metric]
    points = {
        trial: {row.labels: row.value for row in rows if np.isfinite(row.value)}
        for trial, rows in groupby(measured, key=lambda row: (row.strategy, row.seed))
    }
    curves = []
    for trial in store.trials():
        curve = sorted(points.get((trial.strategy, trial.seed), {}).items())
        labels, values = np.array(curve, np.float64).reshape(-1, 2).T
        curves.append(Curve(run, trial.strategy, trial.seed, trial.state, labels, values, metric))
    return curves


def group_curves(curves: Sequence[Curve]) -> list[Group]:
    """The trials of a run by strategy, in order.

    Args:
        curves: The trials of one run.

    Returns:
        One group for each strategy.
    """
    groups = []
    for strategy in dict.fromkeys(curve.strategy for curve in curves):
        own = sorted((c for c in curves if c.strategy == strategy), key=lambda curve: curve.seed)
        measured = [curve for curve in own if len(curve.labels)]
        counted = [curve for curve in measured if curve.state == "done"] or measured
        groups.append(Group(own[0].run, strategy, tuple(counted), len(own) - len(counted)))
    return groups


def overlap(curves: Iterable[Curve]) -> tuple[float, float] | None:
    """The range of labels that all curves share.

    Args:
        curves: Measured curves.

    Returns:
        The first and the last number of labels; None if there is no curve or no common range.
    """
    ends = [(float(curve.labels[0]), float(curve.labels[-1])) for curve in curves]
    if not ends:
        return None
    start, end = max(first for first, _ in ends), min(last for _, last in ends)
    return (start, end) if start <= end else None


def between(curve: Curve, start: float, end: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The part of a curve between two numbers of labels, interpolated linearly between rounds.

    Args:
        curve: The curve, which reaches at least from `start` to `end`.
        start: The first number of labels.
        end: The last number of labels.

    Returns:
        Labels and values.
    """
    inside = curve.labels[(curve.labels > start) & (curve.labels < end)]
    labels = np.unique([start, *inside, end])
    return labels, np.interp(labels, curve.labels, curve.values)


def mean_curve(curves: Iterable[Curve]) -> list[Point]:
    """Mean and 95 % interval at each number of labels, over the seeds that were measured there.

    Args:
        curves: Of one strategy.

    Returns:
        Points by growing number of labels.
    """
    curves = list(curves)
    bounds = bounds_of(curves[0].metric) if curves else (0.0, 1.0)
    return _over_seeds(((curve.labels, curve.values) for curve in curves), bounds)


def difference_curve(curves: Sequence[Curve], baseline: Sequence[Curve]) -> list[Point]:
    """Mean and 95 % interval of the difference of two strategies, paired by seed at equal numbers of labels.

    Args:
        curves: Of one strategy.
        baseline: Of the strategy that it is compared with.

    Returns:
        Points by growing number of labels.
    """
    others = {curve.seed: curve for curve in baseline}
    pairs = []
    for curve in curves:
        if curve.seed in others:
            other = others[curve.seed]
            labels, mine, theirs = np.intersect1d(curve.labels, other.labels, return_indices=True)
            pairs.append((labels, curve.values[mine] - other.values[theirs]))
    least, most = bounds_of(curves[0].metric) if curves else (0.0, 1.0)
    return _over_seeds(pairs, (least - most, most - least))


def _over_seeds(
    curves: Iterable[tuple[NDArray[np.float64], NDArray[np.float64]]], bounds: tuple[float, float]
) -> list[Point]:
    values: dict[float, list[float]] = {}
    for labels, heights in curves:
        for n, a in zip(labels.tolist(), heights.tolist(), strict=True):
            values.setdefault(n, []).append(a)
    return [Point(n, interval(values[n], bounds=bounds)) for n in sorted(values)]


def write_curves(store: Store, path: Path) -> None:
    """Write every metric of the test split as CSV: `strategy,seed,round,labels,metric,value`.

    Args:
        store: The run.
        path: The file; replaced whole.

    Raises:
        DiskFull: There was no room.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in store.metrics("test"):
        writer.writerow([row.strategy, row.seed, row.round, row.labels, row.metric, repr(row.value)])
    write_text(path, text.getvalue())
