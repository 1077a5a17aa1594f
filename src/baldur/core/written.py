"""Names and calls written as text, as in "swag(rank=10)": parsed, looked up, and checked before any call."""

import ast
import importlib
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt

from baldur.errors import InvalidSettings

NAMED = ("each",)
"""Options whose values are names of functions."""

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_QUOTES, _OPEN, _CLOSE = "'\"", "([{", ")]}"


def split(text: str, at: str) -> list[str]:
    """Split a text at a character, except inside brackets and quotes.

    Args:
        text: The text.
        at: The character.

    Returns:
        The parts, without spaces around them.
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in _QUOTES:
            quote = letter
        else:
            depth += (letter in _OPEN) - (letter in _CLOSE)
        if letter == at and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


class Named(str):
    """A name without quotes in the place of a value, such as margin in two_stage(then=margin)."""


def call_of(text: str, what: str, names: bool = False) -> tuple[str, list[Any], dict[str, Any]]:
    """Parse a written call such as "budget(500)" or "swag(rank=10)".

    Args:
        text: A name, with or without values and options in brackets.
        what: The kind of thing that the name stands for, used in the error message.
        names: Whether a value may be a name, with or without options in brackets.

    Returns:
        The name, the positional values, and the values by option.

    Raises:
        InvalidSettings: It is not written as name(value, option=value, ...).
    """
    name, brackets, written = text.partition("(")
    try:
        call = ast.parse(f"f({written}" if brackets else "f()", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise ValueError
        if any(option.arg is None for option in call.keywords):
            raise ValueError
        values = [_value(value, names) for value in call.args]
        options = {str(option.arg): _value(option.value, names) for option in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError):
        raise InvalidSettings(f"{text!r}: {_written_as(what)}") from None
    return name.strip(), values, options


def _value(node: ast.expr, names: bool) -> Any:
    named = node.func if isinstance(node, ast.Call) else node
    if names and isinstance(named, ast.Name):
        return Named(ast.unparse(node))
    return ast.literal_eval(node)


def options_of(name: str, what: str, names: bool = False) -> dict[str, Any]:
    """The options in the brackets after a name.

    Args:
        name: A name such as "swag(rank=10)"; without brackets, it has no options.
        what: The kind of thing that the name stands for, used in the error message.
        names: Whether a value may be a name.

    Returns:
        Values by name of the option.

    Raises:
        InvalidSettings: They are not written as name(option=value, ...).
    """
    _, values, options = call_of(name, what, names)
    if values:
        raise InvalidSettings(f"{name!r}: {_written_as(what)}")
    return options


def _written_as(what: str) -> str:
    return (
        f"options of a {what} are written as name(option=value, ...); "
        "a value is a number, True, False, None or a text in quotes"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like a misspelt one.

    Args:
        name: The misspelt name, with hyphens or underscores.
        known: The right names.

    Returns:
        The nearest name, with hyphens where the misspelt name has hyphens; empty if none is near.
    """
    near = get_close_matches(name.replace("-", "_"), known, 1)
    return (near[0].replace("_", "-") if "-" in name else near[0]) if near else ""


def find(
    text: str, what: str, known: Mapping[str, Any], hint: str = "", names: bool = False
) -> tuple[Any, dict[str, Any]]:
    """Look up the function that a text names, and its options.

    Args:
        text: "swag(rank=10)" or "package.module:function(option=value)"; hyphens count as underscores.
        what: The kind of function, such as "strategy", used in the error message.
        known: The functions of this kind, by name.
        hint: Added to the message if there is no such name.
        names: Whether the value of an option may be a name.

    Returns:
        The function or class, and its options by name. The options are not checked yet.

    Raises:
        InvalidSettings: There is no such function, or the text is not written as name(option=value, ...).
    """
    plain = text.partition("(")[0].strip()
    if ":" in plain:
        return resolve(plain), options_of(text, what, names)
    found = known.get(plain.replace("-", "_"))
    if found is None:
        if "," in plain:
            hint = "give each name on its own: the option several times, or a list in Python"
        elif near := nearest(plain, known):
            hint = f"did you mean {near}?" + (f" Or {hint}" if hint else "")
        listed = f"use one of {', '.join(known)}, or your own package.module:function"
        raise InvalidSettings(f"there is no {what} {plain!r}; {hint or listed}")
    return found, options_of(text, what, names)


