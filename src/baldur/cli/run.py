"""The command line: each command opens a store and makes one call."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from rich.console import Console

from baldur.cli.app import WAITING, _escaped, _in_words, _print_json, app, out_console
from baldur.errors import InvalidSettings, RunNotFound, SettingsChanged
from baldur.runs import settings as settings_
from baldur.runs.settings import Settings

RunFolder = Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON on standard output")]

# The options of `run` are the fields of the settings; each panel of its help begins at the field named here.
_PANELS = {
    "data_dir": "What there is to label",
    "seeds": "What is compared",
    "learner": "What learns",
    "device": "How it runs",
}


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
    from baldur.cli.live import Live
    from baldur.data.loading import NAMES
    from baldur.runs import run as run_

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
