"""The classes of a data set: one rule for all formats.

The classes are the values that occur, under their own names. A missing value is no class.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import class_indices
from baldur.data.copies import EARLIER
from baldur.errors import InvalidArgument, InvalidLabel

MISSING = ("", "nan", "NaN", "NA", "null", "None")
"""The texts that mean a missing label, unless others are named."""

LIKE_MISSING = ("?", "N/A", "n/a", "na", "NULL", "nil", "none", "<NA>", "#N/A")
"""More texts that mean a missing input. As a label each is a class, and named, because it may be one."""

FEW = 20
"""Up to so many different values are classes, whatever they are."""

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([T ].*)?$|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}$|\d{4}/\d{1,2}/\d{1,2}$")
_RAREST = 5  # codes of classes have at least so many items each


@dataclass(frozen=True)
class Rules:
    """How labels and columns are read.

    Args:
        missing: The values that mean a missing label; None for `MISSING`. NaN and None are always missing.
        task: "auto" refuses labels that look like amounts; "classification" takes each value as a class.
        reading: The rules, as in `load`.
    """

    missing: tuple[str, ...] | None = None
    task: Literal["auto", "classification"] = "auto"
    reading: int = EARLIER + 1


def rules_of(missing: Any = None, task: Any = "auto", reading: int = EARLIER + 1) -> Rules:
    """How labels are read, from what a user gives.

    Args:
        missing: One value that means a missing label, or several; None for the default.
        task: "auto" or "classification".
        reading: The rules, as in `load`.

    Returns:
        The rules.

    Raises:
        InvalidArgument: There is no such task.
    """
    if task not in ("auto", "classification"):
        raise InvalidArgument(f"task must be 'auto' or 'classification', not {task!r}")
    if missing is not None:
        several = missing if isinstance(missing, list | tuple | set | frozenset) else [missing]
        plain = Rules(missing=())
        missing = tuple(_name(value, plain, "missing") for value in several)
    return Rules(missing, task, reading)


class Named(NamedTuple):
    """The label of each item as a name.

    Args:
        names: "" if it is missing.
        notes: Sentences for the user.
    """

    names: list[str]
    notes: tuple[str, ...]


class Coded(NamedTuple):
    """The label of each item as a position in the classes.

    Args:
        codes: For each part an array of shape (n,); -1 if the label is missing.
        classes: The names of the classes.
        notes: Sentences for the user.
    """

    codes: list[NDArray[np.int64]]
    classes: tuple[str, ...]
    notes: tuple[str, ...]


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: by number if all are whole numbers, otherwise by name.

    Args:
        names: In any order; they may repeat.

    Returns:
        Each name once.
    """
    once = set(names)
    numbers = all(name.isascii() and name.isdigit() for name in once)
    return tuple(
        sorted(once, key=(lambda name: (Decimal(name), name)) if numbers else (lambda name: (0, name)))
    )


def label_names(values: Any, source: str, rules: Rules, where: Callable[[int], str]) -> Named:
    """The label of each item as a name, by the one rule.

    Args:
        values: Texts, numbers or booleans of shape (N,), or one-hot rows of shape (N, C).
        source: The source of the labels, for messages.
        rules: How they are read.
        where: Names the place of an item, such as "line 3".

    Returns:
        Names and notes.

    Raises:
        InvalidLabel: A value is no label; or it must be decided whether -1, or a number at all, is a class.
    """
    distinct, member = _distinct(values, source, where)
    first = np.unique(member, return_index=True)[1].tolist()
    names = [_name(v, rules, f"{source}, {where(first[i])}") for i, v in enumerate(distinct)]
    counts = np.bincount(member, minlength=len(distinct))
    known = Counter[str]()
    lost = Counter[str]()
    for value, name, count in zip(distinct, names, counts.tolist(), strict=True):
        if name:
            known[name] += count
        else:
            lost[str(value).strip()] += count
    if rules.reading > EARLIER:
        places = {name: where(first[i]) for i, name in reversed(list(enumerate(names)))}
        _refuse_spellings(known, source, places)
        _ask_about_minus_one(known, source, rules)
        if rules.task == "auto":
            _refuse_amounts(known, source)
    return Named([names[i] for i in member.tolist()], _notes(known, lost, len(member), rules))


