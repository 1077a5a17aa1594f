"""The table at the end of a run."""

import io
from typing import TYPE_CHECKING

from baldur.report import findings, wording
from baldur.report.markup import element, join, table
from baldur.report.summary import Row, Summary

if TYPE_CHECKING:
    from rich.console import Console


def print_table(summary: Summary, console: "Console") -> None:
    """Print the table, its explanation, the findings and the notes, in 80 columns.

    Args:
        summary: The numbers.
        console: Where to.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("strategy", overflow="fold")
    for heading in ("seeds", *_targets(summary), "AULC", "last", "AULC − random"):
        shown.add_column(heading, justify="right")
    for row in summary.rows:
        name = row.name if row.name == row.strategy else f"{row.run}/\n{row.strategy}"
        shown.add_row(Text(name), *(Text(cell) for cell in _cells(row)))
    console.print(shown)
    read = [*explanation(summary), ""] if any(row.final for row in summary.rows) else []
    for line in (*read, *findings.findings(summary), *summary.notes):
        console.print(Text(line))


def as_text(summary: Summary) -> str:
    """The table as plain text of 80 columns.

    Args:
        summary: The numbers.

    Returns:
        The text that `print_table` prints.
    """
    from rich.console import Console

    file = io.StringIO()
    print_table(summary, Console(file=file, width=80, color_system=None, legacy_windows=False))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def as_html(summary: Summary) -> str:
    """The table as HTML, for a notebook.

    Args:
        summary: The numbers.

    Returns:
        A table, and what was found in sentences.
    """
    heads = ["strategy", "seeds", *_targets(summary), "AULC", "last", "AULC − random"]
    rows: list[list[str]] = []
    for row in summary.rows:
        cells = [cell.replace("\n", " ") for cell in _cells(row)]
        rows.append([row.name, *cells, *["–"] * (len(heads) - 1 - len(cells))])
    told = [*findings.findings(summary), *summary.notes]
    return join(
        [table("", heads, rows, numbers=range(1, len(heads))), *(element("p", line) for line in told)]
    )


def explanation(summary: Summary) -> list[str]:
    """The explanation of the columns.

    Args:
        summary: The numbers.

    Returns:
        Texts, one for each kind of column.
    """
    lines = []
    name = wording.full_name(summary.metric)
    if summary.targets:
        goals = wording.listed(_targets(summary))
        lines.append(
            f"{goals}: number of labels, initial ones included, when the test {name} first reached this value. "
            "Median and quartiles over seeds. “>n” means that n labels were not enough."
        )
    stretch = f" from {summary.stretch[0]:.0f} to {summary.stretch[1]:.0f} labels" if summary.stretch else ""
    lines.append(
        f"AULC: area under the learning curve{stretch}, given as the mean {name}. "
        "Mean and 95 % interval over seeds."
    )
    return lines


def _targets(summary: Summary) -> list[str]:
    return [wording.target(target, summary.metric) for target in summary.targets]


def _cells(row: Row) -> list[str]:
    """The cells after the name, each of at most two lines: the value, and its interval or spread."""
    if row.final is None:
        return ["0"]
    cells = [str(row.seeds)]
    for reached in row.to_target:
        cells.append(f"{wording.labels(reached.median, reached.end)}\n{findings.quartiles(reached)}")
    cells.append("–" if row.aulc is None else f"{wording.value(row.aulc.mean)}\n{wording.bounds(row.aulc)}")
    spread = "" if row.seeds == 1 else f"± {wording.value(row.final.sd)}"
    cells.append(f"{wording.value(row.final.mean)}\n{spread}")
    compared = row.against_random
    if compared is not None:
        cells.append(f"{wording.signed(compared.difference)}\n{wording.bounds(compared)}")
    return [cell.rstrip("\n") for cell in cells]
