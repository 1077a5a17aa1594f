"""Writes docs/interface.md: every public name, from the code and its docstrings (`make docs`)."""

import ast
import inspect
from collections.abc import Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from docs.signatures import (
    ROOT,
    Found,
    file_of,
    find,
    first_sentence,
    made_by,
    methods,
    public_names,
    shortened,
    signature_of,
    tree_of,
)

from baldur import strategies
from baldur.cli.app import app
from baldur.runs.settings import ALIASES, SECTIONS

PAGE = ROOT / "docs" / "interface.md"

FRONT: Sequence[tuple[str, Sequence[str]]] = (
    ("baldur.runs.run", ("run",)),
    ("baldur.runs.opened", ("open",)),
    ("baldur.runs.choosing", ("choose",)),
    ("baldur.runs.exported", ("load_model",)),
    ("baldur", ("__version__",)),
)
"""The functions of `import baldur`, and where they are defined."""

OBJECTS: Sequence[tuple[str, Sequence[str]]] = (
    ("baldur.runs.run", ("Outcome",)),
    ("baldur.runs.opened", ("Run",)),
    ("baldur.runs.ingest", ("Ingested", "Refused")),
    ("baldur.protocols", ("Choice",)),
    ("baldur.runs.exported", ("Model",)),
    ("baldur.report", ("Summary", "Row", "ToTarget")),
    ("baldur.runs.observer", ("Observer",)),
    ("baldur.runs.names", ("NetworkFactory",)),
    ("baldur.runs.settings", ("Settings",)),
)
"""The objects that these functions return or take."""

MODULES = (
    "acquire",
    "select",
    "posteriors",
    "posteriors.fit",
    "learners",
    "learners.doubts",
    "score",
    "evaluate",
    "strategies",
    "strategies.recipe",
    "strategies.racing",
    "stopping",
    "data",
    "networks",
    "oracles",
    "training",
    "training.augmentation",
    "training.losses",
    "training.schedules",
    "training.contract",
    "training.stepwise",
    "distributed",
    "protocols",
    "likelihoods",
    "testing",
    "adapters.sklearn",
    "errors",
)
"""The public modules, without the `baldur.` before each."""

INTRO = """# The public interface

Written by `make docs` from the code: change that, not this page.

This page lists every name that you can rely on. All other names are internal and may change at any time: they begin
with an underscore, or they are in a folder whose README says so. Each name has its signature and the first sentence of
its docstring, which has the rest.

`array (N, T, C)` is a NumPy array or a torch tensor of this shape. N are items, T posterior samples, C classes, D
features and k picks.
"""


def listed() -> list[tuple[str, str, Found]]:
    """Every name of the page: the module that a user imports it from, the name, and its definition.

    Returns:
        In the order of the page.
    """
    named = [(module, name) for module, names in (*FRONT, *OBJECTS) for name in names]
    named += [(f"baldur.{m}", name) for m in MODULES for name in public_names(f"baldur.{m}")]
    return [(module, name, find(module, name)) for module, name in named]


