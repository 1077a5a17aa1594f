"""The states of fits that follow each other, in one file.

A fit of many networks that is killed goes on in the network where it was, with those before it intact.
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
_SHARE = 0.05  # of the time, at most, goes into saving: five networks of 11 million weights take a second
_REMEDY = "delete it, and the fit begins anew"


@dataclass(frozen=True)
class State:
    """What one fit needs to go on, or to be taken as done.

    Args:
        identity: What another state must agree with to be one of the same fit.
        seed: Seed of the fit.
        done: Whether it has ended.
        values: Numbers, as JSON has them.
        groups: Tensors by group and name.
    """

    identity: Mapping[str, Any]
    seed: int
    done: bool
    values: Mapping[str, Any]
    groups: Mapping[str, Mapping[str, Tensor]]


class Checkpoints:
    """The states of a learner's fits, one after the other, in one slot.

    What another version of the library wrote is passed over.

    Args:
        slot: Where they are kept.
        interval: Minimum seconds between two saves, more where saving takes long; 0 saves after every epoch.

    Raises:
        InvalidCheckpoint: What the slot holds cannot be read.
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
        """The state that the next fit was left in. One of another seed is dropped with all that follow.

        Args:
            identity: Of the fit.
            seed: Seed of the fit.

        Returns:
            The state, if there is one.

        Raises:
            InvalidCheckpoint: The fit was one of another recipe, network or labelled set.
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
        """Write the state of the fit that is going on, after those of the ended ones.

        Args:
            state: At the end of an epoch.
        """
        self._states[self._done :] = [state]
        self._write()
        self._states.pop()  # its tensors are those of the network, and will change

    def end(self, state: State) -> None:
        """Keep the state of a fit that has ended; the next save writes it.

        Args:
            state: Its tensors are copied.
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
            return []  # of another version: nothing but time is lost
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
