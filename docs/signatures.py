"""What the source says of a name: where it is defined, its signature, and the first sentence of its docstring.

It is read from the source, so that annotations are as they were written.
"""

import ast
import inspect
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

Definition = ast.FunctionDef | ast.ClassDef | ast.Assign | ast.AnnAssign


@dataclass(frozen=True)
class Found:
    """Where a name is defined.

    Args:
        name: The name there.
        module: The module.
        node: The definition.
        doc: Its docstring, or the text below a constant; empty if there is none.
    """

    name: str
    module: str
    node: Definition
    doc: str


def file_of(module: str) -> Path:
    """The source file of a module of the package.

    Args:
        module: Its full name.

    Returns:
        The path.
    """
    place = ROOT / "src" / Path(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def tree_of(module: str) -> ast.Module:
    """The parsed source of a module.

    Args:
        module: Its full name.

    Returns:
        The syntax tree.
    """
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


def _named(node: ast.stmt) -> str:
    """The name that a statement defines; empty for none, and for the type variables of a module."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar" | "ParamSpec"))):
            return ""
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def defined_in(module: str) -> list[str]:
    """The names without a leading underscore that a module defines itself.

    Args:
        module: Its full name.

    Returns:
        Names, in the order in which they are written.
    """
    names = [_named(node) for node in tree_of(module).body]
    return [name for name in names if name and not name.startswith("_")]


def public_names(module: str) -> list[str]:
    """The names of `__all__`, or those that the module defines if it has none.

    Args:
        module: Its full name.

    Returns:
        Names in alphabetical order from `__all__`, else in the order in which they are written.
    """
    joined: list[str] = []
    for node in tree_of(module).body:
        if _named(node) == "__all__" and isinstance(node, ast.Assign):
            return list(ast.literal_eval(node.value))
        if isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "__all__":  # += part.__all__
            joined += public_names(f"{module}.{ast.unparse(node.value).removesuffix('.__all__')}")
    return joined or defined_in(module)


def find(module: str, name: str) -> Found:
    """Follow imports to the definition of a name.

    Args:
        module: A module that has the name.
        name: The name.

    Returns:
        Its definition.

    Raises:
        LookupError: The package does not define it.
    """
    body = tree_of(module).body
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if _named(node) == name:
            below = isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr)
            told = ast.literal_eval(after.value) if below else ""
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                told = ast.get_docstring(node) or ""
            return Found(name, module, node, inspect.cleandoc(told))
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("baldur"):
            for alias in node.names:
                if alias.name == "*" and name in public_names(node.module or ""):
                    return find(node.module or "", name)
                if name == (alias.asname or alias.name):
                    return find(node.module or "", alias.name)
    raise LookupError(f"{module} has no {name}")


def first_sentence(doc: str) -> str:
    """The first sentence of a docstring, on one line.

    Args:
        doc: The docstring.

    Returns:
        The sentence with its full stop; without one, the first paragraph.
    """
    paragraph = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.) (?=[A-Z`(])", paragraph, maxsplit=1)[0]


# Signatures


class _Shorter(ast.NodeTransformer):
    """Makes annotations readable: shapes instead of jaxtyping, no module before a class, no quotes."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        kind = ast.unparse(node.value).rpartition(".")[2]
        if kind in ("Float", "Int", "Bool", "Shaped", "Num", "Integer") and isinstance(node.slice, ast.Tuple):
            shape = str(ast.literal_eval(node.slice.elts[1])).split()
            axes = ["..." if axis.startswith(("*", "...")) else axis for axis in shape]
            plain = axes != ["..."]
            return ast.Name(f"array ({', '.join(axes)})" if plain else "array")
        if kind in ("NDArray", "ndarray"):
            return ast.Name("array")
        if kind == "Literal":
            return node  # its texts are no types
        if kind == "Annotated" and isinstance(node.slice, ast.Tuple):
            return self.visit(node.slice.elts[0])  # type: ignore[no-any-return]  # the visitor returns what it likes
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return node if ast.unparse(node).startswith(("torch.", "nn.")) else ast.Name(node.attr)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if not isinstance(node.value, str):
            return node
        try:
            return self.visit(ast.parse(node.value, mode="eval").body)  # type: ignore[no-any-return]
        except SyntaxError:
            return node


def shortened(node: ast.expr | None) -> str:
    """An annotation as the page has it.

    Args:
        node: The annotation.

    Returns:
        Text; empty for none.
    """
    if node is None:
        return ""
    return ast.unparse(
        _Shorter().visit(ast.parse(ast.unparse(node), mode="eval").body)
    )  # a copy: it is changed


def _parameter(name: str, annotation: ast.expr | None, default: ast.expr | None) -> str:
    kind = shortened(annotation)
    text = f"{name}: {kind}" if kind and kind != "Any" else name
    if default is None:
        return text
    written = "..." if isinstance(default, ast.Lambda) else ast.unparse(default)
    return f"{text} = {'{}' if written == 'dict()' else written}"


def _parameters(node: ast.FunctionDef, method: bool) -> list[str]:
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    missing: list[ast.expr | None] = [None] * (len(plain) - len(given.defaults))
    pairs = list(zip(plain, [*missing, *given.defaults], strict=True))
    static = any(ast.unparse(d) == "staticmethod" for d in node.decorator_list)
    texts = [_parameter(a.arg, a.annotation, d) for a, d in pairs[1 if method and not static else 0 :]]
    if given.vararg:
        texts.append("*" + _parameter(given.vararg.arg, given.vararg.annotation, None))
    elif given.kwonlyargs:
        texts.append("*")
    texts += [
        _parameter(a.arg, a.annotation, d) for a, d in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    if given.kwarg:
        texts.append("**" + _parameter(given.kwarg.arg, given.kwarg.annotation, None))
    return texts


def signature_of(node: ast.FunctionDef, method: bool = False) -> str:
    """The signature of a function.

    Args:
        node: Its definition.
        method: Whether the first parameter is the object.

    Returns:
        Parameters in brackets, and what is returned.
    """
    returned = shortened(node.returns)
    if node.decorator_list and (steps := re.fullmatch(r"Steps\[(.+)\]", returned)):
        returned = steps[1]  # a `Stepwise` function, which returns what its steps come to
    arrow = f" -> {returned}" if returned not in ("", "None") else ""
    return f"({', '.join(_parameters(node, method))}){arrow}"


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def _field(node: ast.AnnAssign) -> str | None:
    """The parameter that a field of a dataclass is, if it is one."""
    default, name = node.value, ast.unparse(node.target)
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        told = {word.arg: word.value for word in default.keywords}
        if "init" in told:
            return None
        factory = told.get("default_factory")
        default = told.get("default", factory and ast.parse(f"{ast.unparse(factory)}()", mode="eval").body)
    return _parameter(name, node.annotation, default)


def made_by(node: ast.ClassDef) -> str:
    """The signature of a class.

    Args:
        node: Its definition.

    Returns:
        Parameters in brackets; empty for protocols, and for exceptions that take a message.
    """
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            return signature_of(part, method=True)
    if not _is_dataclass(node):
        return ""
    fields = [_field(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    return f"({', '.join(field for field in fields if field and not field.startswith('_'))})"


# Methods


def _bases(found: Found) -> list[Found]:
    """The base classes that the package defines."""
    bases = []
    for base in found.node.bases if isinstance(found.node, ast.ClassDef) else []:
        name = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
        try:
            bases.append(find(found.module, name))
        except LookupError:
            continue  # of another package
    return bases


def methods(found: Found) -> dict[str, tuple[ast.FunctionDef, str]]:
    """The public methods and properties of a class, also those of its bases in the package.

    Args:
        found: A definition.

    Returns:
        By name: the definition, and the docstring, which may be that of a base.
    """
    inherited: dict[str, tuple[ast.FunctionDef, str]] = {}
    for base in reversed(_bases(found)):
        inherited |= methods(base)
    own: dict[str, tuple[ast.FunctionDef, str]] = {}
    for part in found.node.body if isinstance(found.node, ast.ClassDef) else []:
        if isinstance(part, ast.FunctionDef) and (not part.name.startswith("_") or part.name == "__call__"):
            doc = ast.get_docstring(part) or inherited.get(part.name, (part, ""))[1]
            own.setdefault(part.name, (part, doc))  # the first is the property, the next its setter
    return own | {name: method for name, method in inherited.items() if name not in own}
