"""The documentation is run: every Python block, and every command and option that it names is there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from baldur.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted((ROOT / "src" / "baldur").rglob("README.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *FOLDERS]


def path_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


BLOCKS = [
    pytest.param(block, id=f"{path_of(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("code", BLOCKS)
def test_python_blocks_run(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "documentation", "exec"), {"__name__": "documentation"})


def test_the_readme_has_four_short_examples():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [len([line for line in block.splitlines() if line.strip()]) <= 15 for block in blocks] == [
        True
    ] * 4


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_commands_and_options_exist(page):
    commands = typer.main.get_command(app).commands
    unknown = set(re.findall(r"`baldur ([a-z]+)", page.read_text())) - commands.keys()
    assert not unknown, unknown
    for command, rest in re.findall(r"`(?:make|baldur) ?([a-z]+)?([^`]*)`", page.read_text()):
        if command in commands:
            known = {option for parameter in commands[command].params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", rest)) <= known | {"--help"}, (command, rest)
    options = {o for c in commands.values() for p in c.params for o in p.opts} | {"--help", "--version"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text()))
    assert named <= options, named - options


def test_files_that_are_named_exist():
    for page in PAGES:
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / link).exists(), (page.name, link)


@pytest.mark.parametrize("page", FOLDERS, ids=path_of)
def test_modules_that_the_page_of_a_folder_names_exist(page):
    named = re.findall(r"`([\w/]+\.py)`", page.read_text())
    assert named
    assert [name for name in named if not (page.parent / name).exists()] == []


def dotted_names():
    """The names such as `learners.ceal` in the text of all pages, with the pages."""
    found = {}
    for page in [ROOT / "CONTRIBUTING.md", *PAGES]:
        text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
        for code in re.findall(r"`([^`]+)`", text):
            name = re.match(r"(baldur\.)?([a-z_]+)((?:\.\w+)+)(?=$|\()", " ".join(code.split()))
            if name and name.group(2) in PARTS and not name.group().endswith((".py", ".html")):
                found.setdefault(name.group(), []).append(path_of(page))
    return found


PARTS = {path.stem for path in (ROOT / "src" / "baldur").iterdir() if path.stem[0] != "_"}
RESOLVE = """
import importlib, json, sys
import baldur
from baldur import acquire, data, evaluate, learners, networks, posteriors, protocols, score, select, strategies

def exists(name):
    first, *rest = name.removeprefix("baldur.").split(".")
    found = importlib.import_module(f"baldur.{first}")
    for number, part in enumerate(rest, 1):
        if not hasattr(found, part) and name.startswith("baldur."):  # a module, by its whole path
            importlib.import_module(".".join(["baldur", first, *rest[:number]]))
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True

print(json.dumps([name for name in json.loads(sys.argv[1]) if not exists(name)]))
"""


def test_names_in_the_text_exist_as_they_are_written():
    """`learners.ceal` after `from baldur import learners`, in a process that imported nothing else."""
    found = dotted_names()
    asked = [
        sys.executable,
        "-c",
        RESOLVE,
        json.dumps(sorted(found, key=lambda name: (name.startswith("baldur."), name))),
    ]
    said = subprocess.run(asked, capture_output=True, check=True, text=True).stdout
    missing = {name: found[name] for name in json.loads(said) if name not in OF_EARLIER_VERSIONS}
    assert missing == {}


OF_EARLIER_VERSIONS = {"learners.swag"}
"""What the page of the architecture says had another place."""
