"""Written names and calls, as in "swag(rank=10)": taken apart, found, and checked before anything is called."""

import ast
import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from baldur.errors import InvalidSettings

NAMED = ("each",)
"""Options whose values are the names of functions."""

_PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_QUOTES, _OPEN, _CLOSE = "'\"", "([{", ")]}"


def split(text: str, at: str) -> list[str]:
    """Cut a text at a character, outside of brackets and quotes.

    Args:
        text: What to cut.
        at: One character.

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


def call_of(text: str, what: str) -> tuple[str, list[Any], dict[str, Any]]:
    """A written call such as "budget(500)" or "swag(rank=10)", taken apart.

    Args:
        text: A name, with or without values and options in brackets.
        what: The kind of thing that it names, for the error.

    Returns:
        The name, the plain values by position, and the plain values by option.

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
        values = [ast.literal_eval(value) for value in call.args]
        options = {str(option.arg): ast.literal_eval(option.value) for option in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError):
        raise InvalidSettings(
            f"{text!r}: options of a {what} are written as name(option=value, ...)"
        ) from None
    return name.strip(), values, options


def options_of(name: str, what: str) -> dict[str, Any]:
    """The options that stand in the brackets after a name.

    Args:
        name: Such as "swag(rank=10)"; without brackets there are none.
        what: What it names, in a message.

    Returns:
        Plain values by name.

    Raises:
        InvalidSettings: They are not written as name(option=value, ...).
    """
    _, values, options = call_of(name, what)
    if values:
        raise InvalidSettings(f"{name!r}: options of a {what} are written as name(option=value, ...)")
    return options


def find(text: str, what: str, known: Mapping[str, Any], hint: str = "") -> tuple[Any, dict[str, Any]]:
    """The function that a written name means, and its options.

    Args:
        text: Such as "swag(rank=10)" or "package.module:function(option=value)"; hyphens count as underscores.
        what: What it names, in a message: "strategy", say.
        known: The functions of the family, by name.
        hint: Added to the message where there is no such name.

    Returns:
        Something that can be called, and options by name. The options are not checked yet.

    Raises:
        InvalidSettings: There is no such function, or the text is not written as name(option=value, ...).
    """
    plain = text.partition("(")[0].strip()
    if ":" in plain:
        return resolve(plain), options_of(text, what)
    found = known.get(plain.replace("-", "_"))
    if found is None:
        near = "".join(f" (did you mean {n}?)" for n in get_close_matches(plain.replace("-", "_"), known, 1))
        listed = f"there are {', '.join(known)}, or package.module:function"
        raise InvalidSettings(f"there is no {what} {plain!r}{near}; {hint or listed}")
    return found, options_of(text, what)


def functions_of(*modules: ModuleType) -> dict[str, Any]:
    """The public functions that modules define: the members of a family, by name.

    Args:
        modules: Such as `baldur.training.losses`.

    Returns:
        Functions by name, in the order in which they are written.
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
    """Let a user's own modules be found in the working directory, as with `python -m`."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def resolve(name: str) -> Any:
    """The function or class that `package.module:attribute` names.

    Args:
        name: Where it is. The working directory counts as a place for packages.

    Returns:
        Something that can be called.

    Raises:
        InvalidSettings: There is no such module or attribute, or it cannot be called.
    """
    module, _, attribute = name.partition(":")
    look_here()
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise InvalidSettings(
            f"{name!r}: {error}; it was looked for in {Path.cwd()} and where Python looks"
        ) from None
    except AttributeError:
        raise InvalidSettings(f"{name!r}: the module {module} has no {attribute!r}") from None
    if not callable(found):
        raise InvalidSettings(f"{name!r} is a {type(found).__name__}, not something that can be called")
    return found


def check(name: str, found: Callable[..., Any], given: int, options: Mapping[str, Any]) -> None:
    """Refuse options with which something cannot be called.

    Args:
        name: As it is written, for the message.
        found: What is to be called.
        given: How many arguments come before the options, by position.
        options: By name.

    Raises:
        InvalidSettings: One is missing, unknown or one of those before; or it is of another type.
    """
    signature = _signature(found)
    if signature is None:
        return
    try:
        signature.bind(*[None] * given, **options)
    except TypeError as error:
        raise InvalidSettings(f"{name!r}: {error}; it is {_shown(name, signature, given)}") from None
    for option, value in options.items():
        parameter = signature.parameters.get(option)
        if parameter is not None and not fits(value, parameter.annotation):
            raise InvalidSettings(f"{name!r}: {option} is {_words(parameter.annotation)}, not {value!r}")


def parameters_of(found: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of what can be called.

    Args:
        found: It.

    Returns:
        By name, in order; none where Python does not know them.
    """
    signature = _signature(found)
    return {} if signature is None else signature.parameters


def fits(value: Any, annotation: Any) -> bool:
    """Whether a written value is of an annotated type; what cannot be told is taken to fit.

    Args:
        value: A plain value, or what a name was turned into.
        annotation: As Python has it; an int passes for a float, and a bool for neither.

    Returns:
        Whether it is.
    """
    annotation = getattr(annotation, "__value__", annotation)  # what `type X = ...` stands for
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return fits(value, inner[0])
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


def _row_fits(value: Any, origin: type, inner: Sequence[Any]) -> bool:
    """A list passes for a tuple and the other way round; a text for neither."""
    if not isinstance(value, list | tuple):
        return False
    if origin is tuple and inner[-1:] != (Ellipsis,):
        return len(value) == len(inner) and all(map(fits, value, inner))
    return all(fits(one, inner[0]) for one in value)


def _signature(found: Callable[..., Any]) -> inspect.Signature | None:
    for evaluated in (True, False):
        try:
            return inspect.signature(found, eval_str=evaluated)
        except Exception:  # one's own annotations may be anything, and raise anything
            continue
    return None


def _shown(name: str, signature: inspect.Signature, given: int) -> str:
    """What a person can write: name(option: type = default, ...)."""
    before = [p for p in signature.parameters.values() if p.kind in _PLAIN][:given]
    shown = []
    for option, parameter in signature.parameters.items():
        if parameter in before or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = parameter.default
        if option in NAMED and callable(default) and default is not parameter.empty:
            shown.append(f"{option}={default.__name__!r}")
        elif _can_be_written(parameter.annotation):
            plain = parameter if _is_plain(default) else parameter.replace(default=parameter.empty)
            shown.append(str(plain).replace("collections.abc.", ""))
    return f"{name.partition('(')[0].strip()}({', '.join(shown)})"


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
    """A type as a person would say it."""
    annotation = getattr(annotation, "__value__", annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(one) for one in inner))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a row of {len(inner)}" if origin is tuple and inner[-1:] != (Ellipsis,) else "a row"
    said: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    said |= {type(None): "None", typing.Any: "anything"}
    if (origin or annotation) is Callable:
        return "something that can be called"
    return said.get(annotation, getattr(annotation, "__name__", str(annotation)))
