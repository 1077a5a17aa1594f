"""The command-line application: shared options, messages and exit codes."""

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from baldur.core.threads import never_spin
from baldur.errors import BaldurError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Bayesian active learning: find the examples whose labels help most.\n\n"
    "Try it: [bold]baldur run digits --strategy random --strategy bald --seeds 3 --rounds 10[/bold]",
)
out_console = Console()
err_console = Console(stderr=True)

FAILED, WAITING, INTERRUPTED = 1, 3, 130


def _version(wanted: bool | None) -> None:
    if wanted:
        from importlib.metadata import version

        out_console.print(f"baldur {version('baldur')}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = None,
) -> None:
    pass


@contextmanager
def in_words() -> Iterator[None]:
    """Turn errors of Baldur into a sentence and an exit code, without a traceback. A warning is said once."""
    said: set[str] = set()

    def say_once(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if (text := str(message)) not in said:
            said.add(text)
            err_console.print(f"[yellow]warning:[/yellow] {escaped(text)}", highlight=False, soft_wrap=True)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = say_once
            yield
    except (BaldurError, OSError) as error:
        err_console.print(
            f"[bold red]error:[/bold red] {escaped(str(error))}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        err_console.print(
            "stopped. Nothing is lost: run the same command again to continue.", highlight=False
        )
        raise typer.Exit(INTERRUPTED) from None


def escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")


def main() -> None:
    """Entry point of the `baldur` command."""
    never_spin()  # before any command imports torch
    app()