def _method(name: str, node: ast.FunctionDef, doc: str) -> str:
    decorators = {ast.unparse(d).rpartition(".")[2] for d in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        head = f"`.{name}: {shortened(node.returns)}`"
    elif name == "__call__":
        head = f"called: `{signature_of(node, method=True)}`"
    else:
        head = f"`.{name}{signature_of(node, method=True)}`"
    return f"  - {head}" + (f": {first_sentence(doc)}" if doc else "")


def entry(name: str, found: Found) -> Iterator[str]:
    """The lines of one name.

    Args:
        name: The name.
        found: Its definition.

    Yields:
        An item of a list; the methods of a class are a list inside it.
    """
    node = found.node
    link = f"[`{name}`](../{file_of(found.module).relative_to(ROOT).as_posix()})"
    if isinstance(node, ast.FunctionDef):
        signature = signature_of(node)
    elif isinstance(node, ast.ClassDef):
        signature = made_by(node)
    elif isinstance(node, ast.AnnAssign):
        signature = f": {shortened(node.annotation)}"
    else:
        typed = isinstance(node.value, ast.Subscript | ast.BinOp)
        signature = f" = {shortened(node.value) if typed else ast.unparse(node.value)}"
    told = f": {first_sentence(found.doc)}" if found.doc else ""
    yield f"- {link}" + (f" `{signature.strip()}`" if signature else "") + told
    for method, (definition, doc) in methods(found).items():
        yield _method(method, definition, doc)


def _module(name: str) -> Iterator[str]:
    full = f"baldur.{name}"
    path = file_of(full).relative_to(ROOT).as_posix()
    yield f"\n## `{full}`\n"
    yield f"{first_sentence(ast.get_docstring(tree_of(full)) or '')} [Source](../{path}).\n"
    if name == "strategies":
        yield from _strategies()
        return
    for public in public_names(full):
        yield from entry(public, find(full, public))


def _strategies() -> Iterator[str]:
    yield "| name | options | picks |\n|---|---|---|"
    for name in strategies.__all__:
        node = find("baldur.strategies", name).node
        options = "`race=None`"  # those that `_by` makes
        if isinstance(node, ast.FunctionDef):
            own = zip(node.args.args[1:], node.args.defaults, strict=True)
            options = ", ".join(f"`{option.arg}={ast.unparse(default)}`" for option, default in own)
        doc = inspect.getdoc(getattr(strategies, name)) or ""
        yield f"| `{name}` | {options} | {first_sentence(doc)} |"


def _kind(annotation: Any) -> str:
    """A type of a setting in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, UnionType):
        return " or ".join("None" if part is NoneType else _kind(part) for part in parts)
    if origin is list:
        return f"list of {_kind(parts[0])}"
    return str(annotation.__name__)


def _settings() -> Iterator[str]:
    path = file_of("baldur.runs.settings").relative_to(ROOT).as_posix()
    written = " and ".join(f"`{alias}` is short for `{name}`" for alias, name in ALIASES.items())
    yield "\n## Settings\n"
    yield (
        "These are the options of `baldur.run` in Python. On the command line they have hyphens: `query_size` is"
        f" `--query-size`. {written}. [Source](../{path}).\n"
    )
    yield "| name | type | default | description |\n|---|---|---|---|"
    for section in SECTIONS.values():
        for name, field in section.model_fields.items():
            told = (field.description or "").replace("|", r"\|")
            yield f"| `{name}` | {_kind(field.annotation)} | `{field.default!r}` | {told} |"


def _commands() -> Iterator[str]:
    path = file_of("baldur.cli").parent.relative_to(ROOT).as_posix()
    yield "\n## Commands\n"
    yield f"`baldur run` has an option for each setting as well. [Source](../{path}).\n"
    yield "| command | options | what it does |\n|---|---|---|"
    settings = {name for section in SECTIONS.values() for name in section.model_fields if name != "data"}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]  # no types
        own = [p for p in command.params if p.name not in settings]
        arguments = " ".join(p.name.upper() for p in own if p.param_type_name == "argument")
        options = ", ".join(f"`{p.opts[0]}`" for p in own if p.param_type_name == "option")
        yield f"| `baldur {name} {arguments}` | {options} | {first_sentence(command.help or '')} |"


def page() -> str:
    """The whole page.

    Returns:
        Markdown.
    """
    lines = [INTRO, "## `import baldur`\n"]
    for module, names in FRONT:
        lines += [line for name in names for line in entry(name, find(module, name))]
    lines += ["\nThe modules `" + "`, `".join(_at_the_front()) + "` are there after `import baldur`, too."]
    lines += ["Import the others by their path.\n", "## The objects that these functions return and take\n"]
    for module, names in OBJECTS:
        lines += [line for name in names for line in entry(name, find(module, name))]
    for name in MODULES:
        lines += _module(name)
    lines += [*_settings(), *_commands()]
    return "\n".join(lines) + "\n"


def _at_the_front() -> list[str]:
    named = public_names("baldur")
    return [name for name in MODULES if name in named]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
