"""Who answers? Item ids go in; labels, or "not yet", come out."""

from baldur.oracles.crowd import Crowd
from baldur.oracles.file import FileOracle
from baldur.oracles.noisy import Noisy, Recorded, confused, from_people, uniform
from baldur.oracles.simulated import Simulated

__all__ = ["Crowd", "FileOracle", "Noisy", "Recorded", "Simulated", "confused", "from_people", "uniform"]
