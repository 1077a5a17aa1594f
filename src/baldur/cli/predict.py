"""The command `baldur predict`: applies a finished model to raw data."""

from pathlib import Path
from typing import Annotated

import typer

from baldur.cli.app import app, err_console, escaped, in_words, out_console, print_json
from baldur.cli.labels import REFUSED
from baldur.cli.run import AsJson

_MOST = 20  # unreadable items that are printed


@app.command()
def predict(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="the folder of a run, or of an exported model", show_default=False
        ),
    ],
    data: Annotated[
        list[str],
        typer.Argument(
            help="images, folders, or .csv, .jsonl, .parquet, .npy or .npz files", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="a .csv, .parquet or .jsonl file", show_default="printed as CSV")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="the model of this strategy, if the run has several")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="the model of this seed, if the run has several")] = None,
    as_json: AsJson = False,
) -> None:
    """Predict the classes of new data with the newest model of a run.

    The data are prepared as those of the run were. Columns are found by their names. A file that cannot be read is
    named, and the exit code is then 4.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from baldur.errors import InvalidArgument
    from baldur.runs.predicting import check_out, model_in, write

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with in_words():
        if out is not None:
            check_out(out, data)
        elif as_json:
            raise InvalidArgument(
                "--json prints a summary; say where to write the predictions, such as --out p.csv"
            )
        model = model_in(folder, strategy, seed)
        with Progress(
            *columns, console=err_console, transient=True, disable=not err_console.is_terminal
        ) as bar:
            task = bar.add_task("reading", total=None)
            done = write(
                model,
                data,
                out,
                progress=lambda name, n, total: bar.update(task, description=name, completed=n, total=total),
            )
    if as_json:
        print_json(
            {
                "out": str(out),
                "items": done.items,
                "classes": done.classes,
                "unreadable": list(done.unreadable),
            }
        )
    elif out is not None:
        each = ", ".join(f"{name} {n:,}" for name, n in done.classes.items() if n)
        said = f"{done.items:,} predictions ({each}): {out}"
        out_console.print(escaped(said), highlight=False, soft_wrap=True)
    if done.unreadable:
        many = len(done.unreadable)
        err_console.print(f"{many:,} {'item' if many == 1 else 'items'} could not be read:", highlight=False)
        for id, why in done.unreadable[:_MOST]:
            err_console.print(escaped(f"  {id}: {why}"), highlight=False, soft_wrap=True)
        if (more := many - _MOST) > 0:
            err_console.print(f"  ... and {more:,} more", highlight=False)
        raise typer.Exit(REFUSED)
