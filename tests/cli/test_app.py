"""The command line as a whole: help, mistakes, and what is imported."""

import subprocess
import sys

import pytest
from tests.cli.commands import baldur


def test_help_teaches_every_command():
    words = baldur("--help").output
    for command in ("run", "status", "report", "export", "backup", "doctor"):
        assert command in words
        assert "Usage" in baldur(command, "--help").output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "baldur run digits"),
        (["run", "nowhere", "--out", "r"], "nowhere"),
        (["run", "digits", "--strategy", "bold", "--out", "r"], "no strategy 'bold'"),
        (["run", "digits", "--rounds", "-1", "--out", "r"], "rounds"),
        (["run", "--settings", "none.toml", "--out", "r"], "none.toml"),
        (["run", "--out", "none"], "baldur run digits --out none"),
        (["run", "digits", "--strategy", ":foo", "--out", "r"], ":foo"),
        (["run", "digits", "--strategy", ".a:b", "--out", "r"], ".a:b"),
        (["run", "digits", "--first-seed", "9" * 30, "--out", "r"], "first_seed"),
        (["status", "none"], "none"),
        (["doctor", "none"], "none"),
        (["backup", "none"], "none"),
        (["export", "none"], "none"),
        (["report", "none"], "none"),
        (["backup", "--restore", "new", "none.tar"], "none.tar"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    result = baldur(*words)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output


def test_help_imports_nothing_heavy():
    code = "import sys, baldur.cli; print([m for m in ('torch', 'matplotlib', 'sqlalchemy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
