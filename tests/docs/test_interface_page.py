"""docs/interface.md has every public name, and each other name is said to be internal."""

import ast
import importlib
import inspect
import re

import pytest
from docs.signatures import ROOT, defined_in, find, first_sentence, methods, shortened

from docs import make_interface

SOURCE = ROOT / "src"
LISTED = make_interface.listed()
ON_THE_PAGE = {(found.module, found.name) for _, _, found in LISTED}


def parameters(node, method):
    """The names of a function's parameters, for a method without the object."""
    given = node.args
    named = [*given.posonlyargs, *given.args]
    named = named[1:] if method else named
    others = [arg for arg in (given.vararg, given.kwarg) if arg]
    return {arg.arg for arg in [*named, *given.kwonlyargs, *others]}


def described(doc):
    """The parameters below Args."""
    part = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.cleandoc(doc), re.MULTILINE)
    return set(re.findall(r"^    \*{0,2}(\w+):", part[1], re.MULTILINE)) if part else set()


def is_protocol(node):
    return any("Protocol" in ast.unparse(base) for base in node.bases)


def wanted_of(node):
    """What a docstring has to describe: the parameters of a function or of the making of a class."""
    if isinstance(node, ast.FunctionDef):
        return parameters(node, method=False)
    init = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    if init:
        return parameters(init[0], method=True)
    if not any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return set()
    fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
    given = [field for field in fields if "init=False" not in ast.unparse(field)]
    return {name for name in (ast.unparse(field.target) for field in given) if not name.startswith("_")}


def faults_of(name, found):
    """What a definition's docstring lacks."""
    node = found.node
    if not isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [] if found.doc or found.module.startswith("baldur.strategies") else [f"{name}: no docstring"]
    faults = [] if first_sentence(found.doc).endswith(".") else [f"{name}: no sentence"]
    wanted = wanted_of(node) - ({"at"} if found.module.startswith("baldur.strategies.") else set())
    faults += [f"{name}: {parameter}" for parameter in sorted(wanted - described(found.doc))]
    for method, (definition, doc) in methods(found).items():
        if not first_sentence(doc).endswith("."):
            faults.append(f"{name}.{method}: no sentence")
        if not is_protocol(node) and not definition.decorator_list and ast.get_docstring(definition):
            lacking = parameters(definition, method=True) - described(doc)
            faults += [f"{name}.{method}: {parameter}" for parameter in sorted(lacking)]
    return faults


def declared_internal(readme):
    """The modules that the page of a folder says are internal, and whether every unlisted name is."""
    told = re.search(r"^Internal: (.+?)\.$", readme, re.MULTILINE | re.DOTALL)
    paragraph = " ".join(told[1].split()) if told else ""
    return set(re.findall(r"`(\w+\.py)`", paragraph)), "every name that is not on" in paragraph


def in_internal_folder(path):
    folders = [folder for folder in path.parents if (SOURCE / "baldur") in folder.parents]
    pages = [folder / "README.md" for folder in folders]
    return any("This folder is internal." in page.read_text() for page in pages if page.exists())


def unaccounted(path):
    """What is neither on the page nor said to be internal, in words; empty if all is."""
    module = ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    if (path.stem.startswith("_") and path.stem != "__init__") or in_internal_folder(path):
        return ""
    page = path.parent / "README.md"
    modules, others = declared_internal(page.read_text()) if page.exists() else (set(), False)
    if path.name in modules:
        return ""
    names = defined_in(module)
    missing = [name for name in names if (module, name) not in ON_THE_PAGE]
    if names and len(missing) == len(names):
        return f"{module}: no name is on the page, and {page} does not list it as internal"
    return f"{module}: {', '.join(missing)}" if missing and not others else ""


def test_the_page_is_what_the_code_says():
    assert make_interface.PAGE.read_text(encoding="utf-8") == make_interface.page(), "run `make docs`"


@pytest.mark.parametrize("module", dict.fromkeys(module for module, _, _ in LISTED))
def test_every_name_exists(module):
    place = importlib.import_module(module)
    for name in [name for at, name, _ in LISTED if at == module]:
        assert hasattr(place, name), name


def test_the_docstrings_of_public_names_are_whole():
    assert [fault for _, name, found in LISTED for fault in faults_of(name, found)] == []


def test_every_module_is_on_the_page_or_internal():
    modules = sorted((SOURCE / "baldur").rglob("*.py"))
    assert [told for told in map(unaccounted, modules) if told] == []


def test_modules_that_are_said_to_be_internal_have_no_name_on_the_page():
    for page in (SOURCE / "baldur").rglob("README.md"):
        for module in declared_internal(page.read_text())[0]:
            name = ".".join((page.parent / module).relative_to(SOURCE).with_suffix("").parts)
            assert name not in {at for at, _ in ON_THE_PAGE}, (page, module)


def test_every_setting_and_command_has_a_row():
    rows = re.findall(r"^\| `(.+?)` \|", make_interface.page(), re.MULTILINE)
    settings = {name for section in make_interface.SECTIONS.values() for name in section.model_fields}
    assert settings <= set(rows)
    assert {row.split()[1] for row in rows if row.startswith("baldur ")} == {
        *(
            "run",
            "inspect",
            "predict",
            "propose",
            "ingest",
            "add",
            "status",
            "report",
            "export",
            "backup",
            "doctor",
        )
    }


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        ("Float[Array, 'N T C *spatial']", "array (N, T, C, ...)"),
        ("Shaped[Array, '*shape'] | None", "array | None"),
        ("NDArray[np.float64]", "array"),
        ("'pd.DataFrame'", "DataFrame"),
        ("Literal['mean', 'sum'] | int", "Literal['mean', 'sum'] | int"),
        ("Callable[[int], nn.Module]", "Callable[[int], nn.Module]"),
    ],
)
def test_annotations_are_shortened(annotation, expected):
    assert shortened(ast.parse(annotation, mode="eval").body) == expected


def test_a_name_is_followed_to_its_definition():
    assert find("baldur", "choose").module == "baldur.runs.choosing"
    assert find("baldur.posteriors", "Estimators").module == "baldur.posteriors.estimators.posterior"
    with pytest.raises(LookupError, match=r"baldur\.acquire has no bold"):
        find("baldur.acquire", "bold")
