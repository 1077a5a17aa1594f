"""The slot in which a long fit keeps its state."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from baldur.store import artefacts, schema
from baldur.store.database import Database

KIND = "checkpoint"


@dataclass(frozen=True)
class ArtefactCheckpoint:
    """One file that each save replaces whole; it is forgotten when the round's fit ends.

    Args:
        database: The run's.
        trial: The trial's number.
        round: Which round is being fitted.
    """

    database: Database = field(repr=False)
    trial: int
    round: int

    def latest(self) -> Path | None:
        """The newest whole checkpoint.

        A damaged one is never used: it is thrown away, with a warning and an incident; the fit starts over.

        Returns:
            Its file, or None if there is none.
        """
        path, trouble = artefacts.look_up(self.database, self.trial, self.round, KIND)
        if trouble is None:
            return path
        what = f"{path} {trouble}: this checkpoint of round {self.round} was thrown away, the fit starts over"
        with self.database.write() as connection:
            dropped = artefacts.drop(connection, artefacts.matching(self.trial, self.round, KIND))
            connection.execute(schema.incident(self.trial, self.round, what))
        artefacts.remove(self.database.folder, dropped)
        warnings.warn(what, stacklevel=2)
        return None

    def save(self, write: Callable[[Path], None]) -> None:
        """Put a new checkpoint in the place of the last one.

        Args:
            write: Called with the path of a file that it makes.

        Raises:
            DiskFull: There was no room; the last checkpoint is untouched.
        """
        artefacts.keep(self.database, self.trial, self.round, KIND, "", write)
