"""The findings of a comparison, in sentences."""

import math
from collections.abc import Sequence

from baldur.evaluate.comparison import FEWEST
from baldur.report.curves import LOSSES
from baldur.report.saved import in_words
from baldur.report.summary import Row, Summary, ToTarget
from baldur.report.wording import count, difference, full_name, labels, target, value


def quartiles(reached: ToTarget) -> str:
    """The quartiles of the labels to a target.

    Args:
        reached: The order statistics.

    Returns:
        Text such as "100–130"; empty for a single seed.
    """
    if reached.seeds == 1:
        return ""
    low, high = labels(reached.low, reached.end), labels(reached.high, reached.end)
    return low if low == high else f"{low}–{high}"


def findings(summary: Summary) -> list[str]:
    """The findings: the labels that the best strategy saves, and one text for each strategy.

    They come run by run, the strategy with the best area first.

    Args:
        summary: The numbers.

    Returns:
        Texts of one to three sentences; a single sentence if nothing is measured yet.
    """
    measured = [row for row in summary.rows if row.final is not None]
    if not measured:
        return ["Nothing is measured yet."]
    contenders = [row for row in measured if row.verdict] or measured
    runs = list(dict.fromkeys(row.run for row in contenders))
    sign = 1 if summary.metric in LOSSES else -1
    contenders.sort(key=lambda row: (runs.index(row.run), sign * (row.aulc.mean if row.aulc else 0.0)))
    first = [
        in_words(row.name, row.saved, summary.metric, row.so_far, _is_better(row))
        for row in _most_saving(summary.rows)
        if row.saved is not None
    ]
    return [*first, *(_finding(row, summary) for row in contenders)]


def _is_better(row: Row) -> bool:
    return row.against_random is not None and row.against_random.verdict == "better"


def _most_saving(rows: Sequence[Row]) -> list[Row]:
    """The row that saves most labels, one with a stronger claim before others; none without a comparison."""
    order = {"better": 0, "undecided": 1, "worse": 2}
    ranked = sorted(
        (order[row.saved.fewer.verdict], not _is_better(row), row.saved.fewer.difference, i)
        for i, row in enumerate(rows)
        if row.saved is not None
    )
    return [rows[i] for *_, i in ranked[:1]]


def _finding(row: Row, summary: Summary) -> str:
    name = full_name(summary.metric)
    baseline = next((r for r in summary.rows if r.run == row.run and r.strategy == "random"), None)
    said = f"{row.name} {_outcome(row, baseline, summary.metric, name)}."
    if not row.verdict:
        return said
    if baseline is None:
        return f"{said} There is no random baseline for a comparison."
    compared = row.against_random
    if compared is None or compared.n < FEWEST:
        return f"{said} There are too few seeds for a comparison with random: at least {FEWEST} are needed."
    where = (
        f"from {row.compared[0]:.0f} to {row.compared[1]:.0f} labels" if row.compared else "over its labels"
    )
    so_far = "So far, by" if row.so_far else "By"
    known = f"{so_far} mean {name} {where}"
    if compared.verdict == "undecided":
        return (
            f"{said} {known}, it is undecided whether {row.name} is better or worse than random "
            f"({difference(compared)})."
        )
    return f"{said} {known}, {row.name} was {compared.verdict} than random ({difference(compared)})."


def _outcome(row: Row, baseline: "Row | None", metric: str, name: str) -> str:
    """Whether a strategy reached the first target, and whether random did; without the last full stop."""
    if not row.to_target or row.final is None:
        mean = math.nan if row.final is None else row.final.mean
        return f"ended with {count(row.labels, 'label')} and {name} {value(mean)}"
    first = row.to_target[0]
    goal = f"{target(first.target, metric)} {name}"
    if math.isinf(first.median):
        outcome = f"did not reach {goal} with {count(first.end, 'label')}"
        if first.reached:
            outcome = f"reached {goal} in only {first.reached} of {count(first.seeds, 'seed')}"
    else:
        median = "a median of " if first.seeds > 1 else ""
        outcome = f"reached {goal} with {median}{labels(first.median, first.end)} labels"
    if baseline is None or baseline is row or not baseline.to_target:
        return outcome
    other = baseline.to_target[0]
    if math.isfinite(other.median):
        if math.isfinite(first.median):
            return f"{outcome}, random with {other.median:.0f}"
        return f"{outcome}. Random reached it with {other.median:.0f}"
    if other.reached:
        return f"{outcome}. Random reached it in only {other.reached} of {count(other.seeds, 'seed')}"
    if math.isfinite(first.median):
        return f"{outcome}. Random did not reach it with {other.end}"
    either = "" if first.reached else " either"
    return f"{outcome}. Random did not reach it{either}" + (
        "" if other.end == first.end else f" with its {other.end}"
    )
