"""Two runs or more side by side: the settings that differ, and a comparison of each strategy that they share."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from baldur.evaluate import aulc, corrected, paired
from baldur.evaluate.comparison import FEWEST
from baldur.report import wording
from baldur.report.curves import LOSSES, between, bounds_of, overlap
from baldur.report.markup import Html, join, table
from baldur.report.study import Member, Study
from baldur.store import Store

_NOT_OF_RESULTS = frozenset({"jobs", "engine", "address", "workers"})


def beside(study: Study) -> Html:
    """The settings that differ between runs, and the paired comparisons.

    Args:
        study: The data of the page.

    Returns:
        The section; empty for one run.
    """
    if len(study.runs) < 2:
        return Html("")
    return join([_settings(study), *_compared(study)])


def _settings(study: Study) -> Html:
    told = {run: store.options for run, store in study.runs.items()}
    names = dict.fromkeys(name for options in told.values() for name in options)
    rows = [
        [name, *values]
        for name in names
        if name not in _NOT_OF_RESULTS
        and len(set(values := [_written(options.get(name)) for options in told.values()])) > 1
    ]
    if not rows:
        return table("The runs have the same settings", ["Setting", *study.runs], [])
    return table("Settings that differ", ["Setting", *study.runs], rows)


def _written(value: Any) -> str:
    if value is None:
        return "–"
    return wording.listed([str(one) for one in value]) if isinstance(value, list) else str(value)


def _compared(study: Study) -> Iterator[Html]:
    """Each strategy of two runs on the same data, seed by seed."""
    found = []
    for one, other in combinations(study.measured, 2):
        alike = one.group.run != other.group.run and one.group.strategy == other.group.strategy
        if alike and (areas := _areas(one, other)) is not None:
            larger = study.metric not in LOSSES
            told = paired(*areas, larger_is_better=larger, bounds=bounds_of(study.metric))
            found.append((one, other, told))
    if not found:
        return
    rows = []
    for (one, other, _), told in zip(found, corrected([told for *_, told in found]), strict=True):
        said = (
            f"{told.verdict} ({wording.p_value(told.p)})" if told.n >= FEWEST else "too few seeds to compare"
        )
        sure = wording.bounds(told) if told.n >= FEWEST else "–"
        rows.append([f"{one.name} − {other.name}", str(told.n), wording.signed(told.difference), sure, said])
    heads = ["Runs", "Seeds", "AULC − AULC", "95 % interval", "The first is"]
    caption = "Area under the learning curve, paired by seed over the labels that both share; p-values are corrected"
    yield table(caption, heads, rows, numbers=range(1, 4))


def _data(store: Store) -> Any:
    """The data of a run: pairs need the same."""
    facts = store.preprocessing.get("facts")
    return facts.get("fingerprint") if isinstance(facts, dict) else None


def _areas(one: Member, other: Member) -> tuple[list[float], list[float]] | None:
    """The areas of the seeds that both have on the same data, over the labels that all of them share."""
    if _data(one.store) is None or _data(one.store) != _data(other.store):
        return None
    theirs = {curve.seed: curve for curve in other.group.counted}
    pairs = [(curve, theirs[curve.seed]) for curve in one.group.counted if curve.seed in theirs]
    stretch = overlap(curve for pair in pairs for curve in pair) if pairs else None
    if stretch is None:
        return None
    both = [[aulc(*between(curve, *stretch)) for curve in pair] for pair in pairs]
    return [a for a, _ in both], [b for _, b in both]
