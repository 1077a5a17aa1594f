"""Commands that work on the folder of a run: status, report, export, backup and doctor."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from baldur.cli.app import FAILED, app, escaped, in_words, out_console, print_json
from baldur.cli.run import AsJson, RunFolder
from baldur.errors import InvalidArgument
from baldur.runs import settings as settings_


@app.command()
def status(folder: RunFolder, as_json: AsJson = False) -> None:
    """Show the progress of a run."""
    from baldur import report
    from baldur.store import Store

    with in_words(), Store.open(folder) as store:
        now = report.status(store)
        if as_json:
            print_json(now)
        else:
            report.print_status(now, out_console)


@app.command(name="report")
def report_(
    folders: Annotated[
        list[Path], typer.Argument(help="the folders of one or more runs", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="the page", show_default="RUN/report.html")] = None,
    as_json: AsJson = False,
) -> None:
    """Write one page about one or more runs: curves, labels to target, picks, calibration and time."""
    from contextlib import ExitStack

    from baldur import report
    from baldur.store import Store

    with in_words(), ExitStack() as open_:
        stores = [open_.enter_context(Store.open(folder)) for folder in folders]
        targets = sorted({t for store in stores for t in settings_.from_toml(store.settings).compare.targets})
        page = report.write_html(stores, out or folders[0] / "report.html", targets)
        summary = report.summarise(stores, targets)
        if as_json:
            print_json(summary.as_dict() | {"page": str(page)})
        else:
            for store in stores:
                if store.seed is not None:
                    out_console.print(escaped(str(report.quality_of(store))), highlight=False, soft_wrap=True)
            if any(store.seed is None for store in stores):
                report.print_table(summary, out_console)
            out_console.print(f"report: {page}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def export(
    folder: RunFolder,
    out: Annotated[
        Path | None, typer.Option(help="the folder or file to write to", show_default="RUN/export")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="the labels only: csv, jsonl, parquet, imagefolder, coco or huggingface"),
    ] = None,
    strategy: Annotated[str | None, typer.Option(help="the labels of this strategy")] = None,
    seed: Annotated[int | None, typer.Option(help="the labels of this seed")] = None,
    all_items: Annotated[bool, typer.Option("--all", help="also the items without a label")] = False,
    link: Annotated[bool, typer.Option("--link", help="link images rather than copy them")] = False,
) -> None:
    """Write the labels, the curves, and the final models with their classes and preprocessing.

    With --format, write the labels of one trial for other programs. Without --out, csv and jsonl are printed.
    """
    from baldur import report
    from baldur.store import Store

    with in_words(), Store.open(folder) as store:
        if format is None:
            if strategy is not None or seed is not None or all_items or link:
                raise InvalidArgument(
                    "--strategy, --seed, --all and --link need --format, such as --format csv"
                )
            for path in report.export(store, out or folder / "export"):
                out_console.print(str(path), highlight=False, soft_wrap=True, markup=False)
            return
        from baldur.runs.labelled import export_labels, labelled_items
        from baldur.runs.labelled_tables import write_lines
        from baldur.runs.opened import only

        trial = only(store.trials(), strategy, seed)
        if out is None and format in ("csv", "jsonl"):
            write_lines(labelled_items(store, trial, all_items), sys.stdout, format)
            return
        if out is None:
            raise InvalidArgument(f"{format} is not printed; say where to write it, such as --out labels")
        path = export_labels(store, trial, out, format, all_items, link)
        out_console.print(str(path), highlight=False, soft_wrap=True, markup=False)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="the folder of a run (with --restore: the new one)")],
    archive: Annotated[Path | None, typer.Argument(help="the .tar file", show_default="RUN.tar")] = None,
    restore: Annotated[bool, typer.Option("--restore", help="restore the folder from the file")] = False,
    db: Annotated[
        str | None,
        typer.Option(help="with --restore: keep the run on this server", show_default="in the folder"),
    ] = None,
) -> None:
    """Save a run to one file, even while it is running, or restore it from such a file."""
    from baldur import store as store_

    # "." and ".." have no name of their own
    whole = folder.resolve() if folder.name in ("", "..") else folder
    path = archive or whole.parent / f"{whole.name}.tar"
    with in_words():
        if restore:
            store_.restore(path, folder, url=db)
            out_console.print(f"restored {folder} from {path}", highlight=False, soft_wrap=True, markup=False)
        else:
            with store_.Store.open(folder, url=db) as store:
                store.backup(path)
            out_console.print(f"saved {whole} to {path}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def doctor(folder: RunFolder, as_json: AsJson = False) -> None:
    """Check the database and every file of a run, and explain how to repair them."""
    from baldur import store as store_

    with in_words():
        findings = store_.doctor(folder)
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        colours = {"ok": "green", "warning": "yellow", "error": "bold red"}
        for finding in findings:
            out_console.print(
                f"[{colours[finding.level]}]{finding.level:>7}[/]  {escaped(finding.what)}", highlight=False
            )
            if finding.mend:
                out_console.print(f"         {escaped(finding.mend)}", highlight=False)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FAILED)
