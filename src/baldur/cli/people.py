"""Runs in which people label, from the command line: they begin, and train once enough labels are new."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from baldur.cli.app import escaped, print_json


def train(
    folder: Path,
    db: str | None,
    told: Mapping[str, Any],
    classes: str | None,
    console: Console,
    as_json: bool,
) -> None:
    """Begin a run in which people label or go on with one, train its model if that is worth it, and say what to do.

    Args:
        folder: The run's folder.
        db: The URL of a database server; None for a database in the folder.
        told: Options by flat name.
        classes: Names of classes, separated by commas; None for those of the run or of the data.
        console: Where to print.
        as_json: Print the status as JSON.
    """
    import baldur
    from baldur import report
    from baldur.runs.live import Live

    options = {name: value for name, value in told.items() if name not in ("data", "oracle")}
    names = None if classes is None else [name.strip() for name in classes.split(",")]
    with Live(console, 0).showing() as observer:
        run = baldur.open(folder, told.get("data"), classes=names, db=db, observer=observer, **options)
        run.train()
    status = run.status()
    if as_json:
        print_json(status | {"quality": vars(run.quality())})
        return
    report.print_status(status, console)
    console.print(escaped(str(run.quality())), highlight=False, soft_wrap=True)
