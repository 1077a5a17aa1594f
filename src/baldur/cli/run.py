"""The command `baldur run`: its options are the settings of a run."""

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.console import Console

from baldur.cli import people
from baldur.cli.app import WAITING, app, err_console, escaped, in_words, out_console, print_json
from baldur.errors import InvalidSettings
from baldur.runs import settings as settings_

RunFolder = Annotated[Path, typer.Argument(help="the folder of a run", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON on standard output")]

_PANELS = {
    "data": "Data",
    "compare": "Comparison",
    "learn": "Learning",
    "score": "Scoring",
    "engine": "Computing",
    "people": "Labelling by people",
}
"""A panel of the help for each section of the settings."""

_WRITTEN = {"strategies": "--strategy", "targets": "--target"}
"""Options in the singular: each use adds one value to a setting with several values."""


def _option(name: str, field: FieldInfo, all_shown: bool) -> inspect.Parameter:
    """The option of one setting. Without it, the stored value or the default is used."""
    kind = _kind(field.annotation)
    default = field.default
    told = "" if default in (None, []) or kind is bool else f" [dim]({_plain(default)})[/dim]"
    option = typer.Option(
        _WRITTEN.get(name, "--" + name.replace("_", "-")),
        help=escaped(field.description or "") + told,
        show_default=False,
        hidden=not all_shown and field.json_schema_extra != settings_.COMMON,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _kind(annotation: Any) -> Any:
    """The type of an option: the type of its setting, without None and without constraints."""
    inner = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        return _kind(inner[0])
    if get_origin(annotation) is list:
        return list[str] if _kind(inner[0]) is str else list[float]
    return str if get_origin(annotation) is Literal else annotation


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def with_settings(*sections: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option for each setting. Their values are passed as keyword arguments.

    Args:
        sections: The sections of the settings.

    Returns:
        The decorator.
    """
    return partial(_with_settings, sections=sections)


def _with_settings(command: Callable[..., None], sections: Sequence[str]) -> Callable[..., None]:
    own = inspect.signature(command)
    fixed = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    options = [
        _option(name, field, all_shown=len(sections) == 1)
        for section in sections
        for name, field in settings_.SECTIONS[section].model_fields.items()
        if name != "data"
    ]
    fixed = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in fixed]

    @wraps(command)
    def wrapped(**values: Any) -> None:
        with in_words():
            command(**values)

    wrapped.__signature__ = own.replace(parameters=[*fixed, *options])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in (*fixed, *options)}
    return wrapped


def _help_all(wanted: bool | None) -> None:
    if wanted:
        command = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]  # typer has no types for it
        for parameter in command.params:
            section = settings_.SECTION_OF.get(parameter.name or "")
            if isinstance(parameter, typer.core.TyperOption) and section in _PANELS:
                parameter.hidden = False
                parameter.rich_help_panel = _PANELS[section]
        context = command.make_context("baldur run", [], resilient_parsing=True)
        typer.echo(command.get_help(context))
        raise typer.Exit


class _RunCommand(typer.core.TyperCommand):
    """Explains the common mistake of several values after one option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            message = getattr(error, "message", None)
            if isinstance(message, str) and "unexpected extra argument" in message:
                hint = "An option takes one value; repeat it for more: --strategy random --strategy bald"
                error.message = f"{message}. {hint}"  # type: ignore[attr-defined]  # of an error of the parser
            raise


@app.command(cls=_RunCommand)
@with_settings(*_PANELS)
def run(
    data: Annotated[
        str | None,
        typer.Argument(
            help="digits, mnist, fashion-mnist, cifar10; a folder of images; .npz, .npy, .parquet, .csv or .jsonl",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="the run's folder", show_default="runs/DATA")] = None,
    data_option: Annotated[
        str | None, typer.Option("--data", help="the same as DATA; the new place, if data were moved")
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="a settings.toml; options override it")] = None,
    db: Annotated[
        str | None,
        typer.Option(
            help="keep the run on a server: postgresql://user@host/name; the password may be in PGPASSWORD",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="with --oracle people: the names of the classes, such as owl,tit", show_default=False
        ),
    ] = None,
    help_all: Annotated[
        bool | None, typer.Option("--help-all", callback=_help_all, is_eager=True, help="show all options")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="print only errors")] = False,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Compare strategies: ask for labels, train, test, and choose again.

    To continue a run: [bold]baldur run --out RUN[/bold]. More rounds, seeds or strategies extend it.
    To label data: [bold]baldur run DATA --oracle people --classes owl,tit --out RUN[/bold]. Defaults are in brackets.
    """
    from baldur import report
    from baldur.report.status import how_to_answer
    from baldur.runs import run as run_
    from baldur.runs.folder import settle

    told = settings_.read(settings) if settings else {}
    told |= {key: value for key, value in options.items() if value is not None and value != []}
    if data is not None and data_option not in (None, data):
        raise InvalidSettings(f"two data sets were given, {data!r} and {data_option!r}; give one")
    if data is not None or data_option is not None:
        told["data"] = data_option if data is None else data
    told = resolved(told)
    folder = _folder(out, told)
    console = Console(quiet=True) if quiet or as_json else out_console
    if told.get("oracle") == "people" or _is_of_people(folder, db):
        people.train(folder, db, told, classes, console, as_json)
        raise typer.Exit(WAITING)
    if classes is not None:
        raise InvalidSettings("--classes is for data that people label; add --oracle people, or leave it out")
    settled = settle(told, folder, db)
    if "data" not in told and settled.stored is None:
        raise InvalidSettings(f"there is no run in {folder}, and {_NO_DATA} --out {folder}")
    try:
        with run_.live(settled, folder, console).showing() as observer:
            outcome = run_.start(settled, folder, observer)
    except KeyboardInterrupt:
        _say_open_questions(folder, db)
        raise
    if as_json:
        print_json(
            {"state": outcome.state, "waiting": outcome.waiting, "run": str(folder)}
            | outcome.summary.as_dict()
        )
    elif not quiet:
        report.print_table(outcome.summary, console)
        console.print(f"report: {folder / 'report.html'}", highlight=False, soft_wrap=True, markup=False)
    if outcome.state == "waiting":
        said = f"waiting {outcome.waiting}: {how_to_answer(folder)}"
        console.print(said, highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(WAITING)


def _is_of_people(folder: Path, db: str | None) -> bool:
    """Whether people label in the run in a folder."""
    from baldur.errors import RunNotFound
    from baldur.store import Store

    with suppress(RunNotFound), Store.open(folder, url=db) as store:
        return store.seed is not None
    return False


def _say_open_questions(folder: Path, db: str | None) -> None:
    """What an interrupted run waits for, if a person answers."""
    from baldur import report
    from baldur.errors import RunNotFound
    from baldur.report.status import questions_in_words
    from baldur.store import Store

    with suppress(RunNotFound), Store.open(folder, url=db) as store:
        if said := questions_in_words(report.status(store)):
            err_console.print(said, highlight=False, soft_wrap=True, markup=False)


_NO_DATA = "no data were given; name them, as in: baldur run digits"


def resolved(told: dict[str, Any]) -> dict[str, Any]:
    """Make paths absolute, so that the run can continue from any directory. NAME is a data set, ./NAME a folder.

    Args:
        told: Options by name.

    Returns:
        The options.
    """
    from baldur.data.loading import NAMES

    paths = {
        name: str(Path(value).resolve())
        for name in ("data", "data_dir", "encoder")
        if isinstance(value := told.get(name), str) and Path(value).exists()
    }
    if told.get("data") in NAMES:
        paths.pop("data", None)
    encoder = told.get("encoder")
    if isinstance(encoder, str) and encoder.startswith("hf:") and Path(encoder[3:]).is_dir():
        paths["encoder"] = f"hf:{Path(encoder[3:]).resolve()}"
    return told | paths


def _folder(out: Path | None, told: dict[str, Any]) -> Path:
    if out is not None:
        return out
    if "data" not in told:
        raise InvalidSettings(_NO_DATA)
    return Path("runs") / (Path(str(told["data"])).stem or "run")
