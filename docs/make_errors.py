"""Writes docs/errors.md: bad input, and the answer to each, from the cases of the tests (`make docs`)."""

import re
import tempfile
from pathlib import Path

from tests.bad_input import CASES, Case

from baldur.errors import BaldurError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"

INTRO = """# Errors

`make docs` writes this page from the cases of the tests. Each row is an input that cannot be used, and the error that
Baldur gives. `FOLDER` is the folder of the data or of the run.
"""


def answer(case: Case) -> str:
    """The error of a case.

    Args:
        case: The case.

    Returns:
        The class of the error and its message, without the paths of this machine.

    Raises:
        AssertionError: The input was accepted.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            case.act(Path(folder))
        except BaldurError as error:
            message = str(error).replace(folder, "FOLDER").replace(str(Path.cwd()), ".")
            return f"`{type(error).__name__}`: {' '.join(message.split())}"
    raise AssertionError(f"{case.given}: no error")


def page() -> str:
    """The page.

    Returns:
        Markdown.
    """
    lines = [INTRO]
    for heading, cases in CASES.items():
        lines += [f"## {heading}\n", "| input | error |", "|---|---|"]
        for case in cases:
            lines.append(row(case.given, answer(case)))
        lines.append("")
    return "\n".join(lines)


def row(given: str, answer: str) -> str:
    """A row of the table.

    Args:
        given: The input, in words.
        answer: The error.

    Returns:
        Markdown.
    """
    kind, message = answer.split(": ", 1)
    return f"| {given} | {kind}: {_escaped(message)} |"


def _escaped(text: str) -> str:
    return re.sub(r"([|<*_])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
