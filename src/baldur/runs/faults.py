"""Handles items that become unreadable during a run: leaves them out, or stops with an explanation."""

import threading
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np

from baldur import loop
from baldur.errors import UnreadableItems
from baldur.protocols import View
from baldur.store import ItemRecord, Store, Trial

_SHARE, _FEW = 0.01, 10  # with more unreadable items, the disk is the likely cause


@dataclass
class Faults:
    """The items that were left out so far, for all trials of a run.

    Args:
        store: Records these items.
        message: Called with a message about each item.
    """

    store: Store
    message: Callable[[str], None]
    gone: set[str] = field(init=False)
    _changing: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self.gone = set(self.store.items("quarantined"))

    def advance(self, trial: Trial, parts: loop.Parts, budget: loop.Budget) -> loop.State:
        """Call `loop.advance`. Unreadable unlabelled items are left out, and the phase starts again.

        Args:
            trial: See `loop.advance`.
            parts: See `loop.advance`.
            budget: See `loop.advance`.

        Returns:
            See `loop.advance`.

        Raises:
            UnreadableItems: An unreadable item is labelled or a test item, or there are too many of them.
        """
        while True:
            before = self.gone
            try:
                return loop.advance(trial, self._readable(trial, parts, before), budget)
            except UnreadableItems as error:
                with self._changing:  # trials side by side may meet the same item
                    self._leave_out(error, trial, parts, before)

    def _readable(self, trial: Trial, parts: loop.Parts, gone: Set[str]) -> loop.Parts:
        gone = gone - _asked(trial)
        if not gone:
            return parts
        kept = np.array([i for i, id in enumerate(parts.pool.ids) if id not in gone], np.intp)

        def initial(
            rng: np.random.Generator,
        ) -> Sequence[str]:  # drawn from all items, so that trials stay paired
            return [id for id in parts.initial(rng) if id not in gone]

        stopping = None if parts.stopping is None else replace(parts.stopping, whole=parts.pool)
        return replace(parts, pool=View(parts.pool, kept), initial=initial, stopping=stopping)

    def _leave_out(self, error: UnreadableItems, trial: Trial, parts: loop.Parts, before: Set[str]) -> None:
        where = {id: position for position, id in enumerate(parts.pool.ids)}
        latest, labelled = trial.latest(), _asked(trial)
        needed = next((id for id in error.reasons if id not in where or id in labelled), None)
        if needed is not None:
            what = "is labelled" if needed in labelled else "is a test item"
            why = f"{error.reasons[needed]}. It {what}, so the run cannot continue without it; {_BACK}"
            raise UnreadableItems({needed: why}) from error
        gone = (self.gone & where.keys()) | error.reasons.keys()
        if len(gone) > max(_FEW, _SHARE * len(where)) or error.reasons.keys() <= before:
            self.store.mark_items(ItemRecord(id, where[id]) for id in self.gone & where.keys())
            first = next(iter(error.reasons))
            why = (
                f"{error.reasons[first]}. {len(gone)} items could not be read; check their disk, then {_BACK}"
            )
            raise UnreadableItems({first: why}) from error
        new = {id: why for id, why in error.reasons.items() if id not in self.gone}
        self.gone = self.gone | new.keys()
        self.store.mark_items(
            ItemRecord(id, where[id], state="quarantined", reason=why) for id, why in new.items()
        )
        for id, why in new.items():
            trial.incident(
                0 if latest is None else latest.round, f"{id} could not be read and was left out: {why}"
            )
            self.message(f"left out: {id}: {why}. This run continues without it, even if you repair it")


def _asked(trial: Trial) -> set[str]:
    """Items that a trial needs: the labelled and the requested ones."""
    latest = trial.latest()
    if latest is None:
        return set()
    return {row.item for row in trial.labels()} | set(trial.open_requests(latest.round))


_BACK = "restore it and start the run again. All earlier results are kept"
