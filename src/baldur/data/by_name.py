"""The columns of a table that a user names: the label, the inputs, texts, and facts about each row."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from baldur.errors import InvalidArgument, InvalidData

FACTS = ("id", "label", "split", "group")
"""Facts about a row, and the names of their columns unless the user gives others."""


class ByName(NamedTuple):
    """The columns that a user names; None takes those of the usual names.

    Args:
        label: The column with the classes.
        text: The column of texts that become inputs.
        inputs: The columns that become inputs.
        id: The column with the unique name of each row.
        split: The column with train, test or val.
        group: The column with the group of each row.
    """

    label: str | None = None
    text: str | None = None
    inputs: tuple[str, ...] | None = None
    id: str | None = None
    split: str | None = None
    group: str | None = None

    @property
    def free(self) -> tuple[str, ...]:
        """The columns of texts that are named."""
        return () if self.text is None else (self.text,)

    @property
    def named(self) -> tuple[str, ...]:
        """The inputs that are named."""
        return (*(self.inputs or ()), *self.free)

    def facts(self, columns: Iterable[str]) -> dict[str, str]:
        """The columns with facts.

        Args:
            columns: The names of all columns.

        Returns:
            The name of the column of each fact that there is.
        """
        own = {fact: self._asdict()[fact] for fact in FACTS}
        taken = {*self.named, *(name for name in own.values() if name is not None)}
        there = set(columns)
        told = {fact: name or fact for fact, name in own.items() if name is not None or fact not in taken}
        return {fact: name for fact, name in told.items() if name in there}

    def left_out(self, columns: Iterable[str]) -> list[str]:
        """The columns that are neither facts nor inputs, because others are named.

        Args:
            columns: The names of all columns.

        Returns:
            Names.
        """
        every = list(columns)
        facts = set(self.facts(every).values())
        others = [name for name in every if name not in facts]
        if self.named:
            return [name for name in others if name not in self.named]
        return [name for name in others if name in FACTS]  # another column is named in their place

    def check(self, columns: Iterable[str], source: str) -> None:
        """Refuse a name that no column has.

        Args:
            columns: The names of all columns.
            source: The name of the data, for the message.

        Raises:
            InvalidData: There is no such column, or one column has two meanings.
        """
        every = list(columns)
        meanings: dict[str, str] = {}
        for what, name in self._each():
            if name not in every:
                near = get_close_matches(name, every, 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise InvalidData(
                    f"{source} has no column {name!r} ({what}={name!r}); it has {', '.join(map(str, every))}{hint}"
                )
            if what in ("inputs", "text") and name in FACTS:
                raise InvalidData(
                    f"{source}: the column {name!r} has the name of a fact about a row; rename it to use it as {what}"
                )
            if meanings.setdefault(name, what) != what:
                raise InvalidData(
                    f"{source}: the column {name!r} is given as {meanings[name]} and as {what}; give one of them"
                )

    def renamed(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """A table, or one of its rows, whose facts have their usual names; columns that are left out are gone.

        Args:
            table: Values by column.

        Returns:
            The values of facts and inputs.
        """
        if not any(self):
            return dict(table)
        facts = {name: fact for fact, name in self.facts(table).items()}
        gone = set(self.left_out(table))
        return {facts.get(name, name): values for name, values in table.items() if name not in gone}

    def options(self) -> str:
        """The names that are given, as options of the command line and of Python."""
        given = [what for what, value in self._asdict().items() if value is not None]
        return f"{', '.join(f'--{what}' for what in given)} ({', '.join(f'{what}=' for what in given)})"

    def notes(self, columns: Iterable[str]) -> list[str]:
        """The columns that are left out because others are named, in a sentence.

        Args:
            columns: The names of all columns.

        Returns:
            One sentence, or none.
        """
        gone = self.left_out(columns)
        return [f"left out: {', '.join(gone)} (other columns are named)"] if gone else []

    def _each(self) -> list[tuple[str, str]]:
        told = [(what, name) for what, name in self._asdict().items() if isinstance(name, str)]
        return told + [("inputs", name) for name in self.inputs or ()]


NO_NAMES = ByName()
"""No column is named."""


def by_name(
    label: Any = None,
    text: Any = None,
    inputs: Any = None,
    id: Any = None,
    split: Any = None,
    group: Any = None,
) -> ByName:
    """The columns that a user names, checked.

    Args:
        label: See `ByName`; the other arguments, too.
        text: A name.
        inputs: A name or several.
        id: A name.
        split: A name.
        group: A name.

    Returns:
        The names.

    Raises:
        InvalidArgument: A value is no name.
    """
    several = None if inputs is None else (inputs,) if isinstance(inputs, str) else tuple(inputs)
    told = ByName(label, text, several or None, id, split, group)
    single = [(what, name) for what, name in told._asdict().items() if what != "inputs"]
    for what, name in [*single, *(("inputs", name) for name in several or ())]:
        if not isinstance(name, str | None) or name == "":
            raise InvalidArgument(f"{what} must be the name of a column, not {name!r}")
    return told
