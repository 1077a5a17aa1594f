"""Commands for labelling in files: propose items, and take their labels."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from baldur.cli.app import app, err_console, escaped, in_words, out_console, print_json
from baldur.cli.run import AsJson, RunFolder

REFUSED = 4
"""The exit code if lines were refused, and all others were taken."""

_MOST = 20  # refused lines that are printed


@app.command()
def propose(
    folder: RunFolder,
    count: Annotated[int, typer.Option(help="the number of items")] = 50,
    format: Annotated[str, typer.Option(help="jsonl or csv")] = "jsonl",
    minutes: Annotated[
        float | None, typer.Option(help="how long nobody else gets these items", show_default="60")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="an annotator, who gets the same items until they are answered")
    ] = None,
) -> None:
    """Print the next items to label, and reserve them. Nothing is trained.

    Fill in the labels, and give the file to [bold]baldur ingest[/bold].
    """
    from baldur.runs.propose import check_format, lines_of
    from baldur.runs.propose import propose as propose_
    from baldur.store import Store

    with in_words(), Store.open(folder) as store:
        check_format(format)
        items = propose_(store, count, minutes, by)
        sys.stdout.write(lines_of(items, format))
    if len(items) < count:
        what = "no item is left" if not items else f"only {len(items)} items are left"
        err_console.print(f"{what} that nobody labelled or reserved", highlight=False)


@app.command()
def ingest(
    folder: RunFolder,
    files: Annotated[
        list[Path], typer.Argument(help="CSV, JSON or JSON lines with id and label", show_default=False)
    ],
    by: Annotated[
        str | None, typer.Option(help="the annotator of lines that name none", show_default="your user name")
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


@app.command()
def add(
    folder: RunFolder,
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            help="folders, files or images; none: look where the data of the run are", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add items to a run in which people label. Items that it has already are not added again."""
    import baldur
    from baldur.core.sizes import counted

    with in_words():
        new = baldur.open(folder).add(*(places or ()))
    if as_json:
        print_json({"added": new})
    else:
        first = f", the first {new[0]}" if new else ""
        said = f"{counted(len(new), 'item')} added{first}"
        out_console.print(escaped(said), highlight=False, soft_wrap=True)
