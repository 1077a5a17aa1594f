"""Criteria by name, as settings and the command line write them."""

from collections.abc import Callable
from functools import reduce
from types import FunctionType
from typing import Any

from baldur.core.written import call_of, check, nearest, split
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.protocols import Criterion
from baldur.stopping import performance, predictions, uncertainty
from baldur.stopping.criterion import Rule, all_of, any_of

Factory = Callable[..., Rule]
Find = Callable[[str], Any]

_SPLIT = 4  # the place of `split` among the options of target and plateau
_GRAMMAR = "criteria are written as name(option=value, ...), joined by | or &"


def named(text: str, find: Find | None = None, held_out: str = "reserve") -> Criterion:
    """The criterion that a text such as "budget(500) | stabilising_predictions(kappa=0.98)" names.

    Args:
        text: Names with options in brackets, joined by | (any) and & (all), which binds closer. A name is that of a
            function here, with hyphens or underscores. Or it is your own function, package.module:function.
        find: Finds your own function.
        held_out: The split of `target` and `plateau` if they name none: "reserve" or "validation".

    Returns:
        The criterion.

    Raises:
        InvalidSettings: There is no such criterion, or it has no such option.
    """
    for sign, join in (("|", any_of), ("&", all_of)):
        parts = split(text, sign)
        if len(parts) > 1:
            return reduce(join, (named(part, find, held_out) for part in parts))
    text = text.strip()
    if text.startswith("(") and text.endswith(")"):
        return named(text[1:-1], find, held_out)
    return _one(text, find, held_out)


def factories() -> dict[str, Factory]:
    """Every criterion that has a name.

    Returns:
        Functions that make a criterion, by name: all public functions of the modules of criteria.
    """
    return {
        name: thing
        for module in (performance, predictions, uncertainty)
        for name, thing in vars(module).items()
        if isinstance(thing, FunctionType)
        and thing.__module__ == module.__name__
        and not name.startswith("_")
    }


def _one(text: str, find: Find | None, held_out: str) -> Criterion:
    """The criterion of one name with its options."""
    try:
        name, values, options = call_of(text, "criterion")
    except InvalidSettings:
        raise InvalidSettings(f"{text!r}: {_GRAMMAR}") from None
    known = factories()
    factory = find(name) if ":" in name and find is not None else known.get(name.replace("-", "_"))
    if factory is None:
        near = nearest(name, known)
        listed = f"use one of {', '.join(known)}, or your own package.module:function; {_GRAMMAR}"
        meant = f"did you mean {near}?" if near else listed
        raise InvalidSettings(f"there is no stopping criterion {name!r}; {meant}")
    if factory in (performance.target, performance.plateau) and len(values) < _SPLIT:
        options.setdefault("split", held_out)
    check(text, factory, len(values), options)
    try:
        made = factory(*values, **options)
    except InvalidArgument as error:
        raise InvalidSettings(f"{text!r}: {error}") from None
    if not isinstance(made, Criterion):
        raise InvalidSettings(f"{text!r} returned a {type(made).__name__}, not a stopping criterion")
    return made
