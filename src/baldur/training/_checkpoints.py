"""The states of several consecutive fits, in one file.

If a fit of many networks is killed, it resumes in the current network, and finished networks are kept.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.errors import InvalidCheckpoint
from baldur.protocols import Checkpoint

_FORMAT = 2
_SHARE = 0.05  # maximum share of the time for saving: five networks with 11 million weights take a second
_REMEDY = "delete it to start the fit anew"


@dataclass(frozen=True)
class State:
    """The state of one fit.

    Args:
        identity: Identifies the fit; all states of a fit have the same identity.
        seed: Seed of the fit.
        done: Whether the fit is finished.
        values: JSON values.
        groups: Tensors by group and name.
    """

    identity: Mapping[str, Any]
    seed: int
    done: bool
    values: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Tensor]]


class Checkpoints:
    """The states of a learner's consecutive fits, in one slot.

    Checkpoints from other versions of Baldur are ignored.

    Args:
        slot: The slot.
        interval: Minimum seconds between two saves; it grows if saving is slow. 0 saves after every epoch.

    Raises:
        InvalidCheckpoint: The content of the slot cannot be read.
    """

    def __init__(self, slot: Checkpoint, interval: float = 10.0) -> None:
        self.slot = slot
        self.interval = interval
        self.path = slot.latest()
        self._states = [] if self.path is None else _read(self.path)
        self._done = 0  # fits that have ended in this process, or were found to have
        self._unsaved = False
        self._saved = time.monotonic()
        self._cost = 0.0  # seconds that the last save took

    def begin(self, identity: Mapping[str, Any], seed: int) -> State | None:
        """The stored state of the next fit. A state with another seed is dropped, with all later ones.

        Args:
            identity: The identity of the fit.
            seed: Seed of the fit.

        Returns:
            The state, or None.

        Raises:
            InvalidCheckpoint: The state belongs to another recipe, network or labelled set.
        """
        if self._done < len(self._states):
            state = self._states[self._done]
            if state.seed != seed:
                del self._states[self._done :]
                return None
            differing = [key for key, value in identity.items() if state.identity.get(key) != value]
            if differing:
                raise InvalidCheckpoint(
                    f"the checkpoint {self.path} has another {' and '.join(differing)}; {_REMEDY}"
                )
            return state
        if self._unsaved and self.due():  # fits of less than an interval add up
            self._write()
        return None

    def due(self) -> bool:
        """Whether it is time for the next save.

        Returns:
            True if a save is due.
        """
        wait = self.interval and max(self.interval, self._cost / _SHARE)
        return time.monotonic() - self._saved >= wait

    def save(self, state: State) -> None:
        """Save the state of the current fit, after the finished ones.

        Args:
            state: The state at the end of an epoch.
        """
        self._states[self._done :] = [state]
        self._write()
        self._states.pop()  # its tensors are those of the network, and will change

    def end(self, state: State) -> None:
        """Store the state of a finished fit; the next save writes it.

        Args:
            state: The state; its tensors are copied.
        """
        if self._done == len(self._states) or not self._states[self._done].done:
            groups = {
                group: {name: tensor.detach().to("cpu", copy=True) for name, tensor in members.items()}
                for group, members in state.groups.items()
            }
            self._states[self._done :] = [replace(state, groups=groups)]
            self._unsaved = True
        self._done += 1

    def _write(self) -> None:
        started = time.monotonic()
        self.slot.save(lambda path: _write(path, self._states))
        self._unsaved = False
        self._saved = time.monotonic()
        self._cost = self._saved - started


def _write(path: Path, states: Sequence[State]) -> None:
    groups = {
        f"{number}.{group}": members
        for number, state in enumerate(states)
        for group, members in state.groups.items()
    }
    fits = [{"identity": s.identity, "seed": s.seed, "done": s.done, "values": s.values} for s in states]
    write_tensors(path, groups, {"format": _FORMAT, "fits": fits})


def _read(path: Path) -> list[State]:
    try:
        tensors, said = read_tensors(path)
        if said["format"] != _FORMAT:
            return []  # written by another version: only time is lost
        groups: list[dict[str, dict[str, Tensor]]] = [{} for _ in said["fits"]]
        for name, members in tensors.items():
            number, _, group = name.partition(".")
            groups[int(number)][group] = members
        return [
            State(fit["identity"], fit["seed"], fit["done"], fit["values"], own)
            for fit, own in zip(said["fits"], groups, strict=True)
        ]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise InvalidCheckpoint(f"the checkpoint {path} cannot be read ({error}); {_REMEDY}") from None
