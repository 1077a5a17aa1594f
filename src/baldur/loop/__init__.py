"""One round: label → fit → measure → choose. Calling it again goes on from what the store holds."""

from baldur.loop.parts import Budget, Event, Measured, Parts
from baldur.loop.rounds import State, advance, mixed
from baldur.loop.stopping import Stopping

__all__ = ["Budget", "Event", "Measured", "Parts", "State", "Stopping", "advance", "mixed"]
