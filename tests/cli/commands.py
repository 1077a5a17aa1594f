"""The command line, called from within a test."""

from tests.tiny_runs import QUICK
from typer.testing import CliRunner

from baldur.cli.app import app

OPTIONS = [word for key, value in QUICK.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def baldur(*words):
    """What `baldur WORDS` says; an error that is no sentence is raised."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
