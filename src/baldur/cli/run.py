"""The command line: each command opens a store and makes one call."""

import inspect
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from rich.console import Console

from baldur import settings as settings_
from baldur.errors import BaldurError, InvalidSettings, RunNotFound, SettingsChanged
from baldur.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Bayesian deep active learning: which examples are worth labelling.\n\n"
    "Try it: [bold]baldur run digits --strategy random --strategy bald --seeds 3 --rounds 10[/bold]",
)
out_console = Console()
err_console = Console(stderr=True)

FAILED, WAITING, INTERRUPTED = 1, 3, 130

RunFolder = Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON on standard output")]

# The options of `run` are the fields of the settings; each panel of its help begins at the field named here.
_PANELS = {
    "data_dir": "What there is to label",
    "seeds": "What is compared",
    "learner": "What learns",
    "device": "How it runs",
}


def _version(wanted: bool | None) -> None:
    if wanted:
        from baldur import __version__

        out_console.print(f"baldur {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = None,
) -> None:
    pass


@contextmanager
def _in_words() -> Iterator[None]:
    """A user's mistake is a sentence and an exit code, never a traceback."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            yield
    except (BaldurError, OSError) as error:
        err_console.print(
            f"[bold red]error:[/bold red] {_escaped(str(error))}", highlight=False, soft_wrap=True
        )
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        err_console.print("stopped. Nothing is lost: the same command goes on from here.", highlight=False)
        raise typer.Exit(INTERRUPTED) from None


def _say_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    err_console.print(f"[yellow]warning:[/yellow] {_escaped(str(message))}", highlight=False, soft_wrap=True)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _option(field: str, annotation: Any, description: str, panel: str) -> inspect.Parameter:
    """The option of one field of the settings; unset means: as the settings file or the default has it."""
    kind = annotation
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if type(None) in get_args(kind):
        (kind,) = (a for a in get_args(kind) if a is not type(None))
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is list:
        (inner,) = get_args(kind)
        kind = list[str] if inner is str else list[float]
    elif get_origin(kind) is Literal:
        kind = str
    default = Settings.model_fields[field].default
    shown = {"strategies": "--strategy", "targets": "--target"}.get(field, "--" + field.replace("_", "-"))
    told = "" if default is None or kind is bool else f" [dim](default: {_plain(default)})[/dim]"
    option = typer.Option(shown, help=_escaped(description) + told, rich_help_panel=panel, show_default=False)
    return inspect.Parameter(
        field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one option for each field of the settings; they arrive as keyword arguments."""
    own = inspect.signature(command)
    fixed = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    panel, options = "What is compared", []
    for name, info in Settings.model_fields.items():
        panel = _PANELS.get(name, panel)
        if name == "strategies":
            panel = "What is compared"
        if name != "data":
            options.append(_option(name, info.annotation, info.description or "", panel))
    fixed = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in fixed]

    @wraps(command)
    def wrapped(**values: Any) -> None:
        with _in_words():
            command(**values)

    wrapped.__signature__ = own.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in (*fixed, *options)}
    return wrapped


