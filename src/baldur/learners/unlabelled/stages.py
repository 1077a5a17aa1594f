"""One checkpoint slot for two fits, when the second fit needs the first. Any wrapper of a learner may use it."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.errors import DamagedArtefact, InvalidCheckpoint
from baldur.protocols import Checkpoint, Learner, Posterior

_FORMAT = 1


class Stages:
    """A slot for two fits.

    It holds the checkpoint of the current fit and, during the second fit, also the posterior of the first.

    Args:
        slot: The slot; None stores nothing.
        learner: Loads the posterior of the first fit.

    Raises:
        InvalidCheckpoint: The slot holds something else.
    """

    def __init__(self, slot: Checkpoint | None, learner: Learner) -> None:
        self.slot = slot
        self.learner = learner

    def __enter__(self) -> "Stages":
        path = None if self.slot is None else self.slot.latest()
        groups = {} if path is None else _read(path)
        self._temporary = tempfile.TemporaryDirectory()
        self._folder = Path(self._temporary.name)
        self._posterior = groups.get("posterior", {})
        self._found: Path | None = None
        if "fit" in groups:
            self._found = self._folder / "found"
            self._found.write_bytes(groups["fit"]["file"].numpy().tobytes())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._temporary.cleanup()

    def first(self, fit: Callable[[Checkpoint | None], Posterior]) -> Posterior:
        """The posterior of the first fit, either stored or fitted now.

        Args:
            fit: Fits the posterior, given a slot for its checkpoints.

        Returns:
            The posterior.

        Raises:
            InvalidCheckpoint: The stored posterior cannot be loaded.
        """
        if self._posterior:
            folder = self._folder / "posterior"
            for name, content in self._posterior.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.numpy().tobytes())
            try:
                return self.learner.load(folder)
            except DamagedArtefact as error:
                raise InvalidCheckpoint(
                    f"the checkpoint of the first of two fits is damaged: {error}"
                ) from error
        posterior = fit(self._part())
        if self.slot is not None:
            folder = self._folder / "fitted"
            folder.mkdir()
            posterior.save(folder)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            self._posterior = {path.relative_to(folder).as_posix(): _bytes(path) for path in files}
            self._found = None
            self._save(None)
        return posterior

    def second(self) -> Checkpoint | None:
        """The slot of the second fit, after the first.

        Returns:
            The slot, or None if nothing is stored.
        """
        return self._part()

    def _part(self) -> "_StageSlot | None":
        return None if self.slot is None else _StageSlot(self._found, self._save, self._folder / "part")

    def _save(self, part: Path | None) -> None:
        assert self.slot is not None
        groups = {"posterior": self._posterior, "fit": {} if part is None else {"file": _bytes(part)}}
        self.slot.save(lambda path: write_tensors(path, groups, {"format": _FORMAT, "stages": 2}))


class _StageSlot:
    """The slot of one of the two fits."""

    def __init__(self, found: Path | None, keep: Callable[[Path], None], temporary: Path) -> None:
        self.found = found
        self.keep = keep
        self.temporary = temporary

    def latest(self) -> Path | None:
        return self.found

    def save(self, write: Callable[[Path], None]) -> None:
        write(self.temporary)
        self.keep(self.temporary)


def _read(path: Path) -> dict[str, dict[str, Tensor]]:
    try:
        groups, said = read_tensors(path)
        if said["stages"] != 2:
            raise ValueError("it is that of something else")
        return groups if said["format"] == _FORMAT else {}  # written by another version: only time is lost
    except (ValueError, KeyError) as error:
        raise InvalidCheckpoint(
            f"the checkpoint {path} is not one of two fits ({error}); delete it to start the fit anew"
        ) from None


def _bytes(path: Path) -> Tensor:
    return torch.from_numpy(np.fromfile(path, np.uint8))
