"""Numbers and verdicts as text, the same in the terminal and on the page."""

import math
from collections.abc import Sequence

from baldur.evaluate import Interval, Paired
from baldur.evaluate.comparison import FEWEST

_FULL_NAMES = {
    "accuracy": "accuracy",
    "nll": "negative log-likelihood",
    "ece": "expected calibration error",
    "adaptive_ece": "adaptive calibration error",
    "brier": "Brier score",
    "auroc": "area under the ROC curve",
    "f1_macro": "macro F1",
}


def full_name(metric: str) -> str:
    """The name of a metric in a sentence.

    Args:
        metric: Its name in the store.

    Returns:
        The name in words.
    """
    return _FULL_NAMES.get(metric, metric)


def value(x: float) -> str:
    """A metric, to three digits after the point.

    Args:
        x: The value; NaN if there is none.

    Returns:
        Text such as "0.934", or a dash.
    """
    return "–" if math.isnan(x) else f"{x:.3f}".replace("-", "−")


def signed(x: float) -> str:
    """A difference, with its sign.

    Args:
        x: The value; NaN if there is none.

    Returns:
        Text such as "+0.009", or a dash.
    """
    return "–" if math.isnan(x) else f"{x:+.3f}".replace("-", "−")


def p_value(p: float) -> str:
    """A p-value to two digits, as statistics are printed.

    Args:
        p: In [0, 1].

    Returns:
        Text such as "p = .0095" or "p < .001".
    """
    return "p < .001" if p < 0.001 else f"p = {p:.2g}".replace("= 0.", "= .")


def count(n: int, thing: str) -> str:
    """A number of things.

    Args:
        n: How many.
        thing: One of them.

    Returns:
        Text such as "1 seed" or "1,240 labels".
    """
    return f"{n:,} {thing}" + ("" if n == 1 else "s")


def target(x: float, metric: str) -> str:
    """A target value.

    Args:
        x: The value.
        metric: Its metric.

    Returns:
        Text such as "90 %" for an accuracy, "0.3" for a loss.
    """
    return f"{100 * x:g} %" if metric == "accuracy" else f"{x:g}"


def labels(n: float, end: int) -> str:
    """A number of labels until a target.

    Args:
        n: The number; infinity if the target was never reached.
        end: The number of labels at the end of the curve.

    Returns:
        Text such as "110", or ">220" if 220 labels were not enough.
    """
    return f"{n:.0f}" if math.isfinite(n) else f">{end}"


def bounds(x: Interval | Paired) -> str:
    """The bounds of an interval.

    Args:
        x: The interval.

    Returns:
        Text such as "0.929–0.939"; empty if there are no bounds.
    """
    if math.isnan(x.low):
        return ""
    if isinstance(x, Paired):
        return f"{signed(x.low)}, {signed(x.high)}"
    return f"{value(x.low)}–{value(x.high)}"


def duration(seconds: float) -> str:
    """A stretch of time.

    Args:
        seconds: How long.

    Returns:
        Text such as "0.8 s", "42 s", "3 min 20 s" or "2 h 5 min".
    """
    if round(seconds) < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def verdict(compared: Paired | None, has_random: bool, so_far: bool = False) -> str:
    """The comparison with random, in words.

    Args:
        compared: The paired comparison; None if no seed was measured for both.
        has_random: Whether the run has a random baseline.
        so_far: Whether its trials are not done yet.

    Returns:
        Text such as "better than random (p = .0095)" or "undecided (p = .31)".
    """
    if not has_random:
        return "no random baseline to compare with"
    if compared is None or compared.n < FEWEST:
        return "too few seeds to compare"
    word = {"better": "better than random", "worse": "worse than random"}.get(compared.verdict, "undecided")
    return f"{'so far ' if so_far else ''}{word} ({p_value(compared.p)})"


def difference(compared: Paired) -> str:
    """A difference with its interval, for a sentence.

    Args:
        compared: The comparison.

    Returns:
        Text such as "+0.009, 95 % interval +0.004 to +0.014".
    """
    if math.isnan(compared.low):
        return signed(compared.difference)
    return f"{signed(compared.difference)}, 95 % interval {signed(compared.low)} to {signed(compared.high)}"


def listed(words: Sequence[str]) -> str:
    """Words in a sentence.

    Args:
        words: The words.

    Returns:
        Text such as "a, b and c".
    """
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1] if words else ""


def flat(facts: object) -> str:
    """Facts with their names on one line.

    Args:
        facts: A dictionary, or a single value.

    Returns:
        Text such as "numpy 2.4, python 3.11".
    """
    if isinstance(facts, dict):
        return ", ".join(f"{name} {fact}" for name, fact in facts.items())
    return str(facts)