def functions_of(*modules: ModuleType) -> dict[str, Any]:
    """The public functions that modules define, by name.

    Args:
        modules: Modules such as `baldur.training.losses`.

    Returns:
        Functions by name, in the order of their definition.
    """
    return {
        name: thing
        for module in modules
        for name, thing in vars(module).items()
        if isinstance(thing, FunctionType)
        and not name.startswith("_")
        and thing.__module__.startswith(module.__name__)
    }


def look_here() -> None:
    """Put the working directory on Python's path, as `python -m` does, so that a user's modules are found."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def resolve(name: str) -> Any:
    """Import the function or class that `package.module:attribute` names.

    Args:
        name: Module and attribute. Modules in the working directory are found, too.

    Returns:
        The function or class.

    Raises:
        InvalidSettings: There is no such module or attribute, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    look_here()
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise InvalidSettings(
            f"{name!r}: {error}; Baldur searched {Path.cwd()} and Python's own path"
        ) from None
    except AttributeError:
        near = nearest(attribute, dir(sys.modules[module])) if module in sys.modules else ""
        hint = f"; did you mean {near}?" if near else ""
        raise InvalidSettings(f"{name!r}: the module {module} has no {attribute!r}{hint}") from None
    if not callable(found):
        raise InvalidSettings(f"{name!r} is a {type(found).__name__}; a function or class was expected")
    return found


def check(name: str, found: Callable[..., Any], given: int, options: Mapping[str, Any]) -> None:
    """Raise an error if a function cannot be called with some options.

    Args:
        name: The name as the user wrote it, used in the error message.
        found: The function or class.
        given: Number of positional arguments before the options.
        options: Options by name.

    Raises:
        InvalidSettings: An option is missing or unknown, is already given by position, or has the wrong type.
    """
    signature = _signature(found)
    if signature is None:
        return
    try:
        signature.bind(*[None] * given, **options)
    except TypeError as error:
        shown = _shown(name, signature, given)
        parameters = list(signature.parameters.values())
        unknown = next((option for option in options if option not in signature.parameters), None)
        if unknown is None or any(one.kind is one.VAR_KEYWORD for one in parameters):
            raise InvalidSettings(f"{name!r}: {error}; write it as {shown}") from None
        near = nearest(unknown, [one.name for one in parameters[given:]])
        hint = f"did you mean {near!r}? Write" if near else "write"
        raise InvalidSettings(f"{name!r}: there is no option {unknown!r}; {hint} it as {shown}") from None
    for option, value in options.items():
        parameter = signature.parameters.get(option)
        if parameter is not None and not fits(value, parameter.annotation):
            raise InvalidSettings(f"{name!r}: {option} must be {_words(parameter.annotation)}, not {value!r}")


def takes(found: Callable[..., Any], given: int, options: Mapping[str, Any] | None = None) -> bool:
    """Whether a function can be called with so many positional arguments and some options.

    Args:
        found: The function or class.
        given: Number of positional arguments.
        options: Options by name.

    Returns:
        True if so, or if Python cannot tell its signature.
    """
    signature = _signature(found)
    if signature is None:
        return True
    try:
        signature.bind(*[None] * given, **options or {})
    except TypeError:
        return False
    return True


