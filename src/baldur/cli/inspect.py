"""The command `baldur inspect`: says how data are understood, without a run."""

from typing import Annotated, Any

import typer

from baldur.cli.app import app, escaped, out_console, print_json
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
    from baldur import data as data_sets
    from baldur.data.understood import lines, understood

    given = {key: value for key, value in options.items() if value is not None and value != []}
    told = settings_.create(**resolved(given | {"data": data})).data
    dataset = data_sets.load(
        told.data,
        data_dir=told.data_dir,
        image_size=told.image_size,
        test_fraction=told.test_fraction,
        encoder=told.encoder,
        missing=told.missing,
        task=told.task,
        standardise=told.scaling == "standardise",
        layout=told.layout,
        reading=told.reading,
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
