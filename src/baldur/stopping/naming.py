"""Criteria by name, as settings and the command line write them."""

import ast
import inspect
import re
from collections.abc import Callable
from difflib import get_close_matches
from types import FunctionType
from typing import Any

from baldur.errors import InvalidArgument, InvalidSettings
from baldur.stopping import performance, predictions, uncertainty
from baldur.stopping.criterion import Criterion, all_of, any_of

Factory = Callable[..., Criterion]


def named(text: str, find: Callable[[str], Any] | None = None) -> Criterion:
    """The criterion that a text such as "budget(500) | stabilising_predictions(kappa=0.98)" means.

    Args:
        text: Names with options in brackets, joined by | (any) and & (all); or one's own, package.module:function, with
            options in brackets, a function to a `Criterion`. Hyphens count as underscores.
        find: Finds one's own.

    Returns:
        The criterion.

    Raises:
        InvalidSettings: There is no such criterion, or it has no such option.
    """
    plain, _, written = text.partition("(")
    if ":" in plain and find is not None:
        made = _call(find(plain.strip()), _parsed(f"f({written}" if written else "f", text), text)
        if not isinstance(made, Criterion):
            raise InvalidSettings(f"{text!r} made a {type(made).__name__}, not a stopping criterion")
        return made
    return _read(_parsed(_HYPHEN.sub(lambda found: found[1] or "_", text), text), text)


def factories() -> dict[str, Factory]:
    """Every criterion that can be named.

    Returns:
        Functions to a `Criterion`, by name: all public functions of the modules of criteria.
    """
    return {
        name: thing
        for module in (performance, predictions, uncertainty)
        for name, thing in vars(module).items()
        if isinstance(thing, FunctionType)
        and thing.__module__ == module.__name__
        and not name.startswith("_")
    }


def _parsed(source: str, text: str) -> ast.expr:
    try:
        return ast.parse(source.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        raise InvalidSettings(f"{text!r}: {_GRAMMAR}") from None


def _read(node: ast.expr, text: str) -> Criterion:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd):
        join = any_of if isinstance(node.op, ast.BitOr) else all_of
        return join(_read(node.left, text), _read(node.right, text))
    function = node.func if isinstance(node, ast.Call) else node
    if not isinstance(function, ast.Name):
        raise InvalidSettings(f"{text!r}: {_GRAMMAR}")
    known = factories()
    if function.id not in known:
        meant = "".join(f" (did you mean {n}?)" for n in get_close_matches(function.id, known, 1))
        raise InvalidSettings(
            f"there is no stopping criterion {function.id!r}{meant}; there are {', '.join(known)}, "
            "or package.module:function"
        )
    made: Criterion = _call(known[function.id], node, text)
    return made


def _call(factory: Callable[..., Any], node: ast.expr, text: str) -> Any:
    call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
    try:
        values = [ast.literal_eval(argument) for argument in call.args]
        options = {str(option.arg): ast.literal_eval(option.value) for option in call.keywords}
    except (ValueError, TypeError):
        raise InvalidSettings(f"{text!r}: {_GRAMMAR}") from None
    try:
        inspect.signature(factory).bind(*values, **options)
    except TypeError as error:
        raise InvalidSettings(
            f"{text!r}: {error}; it is {getattr(factory, '__name__', factory)}{inspect.signature(factory)}"
        ) from None
    try:
        return factory(*values, **options)
    except InvalidArgument as error:
        raise InvalidSettings(f"{text!r}: {error}") from None


_HYPHEN = re.compile(r"""('[^']*'|"[^"]*")|(?<=[a-z])-(?=[a-z])""")  # what is quoted stays as it is
_GRAMMAR = "criteria are written as name(option=value, ...), joined by | or &"
