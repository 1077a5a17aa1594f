"""The classes of a data set, and labels as positions in them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import class_indices
from baldur.data.copies import EARLIER
from baldur.data.labels import Rules, array_of, label_names, name_of, ordered, rules_of, some
from baldur.errors import InvalidArgument, InvalidData, InvalidLabel

_WHOLE = re.compile(r"-?\d+")


def class_names(told: Any, missing: Any = None) -> tuple[str, ...]:
    """The class names that a user gives, checked.

    Args:
        told: Names or numbers; or one text with commas between the names.
        missing: As in `rules_of`.

    Returns:
        The names, in the given order.

    Raises:
        InvalidArgument: There are fewer than two, one is given twice, or one means a missing label.
    """
    if not isinstance(told, str | Iterable):
        raise InvalidArgument(f"classes must be a list of names, such as ['owl', 'tit'], not {told!r}")
    several = told.split(",") if isinstance(told, str) else list(told)
    rules = rules_of(missing)
    names = tuple(name_of(value, rules, "classes") for value in several)
    if "" in names:
        value = several[names.index("")]
        raise InvalidArgument(
            f"{value!r} means a missing label, so it is no class; give the class another name, or say with"
            " missing= which values mean a missing label"
        )
    if twice := next((name for name, n in Counter(names).items() if n > 1), None):
        raise InvalidArgument(f"the class {twice!r} is given twice; give each class once")
    if len(names) < 2:
        raise InvalidArgument(f"at least two classes are needed, not {list(names)}")
    return names


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
    arrays = [array_of(values) for values in parts]
    if rules.labelling is not None and classes is None:
        return _for_labelling(arrays, source, rules)
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


def classified(
    names: Sequence[str], source: str, rules: Rules, usable: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Names of labels as positions in the classes.

    Args:
        names: From `label_names`; "" if missing.
        source: The source of the labels, for messages.
        rules: How they are read. If people will label and the classes are given, names must be among them.
        usable: False for items whose names make no class, shape (N,).

    Returns:
        Labels of shape (N,), -1 if missing; and the classes.

    Raises:
        InvalidLabel: A name is not among the given classes.
        InvalidData: People will label, no classes are given, and fewer than two occur.
    """
    used = names if usable is None else [name for name, good in zip(names, usable, strict=True) if good]
    found = ordered(name for name in used if name)
    classes = found if rules.given is None else rules.given
    _enough(classes, source, rules)
    # beside given classes, -1 is a missing label
    if strange := [name for name in found if name not in classes and name != "-1"]:
        raise InvalidLabel(
            f"{source} has the labels {some(strange)}, which are not among the classes {some(classes, 20)};"
            " add them to the classes, or correct the labels"
        )
    at = {name: i for i, name in enumerate(classes)}
    return np.array([at.get(name, -1) for name in names], np.int64), classes


def recoded(
    labels: NDArray[np.int64], before: tuple[str, ...], source: str, rules: Rules
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Positions in some classes as positions in the classes that the rules give.

    Args:
        labels: Shape (N,), -1 if missing.
        before: The classes that they are positions in.
        source: The source of the labels, for messages.
        rules: How they are read.

    Returns:
        Labels of shape (N,), and the classes.

    Raises:
        InvalidLabel: A class that occurs is not among the given ones.
        InvalidData: There are fewer than two classes.
    """
    if rules.given is None:
        _enough(before, source, rules)
        return labels, before
    occur = [before[i] for i in np.unique(labels[labels >= 0])]
    _, classes = classified(occur, source, rules)
    at = np.array([classes.index(name) if name in classes else -1 for name in before] + [-1], np.int64)
    return at[labels], classes


def none_known(n: int) -> NDArray[Any]:
    """Missing labels.

    Args:
        n: The number of items.

    Returns:
        None for each, shape (n,).
    """
    return np.full(n, None, object)


def _for_labelling(arrays: Sequence[NDArray[Any]], source: str, rules: Rules) -> Coded:
    """The labels of arrays that people will label. Numbers are positions in given classes that have other names."""
    whole = np.concatenate([y.astype(object) if y.dtype.kind not in "biufU" else y for y in arrays])
    named = label_names(whole, source, rules, lambda i: f"position {i}")
    names, notes = named.names, named.notes if any(named.names) else ()
    if rules.given is not None and not all(map(_WHOLE.fullmatch, rules.given)):
        known = {name for name in names if name}
        if known and all(map(_WHOLE.fullmatch, known)):
            n = len(rules.given)
            if wrong := [name for name in known if not -1 <= int(name) < n]:
                at = names.index(wrong[0])
                raise InvalidLabel(
                    f"{source} has the label {wrong[0]} at position {at}, but there are {n} classes: give their"
                    f" positions, 0 to {n - 1}, or their names"
                )
            names = [rules.given[int(name)] if name and int(name) >= 0 else "" for name in names]
    codes, classes = classified(names, source, rules)
    return Coded(np.split(codes, np.cumsum([len(y) for y in arrays])[:-1]), classes, notes)


def _enough(classes: tuple[str, ...], source: str, rules: Rules) -> None:
    if rules.labelling is not None and len(classes) < 2:
        has = f"the only label is {classes[0]}" if classes else "there is no label"
        raise InvalidData(
            f"{source}: {has}, and at least two classes are needed; name all classes, such as"
            " classes=['owl', 'tit']"
        )


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
