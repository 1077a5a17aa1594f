"""The command `baldur inspect`: says how data are understood, without a run."""

from typing import Annotated, Any

import typer

from baldur.cli.app import app, err_console, escaped, out_console, print_json
from baldur.cli.run import AsJson, resolved, with_settings
from baldur.runs import settings as settings_

_MOST = 5  # items that were left out


@app.command()
@with_settings("data")
def inspect(
    data: Annotated[
        str, typer.Argument(help="what `baldur run` takes: a name, a folder or a file", show_default=False)
    ],
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Show how data are understood: task, classes, inputs, and what is left out and why."""
    from rich.progress import Progress

    from baldur.data.understood import lines, understood
    from baldur.runs.items import read_data

    given = {key: value for key, value in options.items() if value is not None and value != []}
    told = settings_.create(**resolved(given | {"data": data})).data
    with Progress(console=err_console, transient=True, disable=not err_console.is_terminal) as bar:
        task = bar.add_task("reading", total=None)
        dataset = read_data(
            told,
            told.encoder,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )
    if as_json:
        print_json(understood(dataset))
        return
    for line in lines(dataset):
        out_console.print(escaped(line), highlight=False, soft_wrap=True)
    for name, reason in dataset.quarantined[:_MOST]:
        out_console.print(escaped(f"left out: {name}: {reason}"), highlight=False, soft_wrap=True)
    if (more := len(dataset.quarantined) - _MOST) > 0:
        out_console.print(f"... and {more} more items", highlight=False, soft_wrap=True)