def coded(parts: Sequence[Any], source: str, rules: Rules, classes: tuple[str, ...] | None = None) -> Coded:
    """The labels of arrays, as positions in the classes.

    Args:
        parts: Values for each part, see `label_names`; positions or names, if the classes are given.
        source: The source of the labels, for messages.
        rules: How they are read.
        classes: The class names, if they are given.

    Returns:
        The codes of each part, the classes, and notes.

    Raises:
        InvalidLabel: As in `label_names`; or a label is not one of the given classes.
    """
    arrays = [_array(values) for values in parts]
    if classes is None and rules.reading <= EARLIER and not all(y.dtype.kind == "U" for y in arrays):
        return _counted(arrays, source)
    if classes is not None and all(y.dtype.kind in "biu" for y in arrays):
        return Coded([_positions(y, source, classes) for y in arrays], classes, ())
    mixed = {y.dtype.kind for y in arrays} <= set("iuf") and np.result_type(*arrays).kind == "f"
    rounded = mixed and any(y.dtype.kind != "f" and y.ndim == 1 for y in arrays)  # codes of many digits
    whole = np.concatenate(
        [y.astype(object) if rounded or y.dtype.kind not in "biufU" else y for y in arrays]
    )
    named = label_names(whole, source, rules, lambda i: f"position {i}")
    names = ordered(name for name in named.names if name) if classes is None else classes
    at = {"": -1} | {name: i for i, name in enumerate(names)}
    if strange := next((name for name in named.names if name not in at), None):
        raise InvalidLabel(f"{source} has the label {strange!r}, which is not one of its classes {names}")
    codes = np.array([at[name] for name in named.names], np.int64)
    return Coded(np.split(codes, np.cumsum([len(y) for y in arrays])[:-1]), names, named.notes)


def _array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if "bfloat16" in str(values.dtype) else values).numpy()
    if isinstance(values, np.ma.MaskedArray):
        raise InvalidLabel(
            "the labels are a masked array; fill it, such as labels.astype(float).filled(np.nan)"
        )
    if isinstance(values, list | tuple) and len({type(value) for value in values}) > 1:
        return np.array(values, object)  # NumPy would write numbers beside texts as texts
    made: NDArray[Any] = np.asarray(values)
    if not made.ndim:
        raise InvalidLabel(f"one label for each item was expected, shape (N,), not {values!r}")
    if made.dtype.kind in "mM":  # as objects, NumPy writes nanoseconds as whole numbers
        times: NDArray[Any] = np.empty(made.shape, object)
        times[...] = list(made)
        return times
    return made.astype(str) if made.dtype.kind in "S" else made


def _distinct(values: Any, source: str, where: Callable[[int], str]) -> tuple[list[Any], NDArray[np.intp]]:
    """The different values, and for each item which one it has."""
    y: NDArray[Any] = np.empty(len(values), object)
    if isinstance(values, list):  # of a file: each is one label
        y[:] = values
    else:
        y = _array(values)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "biuf":
        wrong = ((y == 1).sum(1) != 1) | ((y == 0).sum(1) != y.shape[1] - 1)
        if wrong.any():
            at = int(wrong.argmax())
            raise InvalidLabel(
                f"{source}: the labels have the shape {y.shape}, and the row at {where(at)} is not one-hot; "
                "give one label for each item"
            )
        y = y.argmax(1)
    if y.ndim != 1:
        raise InvalidLabel(f"{source}: the labels have the shape {y.shape}; give one label for each item")
    if y.dtype.kind in "biufU":
        found, member = np.unique(y, return_inverse=True)
        return list(found), member.astype(np.intp)
    places: dict[tuple[type, Any], int] = {}
    inverse = np.empty(len(y), np.intp)
    for i, value in enumerate(y):
        if isinstance(value, list | tuple | dict | set | np.ndarray):
            raise InvalidLabel(f"{source}, {where(i)}: the label must be one text or number, not {value!r}")
        if isinstance(value, float) and value != value:
            value = np.nan  # one for all
        inverse[i] = places.setdefault((type(value), value), len(places))
    return [value for _, value in places], inverse


def _name(value: Any, rules: Rules, place: str) -> str:
    """A value as the name of a class; "" if it is missing."""
    if value is None or str(value) in ("<NA>", "NaT"):
        return ""
    if isinstance(value, date | time | timedelta | np.datetime64 | np.timedelta64):
        raise InvalidLabel(
            f"{place}: the label is the date or time {value}; if these are classes, give them as texts"
        )
    missing = rules.missing
    if isinstance(value, str):
        name = value.strip()
        default = MISSING if rules.reading > EARLIER else ("",)
        return "" if name in (default if missing is None else missing) else name
    if isinstance(value, bool | np.bool_):
        name = str(bool(value))
    elif isinstance(value, int | np.integer):
        name = str(int(value))
    elif isinstance(value, float | np.floating):
        if np.isnan(value):
            return ""
        if np.isinf(value):
            raise InvalidLabel(f"{place}: the label is {value}; a class needs a name or a finite number")
        name = str(int(value)) if float(value).is_integer() else str(value)
    else:
        raise InvalidLabel(
            f"{place}: the label is {value!r} ({type(value).__name__}); give a text or a number"
        )
    return "" if missing is not None and name in missing else name


