"""Who answers? Item ids go in; labels, or "not yet", come out."""

from baldur.oracles.file import FileOracle as FileOracle
from baldur.oracles.simulated import Simulated as Simulated
