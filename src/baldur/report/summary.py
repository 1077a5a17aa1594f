"""The results of runs in numbers: one row for each strategy of each run."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from baldur.errors import InvalidArgument
from baldur.evaluate import Interval, Paired, aulc, corrected, interval, labels_to_target, paired, quantile
from baldur.evaluate.comparison import FEWEST
from baldur.report.curves import (
    LOSSES,
    RANDOM,
    Curve,
    Group,
    between,
    bounds_of,
    group_curves,
    name_runs,
    overlap,
    read_curves,
)
from baldur.report.notes import notes_on
from baldur.report.plan import read_plan
from baldur.report.saved import Saved, saved
from baldur.report.wording import verdict
from baldur.store import Store

Stretch = tuple[float, float] | None


@dataclass(frozen=True)
class ToTarget:
    """The number of labels when a target was first reached, initial labels included; order statistics over seeds.

    Args:
        target: The target value.
        median: Over seeds; a seed that never reached the target counts as infinity. Of an even number of seeds, it is
            the mean of the two in the middle.
        low: Lower quartile.
        high: Upper quartile.
        reached: The number of seeds that reached it.
        seeds: The number of seeds.
        end: The number of labels at the end of the shortest curve.
    """

    target: float
    median: float
    low: float
    high: float
    reached: int
    seeds: int
    end: int


@dataclass(frozen=True)
class Row:
    """One strategy of one run.

    Args:
        run: The name of the run.
        strategy: The strategy.
        name: The name of the row: the strategy, or run/strategy if there are several runs.
        seeds: The number of seeds that count.
        unfinished: The number of trials that do not count.
        labels: The number of labels at the end of the shortest curve; 0 if nothing is measured.
        to_target: Labels to each target; empty if nothing is measured.
        aulc: Area under the learning curve, mean and 95 % interval over seeds; None if there is none.
        final: The last value of each curve, mean, standard deviation and interval; None if there is none.
        against_random: AULC minus that of random, paired by seed; None if there is nothing to compare with. Its p-value
            is corrected for all comparisons of the report.
        verdict: The comparison in words; empty for random itself.
        compared: The first and the last number of labels of this comparison; None without one.
        so_far: Whether trials of the comparison are not done yet.
        saved: The labels that it and random needed for the same value; None if there is nothing to compare with. Its
            p-value is corrected, too.
    """

    run: str
    strategy: str
    name: str
    seeds: int
    unfinished: int
    labels: int
    to_target: tuple[ToTarget, ...]
    aulc: Interval | None
    final: Interval | None
    against_random: Paired | None
    verdict: str
    compared: Stretch = None
    so_far: bool = False
    saved: Saved | None = None


@dataclass(frozen=True)
class Summary:
    """The numbers of a report.

    Args:
        metric: The metric, measured on the test split.
        targets: The target values of the metric.
        convention: How labels to a target are counted; always "measured".
        stretch: The first and the last number of labels of the areas; None if it differs between runs.
        rows: One for each strategy of each run.
        labels_free: The number of validation labels that were declared free; the largest of all runs.
        notes: Facts that a reader needs to judge the numbers.
    """

    metric: str
    targets: tuple[float, ...]
    convention: str
    stretch: Stretch
    rows: tuple[Row, ...]
    labels_free: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold.

        Returns:
            Nested dictionaries and lists, with None for infinite (never reached) and undefined values.
        """
        return {key: _plain(value) for key, value in asdict(self).items()}


def summarise(stores: Sequence[Store], targets: Sequence[float], metric: str = "accuracy") -> Summary:
    """Labels to each target, area under the curve, last value, and a paired comparison with random.

    If a strategy has finished trials, only those count; otherwise all its trials count as far as they are.
    Areas are taken over the range of labels that all curves share. If the runs share none, each run has its own. A
    comparison with random is over the range that the compared curves share. In a run in progress, each seed is compared
    as far as both of its trials are. Holm's correction counts all comparisons of the report.

    Args:
        stores: One run or several.
        targets: Target values of the metric.
        metric: Which metric of the test split.

    Returns:
        The summary.

    Raises:
        InvalidArgument: There is no run, or other metrics were measured and this one was not.
    """
    if not stores:
        raise InvalidArgument("no run was given; a summary needs at least one run")
    known = {row.metric for store in stores for row in store.metrics("test")}
    if known and metric not in known:
        raise InvalidArgument(f"{metric!r} was not measured; choose one of {', '.join(sorted(known))}")
    runs = list(zip(name_runs(stores), stores, strict=True))
    groups = {run: group_curves(read_curves(store, run, metric)) for run, store in runs}
    common = _shared([group for own in groups.values() for group in own])
    rows, notes = [], []
    for run, store in runs:
        stretch = common or _shared(groups[run])
        own = _rows(groups[run], stretch, tuple(targets), metric, named=len(runs) > 1)
        rows += own
        said = notes_on(store, groups[run], stretch)
        notes += [f"{run}: {note}" if len(runs) > 1 else note for note in said]
    rows = _judged(rows)
    notes += _on_verdicts(rows)
    if len(runs) > 1 and common is None and any(row.aulc for row in rows):
        notes.append(
            "The runs have no range of labels in common, so their areas under the curve cannot be compared."
        )
    free = max(read_plan(store).free_labels for store in stores)
    return Summary(metric, tuple(targets), "measured", common, tuple(rows), free, tuple(notes))


