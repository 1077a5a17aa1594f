"""Commands that take labels into a run from files."""

from pathlib import Path
from typing import Annotated

import typer

from baldur.cli.app import app, err_console, escaped, in_words, out_console, print_json
from baldur.cli.run import AsJson, RunFolder

REFUSED = 4
"""The exit code if lines were refused, and all others were taken."""

_MOST = 20  # refused lines that are printed


@app.command()
def ingest(
    folder: RunFolder,
    files: Annotated[
        list[Path], typer.Argument(help="CSV, JSON or JSON lines with id and label", show_default=False)
    ],
    by: Annotated[
        str | None, typer.Option(help="the annotator of lines that name none", show_default="person")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take labels from files. Lines that do not fit are named and kept apart, and the rest is taken.

    A file may be given again, and adds only what is new. Another answer of the same annotator is a correction.
    """
    from baldur.runs.ingest import ingest as ingest_
    from baldur.store import Store

    with in_words(), Store.open(folder) as store:
        done = ingest_(store, files, by)
    for note in done.notes:
        err_console.print(escaped(note), highlight=False, soft_wrap=True)
    if as_json:
        counts = {
            "taken": dict(done.taken),
            "there": done.there,
            "refused": [one.reason for one in done.refused],
        }
        print_json(counts | {"kept": done.kept})
    else:
        out_console.print(escaped(f"{done}{':' if done.refused else ''}"), highlight=False, soft_wrap=True)
        for one in done.refused[:_MOST]:
            out_console.print(escaped(f"  {one.reason}"), highlight=False, soft_wrap=True)
        if (more := len(done.refused) - _MOST) > 0:
            out_console.print(f"  ... and {more} more", highlight=False)
        if done.kept is not None:
            out_console.print(f"refused lines: {done.kept}", highlight=False, soft_wrap=True, markup=False)
    if done.refused:
        raise typer.Exit(REFUSED)
