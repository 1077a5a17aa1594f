"""Stop when the labels are spent, when the model is good enough, or when it no longer improves."""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from baldur.errors import InvalidArgument
from baldur.protocols import History
from baldur.stopping.criterion import Rule, check_number, check_window
from baldur.stopping.held_out import check_level, wilson
from baldur.stopping.looks import needed, shown, wanted

_LOSSES = ("nll", "brier")
_SPLITS = ("reserve", "validation", "test")
_PLATEAU_LABELS = 200


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


def target(
    value: float,
    metric: str = "accuracy",
    level: float = 0.95,
    split: str = "reserve",
    labels: int | None = None,
) -> Rule:
    """Stop when an accuracy has reached a value with its whole interval, so that it is not luck of the test items.

    The test items are drawn uniformly from a reserve, which no strategy may choose from. They are asked for once the
    model's own guesses of its errors come near the target. They cost labels, and are never trained on. The interval is
    that of `evaluate.audited_mean`. It holds at all looks together: the k-th look spends α / (k (k + 1)), and there is
    one after each growth of the training labels by three tenths.

    Validation items are held out of what the strategy chose. So they are no random sample: a strategy that asks for
    hard items leaves hard ones for validation, and an interval from them may miss the accuracy on new items. With
    split="validation" or "test", every round looks, and the interval (Wilson's for accuracy, mean ± z·se for a loss) is
    that of a single look.

    Args:
        value: The value to reach; an easier one stops earlier.
        metric: accuracy; nll or brier on "validation".
        level: The coverage of the interval, in (0, 1); smaller stops earlier.
        split: "reserve", "validation" for held-out items, or "test" for studies only, and only for accuracy. If the
            test set decides the stop, the last test accuracy is too good.
        labels: How many test labels to ask for. By default as many as show in four of five cases that the accuracy is
            above the target, if it is halfway between the target and 1; see `evaluate.labels_for_target`.

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
    if split not in _SPLITS or (split != "validation" and metric != "accuracy"):
        raise InvalidArgument(
            f"target reads accuracy on 'reserve' or 'test', or accuracy, nll or brier on 'validation'; "
            f"not {metric} on {split!r}"
        )
    if labels is not None:
        check_number("labels", labels, 1)
        if split != "reserve" or int(labels) != labels:
            raise InvalidArgument(
                f"labels is a whole number, for split='reserve' only; not {labels!r} on {split!r}"
            )
    name = f"target(value={value}, metric={metric!r}, level={level}, split={split!r}, labels={labels})"
    if split != "reserve":
        return Rule(name, _single_look(value, metric, level, split), splits=frozenset({split}))
    errors = 1 - value

    def why(history: History) -> str:
        _measured(history, "accuracy", "reserve")
        found = shown(history, errors, level)
        if found is None or 1 - found.high < value:
            return ""
        return (
            f"accuracy {1 - found.mean:.4f} by {found.n} test labels, at least {1 - found.high:.4f} "
            f"({level:.0%} interval), reaches {value:g}"
        )

    most = None if labels is None else int(labels)
    return Rule(
        name,
        why,
        splits=frozenset({"reserve"}),
        wanted=lambda history: wanted(history, errors, level, most),
        needs=lambda size: needed(errors, level, size, most),
    )


def _single_look(value: float, metric: str, level: float, split: str) -> Callable[[History], str]:
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

    return why


def plateau(
    metric: str = "accuracy", window: int = 3, tolerance: float = 0.005, split: str = "reserve"
) -> Rule:
    """Stop when a metric has not changed: |m_j - m_{j-w}| < tolerance for each of the last w rounds j.

    It needs 2w rounds. On the reserve, the accuracy is that of uniformly drawn items, by the model's own guesses of its
    errors and their correction by test labels, as in `target`. It is an estimate without an interval.

    Args:
        metric: accuracy; nll or brier on "validation"; on "test" any metric that is measured.
        window: w.
        tolerance: The change that still counts as none; larger stops earlier.
        split: "reserve", "validation", or "test" for studies only.

    Returns:
        The criterion.

    Raises:
        InvalidArgument: An option is out of its domain.
    """
    check_number("tolerance", tolerance, 0)
    check_window(window)
    allowed = {"reserve": ("accuracy",), "validation": ("accuracy", *_LOSSES), "test": (metric,)}
    if metric not in allowed.get(split, ()):
        raise InvalidArgument(
            "plateau reads accuracy on 'reserve', accuracy, nll or brier on 'validation', or a metric on 'test'; "
            f"not {metric} on {split!r}"
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
    if split != "reserve":
        return Rule(name, why, splits=frozenset({split}))

    def some(size: float) -> int:
        return min(_PLATEAU_LABELS, int(size))

    return Rule(
        name,
        why,
        splits=frozenset({split}),
        wanted=lambda history: some(history.values("size", "reserve")[-1]),
        needs=some,
    )


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
            f"no {metric} was measured on {split!r}; keep a reserve, hold labelled items out, or name a split that is "
            "measured"
        )
    return history.metrics[-1][metric, split]
