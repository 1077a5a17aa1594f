"""The labels that a strategy saves: how many fewer it needs than random for the same value of the metric."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from baldur.evaluate import Paired, labels_to_target, paired
from baldur.evaluate.comparison import FEWEST
from baldur.report.curves import LOSSES, Curve
from baldur.report.wording import count, full_name, target


@dataclass(frozen=True)
class Saved:
    """The labels that a strategy and random needed for one value of the metric, paired by seed.

    Args:
        target: The value; None if it is the last value of random, seed by seed.
        strategy: The labels of the strategy, mean over seeds; infinite if a seed did not reach the value.
        random: The labels of random, mean over seeds.
        fewer: Labels of the strategy minus those of random.
        missed: The number of seeds in which the strategy did not reach the value.
    """

    target: float | None
    strategy: float
    random: float
    fewer: Paired
    missed: int


def saved(pairs: Sequence[tuple[Curve, Curve]], targets: Sequence[float], metric: str) -> Saved | None:
    """The labels that a strategy saves.

    The value is the highest target that all curves reached. Without one, it is the last value of random.

    Args:
        pairs: For each seed the curve of the strategy and that of random.
        targets: Values of the metric to reach.
        metric: The metric.

    Returns:
        The labels; None if there are no pairs.
    """
    if not pairs:
        return None
    sign = -1.0 if metric in LOSSES else 1.0

    def needed(curve: Curve, value: float) -> float:
        return labels_to_target(curve.labels, sign * curve.values, sign * value)

    goals = sorted(targets, reverse=sign > 0)
    reached = (goal for goal in goals if all(math.isfinite(needed(c, goal)) for pair in pairs for c in pair))
    goal = next(reached, None)
    values = [float(other.values[-1]) if goal is None else goal for _, other in pairs]
    mine = [needed(curve, value) for (curve, _), value in zip(pairs, values, strict=True)]
    theirs = [needed(other, value) for (_, other), value in zip(pairs, values, strict=True)]
    missed = sum(math.isinf(n) for n in mine)
    found = paired(mine, theirs, larger_is_better=False)
    return Saved(goal, float(np.mean(mine)), float(np.mean(theirs)), found, missed)


def in_words(name: str, told: Saved, metric: str, so_far: bool, is_better: bool = False) -> str:
    """What a strategy saves, in one sentence that claims no more than the seeds show.

    Args:
        name: The name of the strategy.
        told: The labels.
        metric: The metric.
        so_far: Whether trials are not done yet.
        is_better: Whether the area under its curve is shown to be better than that of random.

    Returns:
        The sentence.
    """
    word = full_name(metric)
    goal = (
        f"the {word} that random ended with"
        if told.target is None
        else f"{target(told.target, metric)} {word}"
    )
    found = told.fewer
    seeds = count(found.n, "seed")
    if told.missed:
        did = f"did not reach {goal} in {told.missed} of {seeds}"
    else:
        more = "more" if found.difference > 0 else "fewer"
        mean = " on average" if found.n > 1 else ""
        did = f"needed {told.strategy:.0f} labels{mean} for {goal}, and random {told.random:.0f}"
        sure = f"{abs(found.difference):.0f} {more}, {_interval(found)}{seeds}"
        did = f"{did} ({sure})"
    begin = "So far, " if so_far else ""
    if found.verdict == "better":
        return f"{begin}{name} saved labels: it {did}."
    if found.verdict == "worse":
        return f"{begin}{name} saved no labels, and needed more than random: it {did}."
    few = f" To show that, at least {FEWEST} seeds are needed." if found.n < FEWEST else ""
    if is_better:
        return f"{begin}{name} is better than random, but it is not shown how many labels it saves: it {did}."
    return f"{begin}{name} is not shown to save labels: it {did}.{few}"


def _interval(found: Paired) -> str:
    """The interval of the difference, for three seeds or more."""
    if found.n < FEWEST or not (math.isfinite(found.low) and math.isfinite(found.high)):
        return ""
    low, high = (f"{x:+.0f}".replace("-", "−") for x in (found.low, found.high))
    return f"95 % interval {low} to {high}, "
