"""The documentation is run: every Python block, and every command and option that it names is there."""

import re
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


def test_the_readme_has_three_short_examples():
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert [len([line for line in block.splitlines() if line.strip()]) <= 15 for block in blocks] == [
        True
    ] * 3


@pytest.mark.parametrize("page", PAGES, ids=path_of)
def test_commands_and_options_exist(page):
    commands = typer.main.get_command(app).commands
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