def parameters_of(found: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a function or class.

    Args:
        found: The function or class.

    Returns:
        Parameters by name, in order; empty if Python cannot tell its signature.
    """
    signature = _signature(found)
    return {} if signature is None else signature.parameters


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value has an annotated type. If this cannot be decided, the answer is yes.

    Args:
        value: A plain value, or the function that a name stands for.
        annotation: The annotation. An int counts as a float; a bool counts as neither.

    Returns:
        True if the value fits.
    """
    annotation = getattr(annotation, "__value__", annotation)  # the type behind `type X = ...`
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(value, inner[0]) and all(_in_range(value, bound) for bound in inner[1:])
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation in (int, float):
        return isinstance(value, int | annotation) and not isinstance(value, bool)
    if annotation is inspect.Parameter.empty:
        return True
    if (origin or annotation) is Callable:
        return callable(value)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return _row_fits(value, origin, inner)
    try:
        return isinstance(value, origin or annotation)
    except TypeError:  # a string, a type variable, `Any`, a protocol that cannot be looked at, ...
        return True


def _in_range(value: Any, bound: Any) -> bool:
    if isinstance(bound, Ge):
        return bool(value >= bound.ge)
    if isinstance(bound, Gt):
        return bool(value > bound.gt)
    if isinstance(bound, Le):
        return bool(value <= bound.le)
    return not isinstance(bound, Lt) or bool(value < bound.lt)


def _row_fits(value: Any, origin: type, inner: Sequence[Any]) -> bool:
    """Lists and tuples are interchangeable; a text is neither."""
    if not isinstance(value, list | tuple):
        return False
    if origin is tuple and inner[-1:] != (Ellipsis,):
        return len(value) == len(inner) and all(map(fits, value, inner))
    return all(fits(one, inner[0]) for one in value)


def _signature(found: Callable[..., Any]) -> inspect.Signature | None:
    for evaluated in (True, False):
        try:
            return inspect.signature(found, eval_str=evaluated)
        except Exception:  # a user's annotations may be anything, and raise anything
            continue
    return None


def _shown(name: str, signature: inspect.Signature, given: int) -> str:
    """The call as a user can write it: name(option: type = default, ...)."""
    before = [p for p in signature.parameters.values() if p.kind in _PLAIN][:given]
    shown = []
    for option, parameter in signature.parameters.items():
        if parameter in before or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        if option in NAMED and callable(default) and default is not parameter.empty:
            shown.append(f"{option}={default.__name__!r}")
        elif _can_be_written(parameter.annotation):
            plain = parameter.replace(annotation=_without_ranges(parameter.annotation))
            plain = plain if _is_plain(default) else plain.replace(default=parameter.empty)
            shown.append(str(plain).replace("collections.abc.", ""))
    return f"{name.partition('(')[0].strip()}({', '.join(shown)})"


def _without_ranges(annotation: Any) -> Any:
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return reduce(operator.or_, map(_without_ranges, get_args(annotation)))
    return annotation


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _can_be_written(annotation: Any) -> bool:
    """Whether plain values other than None are of this type."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType):
        return any(map(_can_be_written, inner))
    if (get_origin(annotation) or annotation) in (Callable, type):
        return False
    return get_origin(annotation) is not Sequence or all(map(_can_be_written, inner))


def _words(annotation: Any) -> str:
    """A type in plain words."""
    annotation = getattr(annotation, "__value__", annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = " and ".join(filter(None, map(_range_words, inner[1:])))
        return f"{_words(inner[0])} {'of ' * bounds.startswith('at ')}{bounds}".strip()
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(one) for one in inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {len(inner)}" if origin is tuple and inner[-1:] != (Ellipsis,) else "a list"
    said: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    said |= {type(None): "None", typing.Any: "anything"}
    if (origin or annotation) is Callable:
        return "a function"
    return said.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _range_words(bound: Any) -> str:
    if isinstance(bound, Ge):
        return f"at least {bound.ge}"
    if isinstance(bound, Gt):
        return f"greater than {bound.gt}"
    if isinstance(bound, Le):
        return f"at most {bound.le}"
    return f"less than {bound.lt}" if isinstance(bound, Lt) else ""
