"""The classes of a data set: one rule for all formats.

The classes are the values that occur, under their own names. A missing value is no class.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.by_name import NO_NAMES, ByName
from baldur.data.copies import EARLIER
from baldur.errors import InvalidArgument, InvalidData, InvalidLabel

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
class Labelling:
    """How data are read that people will label: labels may be missing, and no test items are drawn.

    Args:
        classes: The class names that the user gives; None takes those that occur.
        kept: The preprocessing of an earlier reading, which is used again; None for a first reading.
        old: The ids of an earlier reading. These items stay, whatever was added since.
    """

    classes: tuple[str, ...] | None = None
    kept: Mapping[str, Any] | None = None
    old: Set[str] = frozenset()


@dataclass(frozen=True)
class Rules:
    """How labels and columns are read.

    Args:
        missing: The values that mean a missing label; None for `MISSING`. NaN and None are always missing.
        task: "auto" refuses labels that look like amounts; "classification" takes each value as a class.
        reading: The rules, as in `load`.
        labelling: The rules of data that people will label; None for labelled data.
        columns: The columns of a table that the user names.
    """

    missing: tuple[str, ...] | None = None
    task: Literal["auto", "classification"] = "auto"
    reading: int = EARLIER + 1
    labelling: Labelling | None = None
    columns: ByName = NO_NAMES

    @property
    def given(self) -> tuple[str, ...] | None:
        """The classes that the user gives, if people will label."""
        return None if self.labelling is None else self.labelling.classes

    def kept(self, source: str, *kinds: str) -> Mapping[str, Any] | None:
        """The preprocessing that is used again; None for a first reading.

        Args:
            source: The source of the data, for the message.
            kinds: The kinds of inputs that it has.

        Returns:
            The preprocessing.

        Raises:
            InvalidData: The earlier reading found inputs of another kind.
        """
        kept = None if self.labelling is None else self.labelling.kept
        if kept is not None and kept["kind"] not in kinds:
            raise InvalidData(
                f"{source} has inputs of the kind {kinds[0]}, but the run began with the kind {kept['kind']}; give"
                " data of one kind, or begin a new run"
            )
        return kept

    @property
    def old(self) -> Set[str]:
        """The ids of items that stay."""
        return frozenset() if self.labelling is None else self.labelling.old


def rules_of(
    missing: Any = None,
    task: Any = "auto",
    reading: int = EARLIER + 1,
    labelling: Labelling | None = None,
    columns: ByName = NO_NAMES,
) -> Rules:
    """How labels are read, from what a user gives.

    Args:
        missing: One value that means a missing label, or several; None for the default.
        task: "auto" or "classification".
        reading: The rules, as in `load`.
        labelling: The rules of data that people will label.
        columns: The columns of a table that the user names.

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
        missing = tuple(name_of(value, plain, "missing") for value in several)
    return Rules(missing, task, reading, labelling, columns)


class Named(NamedTuple):
    """The label of each item as a name.

    Args:
        names: "" if it is missing.
        notes: Sentences for the user.
    """

    names: list[str]
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
    names = [name_of(v, rules, f"{source}, {where(first[i])}") for i, v in enumerate(distinct)]
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
        if rules.given is None:
            _ask_about_minus_one(known, source, rules)
        if rules.task == "auto" and rules.given is None:
            _refuse_amounts(known, source)
    return Named([names[i] for i in member.tolist()], _notes(known, lost, len(member), rules))


def nameless(n: int) -> Named:
    """The labels of items without any.

    Args:
        n: The number of items.

    Returns:
        Missing names, and no notes.
    """
    return Named([""] * n, ())


def array_of(values: Any) -> NDArray[Any]:
    """Labels as an array.

    Args:
        values: A sequence, an array or a tensor.

    Returns:
        An array whose first axis is the item.

    Raises:
        InvalidLabel: They are a masked array, or one value only.
    """
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
        y = array_of(values)
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


def name_of(value: Any, rules: Rules, place: str) -> str:
    """A value as the name of a class; "" if it is missing.

    Args:
        value: A text, a number, or a missing value.
        rules: How labels are read.
        place: The place of the value, for messages.

    Returns:
        The name.

    Raises:
        InvalidLabel: The value is no label.
    """
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
            f"the labels of {source} are {some(sorted(codes))}. Is -1 a class, or a missing label? If it means "
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


def some(values: Sequence[Any], most: int = 8) -> str:
    """The first of some values in words.

    Args:
        values: The values.
        most: The number of values that are named.

    Returns:
        Values with commas between them.
    """
    shown = ", ".join(map(str, values[:most]))
    return f"{shown}, ..." if len(values) > most else shown