def _refuse_spellings(known: Counter[str], source: str, places: dict[str, str]) -> None:
    """Refuse two names for one number."""
    seen: dict[Decimal, str] = {}
    for name in known:
        if _NUMBER.fullmatch(name) and (other := seen.setdefault(_exact(name), name)) != name:
            raise InvalidLabel(
                f"{source} has the labels {other!r} ({places[other]}) and {name!r} ({places[name]}), which are the "
                "same number; write it in one way"
            )


def _exact(name: str) -> Decimal:
    """A number as it is written; floating-point numbers would round many digits to one value."""
    try:
        return Decimal(name)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("infinity")


def _ask_about_minus_one(known: Counter[str], source: str, rules: Rules) -> None:
    codes = {Decimal(name) for name in known if re.fullmatch(r"-?\d+", name)}
    if rules.missing is not None or len(codes) < len(known) or codes == {-1, 1}:
        return
    if -1 in codes and min(codes) == -1 and len(codes) > 1:
        raise InvalidLabel(
            f"the labels of {source} are {_some(sorted(codes))}. Is -1 a class, or a missing label? If it means "
            'missing, give missing=-1 (--missing=-1). If it is a class, give missing="" (--missing "")'
        )


def _refuse_amounts(known: Counter[str], source: str) -> None:
    """Refuse many different numbers, which are probably amounts, and many names that occur once."""
    if len(known) <= FEW:
        return
    if all(_NUMBER.fullmatch(name) for name in known):
        values = sorted(map(float, known))
        whole = all(value.is_integer() for value in values)
        codes = whole and values[0] in (0, 1) and values[-1] - values[0] == len(values) - 1
        if codes and min(known.values()) >= _RAREST:
            return
        what = f"{len(known)} different numbers, from {values[0]:g} to {values[-1]:g}. They look like amounts"
    elif all(_DAY.match(name) for name in known):
        what = f"{len(known)} different dates"
    elif sum(count == 1 for count in known.values()) > known.total() / 2:
        what = f"{len(known)} different texts for {known.total()} items. They look like ids or free text"
    else:
        return
    raise InvalidLabel(
        f"the labels of {source} are {what}, but a run learns classes. If they are classes, give "
        'task="classification" (--task classification). Otherwise divide them into a few classes, or name another '
        "column label. In Python, learners.Supervised(likelihood=GAUSSIAN) learns numbers"
    )


def _notes(known: Counter[str], lost: Counter[str], n: int, rules: Rules) -> tuple[str, ...]:
    notes = []
    if lost and rules.reading > EARLIER:
        words = ", ".join(f"{word or 'empty'}: {count}" for word, count in lost.most_common())
        notes.append(
            f"{lost.total()} of {n} items {'has' if lost.total() == 1 else 'have'} no label ({words})"
        )
    if rules.missing is None and (like := [word for word in LIKE_MISSING if word in known]):
        words = " ".join(f"--missing {word!r}" for word in (*(word for word in lost if word), *like))
        notes.append(
            f"{' and '.join(map(repr, like))} counts as a class; if it means a missing label, give {words}"
        )
    alike: dict[str, str] = {}
    for name in known:
        if (other := alike.setdefault(" ".join(name.casefold().split()), name)) != name:
            notes.append(f"the classes {other!r} and {name!r} differ only in case or spaces")
    return tuple(notes)


def _some(values: Sequence[Any], most: int = 8) -> str:
    shown = ", ".join(map(str, values[:most]))
    return f"{shown}, ..." if len(values) > most else shown


def _positions(y: NDArray[Any], source: str, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels that are positions in given classes, -1 for unknown."""
    labels = class_indices(y.astype(np.int64) if y.dtype.kind == "b" else y)
    if labels.max(initial=-1) >= len(classes):
        at = int(labels.argmax())
        raise InvalidLabel(
            f"{source} has the label {labels[at]} at position {at}, but only {len(classes)} classes"
        )
    return labels


def _counted(arrays: Sequence[NDArray[Any]], source: str) -> Coded:
    """The rule of the first version: class indices from 0 to the largest."""
    codes = [class_indices(y) for y in arrays]
    largest, n = max(int(y.max(initial=-1)) for y in codes), sum(map(len, codes))
    if largest >= n:
        raise InvalidLabel(
            f"{source} has the label {largest}, but only {n} items; a label is a class index, counted from 0"
        )
    return Coded(codes, tuple(map(str, range(largest + 1))), ())
