"""Holds Baldur's functions to their annotations while tests run: arrays to types and shapes, all else to its type.

jaxtyping has such an import hook, but it wraps every function, and those inside functions at each call. That took
half the time of the tests. Here a function without arrays gets the cheap check alone, and inner functions get none.
"""

import ast
import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, get_args

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, jaxtyped

PACKAGE = "baldur"
_check: Callable[[Any], Any] = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=TypeError))


def checked(thing: Any) -> Any:
    """A function that checks what it is given and what it returns; a data class that does so when it is made."""
    if isinstance(thing, type):
        if dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
            thing.__init__ = checked(thing.__init__)
        return thing
    hints = list(thing.__annotations__.values())
    if any(map(_is_of_arrays, hints)):
        return jaxtyped(thing, typechecker=_check)
    # In quotes stands what is defined later, or imported for type checkers alone.
    return thing if any(isinstance(hint, str) for hint in hints) else _plainly(thing)


def _plainly(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with a check of types, which the same setting turns off as that of arrays."""
    with_check, settings = _check(function), jaxtyping.config

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return (function if settings.jaxtyping_disable else with_check)(*args, **kwargs)

    return called


def _is_of_arrays(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(map(_is_of_arrays, get_args(hint)))


class _Decorating(ast.NodeTransformer):
    """Puts `checked` on each function of a module and each method and data class, and on nothing inside functions."""

    def visit_Module(self, node: ast.Module) -> ast.Module:
        self.generic_visit(node)
        first = next((i for i, child in enumerate(node.body) if not _begins_a_module(child)), len(node.body))
        node.body.insert(first, ast.Import([ast.alias(__name__)]))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list.append(_decorator(node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.decorator_list.insert(0, _decorator(node))
        return node


def _begins_a_module(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) or (isinstance(node, ast.ImportFrom) and node.module == "__future__")


def _decorator(node: ast.AST) -> ast.expr:
    expression = ast.parse(f"{__name__}.{checked.__name__}", mode="eval").body
    for part in ast.walk(expression):
        ast.copy_location(part, node)
    return expression


class _Loader(SourceFileLoader):
    def path_stats(self, path: str) -> Any:
        raise OSError("code with checks is not kept beside the code without")

    def source_to_code(self, data: Any, path: Any, *, _optimize: int = -1) -> Any:
        tree = ast.fix_missing_locations(_Decorating().visit(ast.parse(data)))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class _Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != PACKAGE and not name.startswith(f"{PACKAGE}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Check every module of the package that is imported from now on."""
    if _Finder not in sys.meta_path:
        assert PACKAGE not in sys.modules, "it is too late: the package is imported"
        sys.meta_path.insert(0, _Finder)