def _rows(
    groups: Sequence[Group], stretch: Stretch, targets: tuple[float, ...], metric: str, named: bool
) -> list[Row]:
    baseline = next((group for group in groups if group.strategy == RANDOM), None)
    rows = []
    for group in groups:
        areas = _areas(group.counted, stretch)
        compared, over, so_far, fewer = None, None, False, None
        if baseline is not None and group is not baseline:
            compared, over, so_far = _compare(group.counted, baseline.counted, metric)
            fewer = saved(_pairs(group.counted, baseline.counted), targets, metric)
        final = [float(curve.values[-1]) for curve in group.counted]
        row = Row(
            run=group.run,
            strategy=group.strategy,
            name=f"{group.run}/{group.strategy}" if named else group.strategy,
            seeds=len(group.counted),
            unfinished=group.unfinished,
            labels=group.labels,
            to_target=tuple(_to_target(group, target, metric) for target in targets if group.counted),
            aulc=interval(areas, bounds=bounds_of(metric)) if areas else None,
            final=interval(final, bounds=bounds_of(metric)) if final else None,
            against_random=compared,
            verdict="" if group is baseline else verdict(None, baseline is not None),
            compared=over,
            so_far=so_far,
            saved=fewer,
        )
        rows.append(row)
    return rows


def _shared(groups: Sequence[Group]) -> Stretch:
    """The labels that all curves share. A trial that has just begun does not cut the others to its first point."""
    curves = [curve for group in groups for curve in group.counted]
    return overlap([curve for curve in curves if len(curve.labels) > 1] or curves)


def _areas(curves: Sequence[Curve], stretch: Stretch) -> list[float]:
    """The areas of the curves that cover the stretch."""
    if stretch is None:
        return []
    start, end = stretch
    covering = (c for c in curves if c.labels[0] <= start and end <= c.labels[-1])
    return [aulc(*between(curve, start, end)) for curve in covering]


def _pairs(curves: Sequence[Curve], baseline: Sequence[Curve]) -> list[tuple[Curve, Curve]]:
    others = {curve.seed: curve for curve in baseline}
    return [(curve, others[curve.seed]) for curve in curves if curve.seed in others]


def _compare(
    curves: Sequence[Curve], baseline: Sequence[Curve], metric: str
) -> tuple[Paired | None, Stretch, bool]:
    """A strategy against random: the comparison, the labels that it is about, and whether trials are under way.

    Finished pairs are compared over what all of them share, the others each as far as both of its trials are.
    """
    pairs = _pairs(curves, baseline)
    so_far = any(curve.state != "done" for pair in pairs for curve in pair)
    common = overlap(curve for pair in pairs for curve in pair)
    over = [overlap(pair) if so_far else common for pair in pairs]
    if so_far and any(part is not None and part[0] < part[1] for part in over):
        over = [None if part is None or part[0] == part[1] else part for part in over]
    mine: list[float] = []
    theirs: list[float] = []
    for (curve, other), part in zip(pairs, over, strict=True):
        mine, theirs = mine + _areas([curve], part), theirs + _areas([other], part)
    known = [part for part in over if part is not None]
    if not known:
        return None, None, so_far
    found = paired(mine, theirs, larger_is_better=metric not in LOSSES, bounds=bounds_of(metric))
    return found, (min(start for start, _ in known), max(end for _, end in known)), so_far


def _judged(rows: Sequence[Row]) -> list[Row]:
    """Rows with the verdicts of all comparisons together."""
    pairs = iter(corrected([row.against_random for row in rows if row.against_random is not None]))
    fewer = iter(corrected([row.saved.fewer for row in rows if row.saved is not None]))
    judged = []
    for row in rows:
        if row.saved is not None:
            row = replace(row, saved=replace(row.saved, fewer=next(fewer)))
        if row.against_random is not None:
            pair = next(pairs)
            row = replace(row, against_random=pair, verdict=verdict(pair, True, row.so_far))
        judged.append(row)
    return judged


def _on_verdicts(rows: Sequence[Row]) -> list[str]:
    claimed = [row for row in rows if row.against_random is not None and row.against_random.n >= FEWEST]
    notes = []
    if any(row.against_random and row.against_random.verdict == "undecided" for row in claimed):
        notes.append(
            "Undecided does not mean equal. The interval of AULC − random says how large the difference may be. More "
            "seeds make it narrower."
        )
    if len(claimed) > 1:
        notes.append(
            f"The p-values are corrected for {len(claimed)} comparisons with random (Holm). Each interval holds for "
            "its own comparison."
        )
    if any(row.so_far for row in claimed):
        notes.append(
            "Verdicts “so far” come from trials under way. To look again and again makes false ones likelier. Wait "
            "for the end."
        )
    return notes


def _to_target(group: Group, target: float, metric: str) -> ToTarget:
    sign = -1.0 if metric in LOSSES else 1.0
    needed = [labels_to_target(curve.labels, sign * curve.values, sign * target) for curve in group.counted]
    return ToTarget(
        target=target,
        median=quantile(needed, 0.5),
        low=quantile(needed, 0.25),
        high=quantile(needed, 0.75),
        reached=sum(math.isfinite(n) for n in needed),
        seeds=len(needed),
        end=group.labels,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