@app.command()
@_with_settings
def run(
    data: Annotated[
        str | None,
        typer.Argument(
            help="digits, mnist, fashion-mnist, cifar10, a folder of images (a subfolder a class), an .npz or .npy "
            "file, or a CSV or JSONL manifest (path, label, split, group)",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder", show_default="runs/DATA")] = None,
    settings: Annotated[Path | None, typer.Option(help="a settings.toml; options go before it")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print only errors")] = False,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Learn from few labels: ask, label, train, measure; again and again, and compare the strategies.

    Killed and started again with the same words, it goes on where it stopped; the folder alone is enough:
    [bold]baldur run --out RUN[/bold]; with more [bold]--rounds[/bold], seeds or strategies it becomes longer.
    """
    from baldur import report
    from baldur import run as run_
    from baldur._live import Live
    from baldur.data.loading import NAMES

    told = settings_.read(settings) if settings else {}
    told |= {key: value for key, value in options.items() if value is not None and value != []}
    if data is not None:
        told["data"] = data
    for name in ("data", "data_dir", "encoder"):
        if name == "data" and told.get(name) in NAMES:
            continue  # a folder of that name is ./NAME
        if isinstance(told.get(name), str) and Path(told[name]).exists():
            told[name] = str(Path(told[name]).resolve())  # so that the run goes on from any directory
    folder = _folder(out, told)
    there = (folder / "settings.toml").exists()
    if there and ("data" not in told or (set(told) == {"data"} and out is None)):
        kept = settings_.read(folder / "settings.toml")
        chosen = settings_.create(**kept | told)
        if kept["data"] != chosen.data:
            raise SettingsChanged(
                f"{folder} holds a run on {kept['data']}, not on {chosen.data}; give another --out"
            )
    elif "data" not in told:
        raise InvalidSettings("say what there is to label: baldur run DATA, for instance baldur run digits")
    else:
        chosen = settings_.create(**told)
    console = Console(quiet=True) if quiet or as_json else out_console
    points = len(chosen.strategies) * chosen.seeds * (chosen.rounds + 1)
    live = Live(console, points, _measured(folder))
    with live.showing() as observer:
        outcome = run_.start(chosen, folder, observer)
    if as_json:
        _print_json(
            {"state": outcome.state, "waiting": outcome.waiting, "run": str(folder)}
            | outcome.summary.as_dict()
        )
    elif not quiet:
        report.print_table(outcome.summary, console)
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True, markup=False)
    if outcome.state == "waiting":
        console.print(
            f"waiting {outcome.waiting}: what is asked is in {folder / 'requests.csv'}; write the answers to "
            f"{folder / 'answers.csv'} (columns id, label), then: baldur run --out {folder}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(WAITING)


def _folder(out: Path | None, told: dict[str, Any]) -> Path:
    if out is not None:
        return out
    if "data" not in told:
        raise InvalidSettings("say what there is to label: baldur run DATA, for instance baldur run digits")
    return Path("runs") / (Path(str(told["data"])).stem or "run")


def _measured(folder: Path) -> int:
    """How many points of the curves are there already."""
    from baldur.store import Store

    try:
        with Store.open(folder) as store:
            return len({(m.strategy, m.seed, m.round) for m in store.metrics()})
    except RunNotFound:
        return 0


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, allow_nan=False, default=str) + "\n")


@app.command()
def status(folder: RunFolder, as_json: AsJson = False) -> None:
    """Say how far a run is."""
    from baldur import report
    from baldur.store import Store

    with _in_words(), Store.open(folder) as store:
        now = report.status(store)
        if as_json:
            _print_json(now)
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
    """Draw one page about one or more runs: curves, labels to target, what was picked, calibration, time."""
    from contextlib import ExitStack

    from baldur import report
    from baldur.store import Store

    with _in_words(), ExitStack() as open_:
        stores = [open_.enter_context(Store.open(folder)) for folder in folders]
        targets = sorted({t for store in stores for t in settings_.from_toml(store.settings).targets})
        page = report.write_html(stores, out or folders[0] / "report.html", targets)
        summary = report.summarise(stores, targets)
        if as_json:
            _print_json(summary.as_dict() | {"page": str(page)})
        else:
            report.print_table(summary, out_console)
            out_console.print(f"report: {page}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def export(
    folder: RunFolder,
    out: Annotated[Path | None, typer.Option(help="where to", show_default="RUN/export")] = None,
) -> None:
    """Write the labels, the curve and the final models with their classes and preprocessing."""
    from baldur import report
    from baldur.store import Store

    with _in_words(), Store.open(folder) as store:
        for path in report.export(store, out or folder / "export"):
            out_console.print(str(path), highlight=False, soft_wrap=True, markup=False)


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="the folder of a run (with --restore: the new one)")],
    archive: Annotated[Path | None, typer.Argument(help="the .tar file", show_default="RUN.tar")] = None,
    restore: Annotated[
        bool, typer.Option("--restore", help="the other way: make the folder from the file")
    ] = False,
) -> None:
    """Save a run to one file, also while it goes on; or restore it from there."""
    from baldur import store as store_

    # "." and ".." have no name of their own
    whole = folder.resolve() if folder.name in ("", "..") else folder
    path = archive or whole.parent / f"{whole.name}.tar"
    with _in_words():
        if restore:
            store_.restore(path, folder)
            out_console.print(f"restored {folder} from {path}", highlight=False, soft_wrap=True, markup=False)
        else:
            with store_.Store.open(folder) as store:
                store.backup(path)
            out_console.print(f"saved {whole} to {path}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def doctor(folder: RunFolder, as_json: AsJson = False) -> None:
    """Check the database and every file of a run, and say how to mend what is wrong."""
    from baldur import store as store_

    with _in_words():
        findings = store_.doctor(folder)
    if as_json:
        _print_json([finding._asdict() for finding in findings])
    else:
        colours = {"ok": "green", "warning": "yellow", "error": "bold red"}
        for finding in findings:
            out_console.print(
                f"[{colours[finding.level]}]{finding.level:>7}[/]  {_escaped(finding.what)}", highlight=False
            )
            if finding.mend:
                out_console.print(f"         {_escaped(finding.mend)}", highlight=False)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(FAILED)


def main() -> None:
    """Entry point of the `baldur` command."""
    app()
