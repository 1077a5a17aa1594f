"""Stop when the labels are spent, when the model is good enough, or when it no longer improves."""

import math
from statistics import NormalDist

import numpy as np

from baldur.errors import InvalidArgument
from baldur.protocols import History
from baldur.stopping.criterion import Rule, check_number, check_window
from baldur.stopping.held_out import check_level, wilson

_LOSSES = ("nll", "brier")


def budget(labels: int) -> Rule:
    """Stop at a number of labels; the last batch is shortened, so that no more are asked for.

    Args:
        labels: The number, initial labels included.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: It is not a whole number of at least 1.
    """
    check_number("labels", labels, 1)
    if int(labels) != labels:
        raise InvalidArgument(f"labels is a whole number, not {labels!r}")

    def why(history: History) -> str:
        return f"the budget of {labels} labels is spent" if history.labels[-1] >= labels else ""

    return Rule(f"budget(labels={labels})", why, limit=int(labels))


def target(value: float, metric: str = "accuracy", level: float = 0.95, split: str = "validation") -> Rule:
    """Stop when a metric has reached a value with its whole interval, so that it is not luck of the held-out items.

    The worse end of the two-sided interval must reach the value. For accuracy this is the lower end of Wilson's
    interval, and for a mean loss (nll, brier) the upper end of mean ± z·se.

    Args:
        value: The value to reach; an easier one stops earlier.
        metric: accuracy, nll or brier.
        level: The coverage of the interval, in (0, 1); smaller stops earlier.
        split: "validation" for the held-out items, or "test" for studies only, and only for accuracy. If the test set
            decides the stop, the last test accuracy is too good.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("value", value, 0, 1 if metric == "accuracy" else math.inf)
    check_level(level)
    if metric not in ("accuracy", *_LOSSES):
        raise InvalidArgument(
            f"target is for accuracy, nll or brier, which have an interval; {metric!r} has none here"
        )
    if split not in ("validation", "test") or (split == "test" and metric != "accuracy"):
        raise InvalidArgument(f"target reads 'validation', or accuracy on 'test'; not {metric} on {split!r}")

    def why(history: History) -> str:
        mean = _measured(history, metric, split)
        if metric == "accuracy":
            items = _measured(history, "items", split)
            end, held = wilson(mean, round(items), level)[0], f"over {items:.0f} {split} items"
        else:
            z = NormalDist().inv_cdf((1 + level) / 2)
            end, held = mean + z * _measured(history, f"{metric}_se", split), f"over {split} items"
        reached = end <= value if metric in _LOSSES else end >= value
        ends = "up to" if metric in _LOSSES else "from"
        said = f"{metric} {mean:.4f} {held}, {level:.0%} interval {ends} {end:.4f}, reaches {value:g}"
        return said if reached else ""

    name = f"target(value={value}, metric={metric!r}, level={level}, split={split!r})"
    return Rule(name, why, splits=frozenset({split}))


def plateau(
    metric: str = "accuracy", window: int = 3, tolerance: float = 0.005, split: str = "validation"
) -> Rule:
    """Stop when a metric has not changed: |m_j - m_{j-w}| < tolerance for each of the last w rounds j.

    This is the performance difference on held-out items. It needs 2w rounds.

    Args:
        metric: accuracy, nll or brier; on "test" any metric that is measured.
        window: w.
        tolerance: The change that still counts as none; larger stops earlier.
        split: "validation", or "test" for studies only.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("tolerance", tolerance, 0)
    check_window(window)
    if split not in ("validation", "test") or (
        split == "validation" and metric not in ("accuracy", *_LOSSES)
    ):
        raise InvalidArgument(
            f"plateau reads accuracy, nll or brier on 'validation', or a metric on 'test'; not {metric} on {split!r}"
        )

    def why(history: History) -> str:
        _measured(history, metric, split)
        values = np.array(history.values(metric, split)[-2 * window :])
        if len(values) < 2 * window:
            return ""
        moved = float(np.max(np.abs(values[window:] - values[:window])))
        said = (
            f"{metric} ({split}) moved by {moved:.4f} at most over {window} rounds, less than {tolerance:g}"
        )
        return said if moved < tolerance else ""

    name = f"plateau(metric={metric!r}, window={window}, tolerance={tolerance}, split={split!r})"
    return Rule(name, why, splits=frozenset({split}))


def selected_accuracy(value: float = 0.9, window: int = 1) -> Rule:
    """Stop when the model predicted its own batch well, before it was trained on it.

    The model is least sure of the batch, so its accuracy on the rest of the pool is higher.

    J. Zhu, H. Wang, E. Hovy and M. Ma, Confidence-Based Stopping Criteria for Active Learning for Data Annotation, ACM
    Transactions on Speech and Language Processing, 2010.

    Args:
        value: The accuracy to exceed, in [0, 1]; smaller stops earlier.
        window: How many successive batches are taken together; every item counts the same.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("value", value, 0, 1)
    check_window(window)

    def why(history: History) -> str:
        right = np.array(history.values("accuracy", "query")[-window:])
        items = np.array(history.values("items", "query")[-window:])
        if len(right) < window or not np.isfinite(right).all():
            return ""
        mean = float(right @ items / items.sum())
        said = (
            f"accuracy {mean:.4f} on the last {items.sum():.0f} items chosen, before they were trained on, "
        )
        return said + f"above {value:g}" if mean > value else ""

    return Rule(f"selected_accuracy(value={value}, window={window})", why, splits=frozenset({"query"}))


def _measured(history: History, metric: str, split: str) -> float:
    """The newest value, or an error: a criterion without its metric would never stop, and nobody would notice."""
    if (metric, split) not in history.metrics[-1]:
        raise InvalidArgument(
            f"no {metric} was measured on {split!r}; hold labelled items out, or name a split that is measured"
        )
    return history.metrics[-1][metric, split]
