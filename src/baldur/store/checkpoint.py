"""The checkpoint of a fit, kept as an artefact."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from baldur.store import artefacts, schema
from baldur.store.database import Database

KIND = "checkpoint"


@dataclass(frozen=True)
class ArtefactCheckpoint:
    """The checkpoint of one fit: each save replaces it whole, and it is deleted when the fit ends.

    Args:
        database: The run's.
        trial: The trial's number.
        round: The round that is fitted.
    """

    database: Database = field(repr=False)
    trial: int
    round: int

    def latest(self) -> Path | None:
        """The newest whole checkpoint.

        A damaged checkpoint is deleted, with a warning and an incident. The fit then starts over.

        Returns:
            Its file, or None if there is none.
        """
        path, trouble = artefacts.look_up(self.database, self.trial, self.round, KIND)
        if trouble is None:
            return path
        what = f"{path} {trouble}. This checkpoint of round {self.round} was deleted, and the fit starts over"
        with self.database.write() as connection:
            dropped = artefacts.drop(connection, artefacts.matching(self.trial, self.round, KIND))
            connection.execute(schema.incident(self.trial, self.round, what))
        artefacts.remove(self.database.folder, dropped)
        warnings.warn(what, stacklevel=2)
        return None

    def save(self, write: Callable[[Path], None]) -> None:
        """Replace the last checkpoint by a new one.

        Args:
            write: Called with the path of the file to write.

        Raises:
            DiskFull: The disk is full; the last checkpoint is unchanged.
        """
        artefacts.keep(self.database, self.trial, self.round, KIND, "", write)
