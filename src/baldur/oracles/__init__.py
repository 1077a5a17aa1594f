"""Who answers? Item ids go in; labels, or "not yet", come out."""

from baldur.oracles.crowd import Crowd as Crowd
from baldur.oracles.file import FileOracle as FileOracle
from baldur.oracles.noisy import Noisy as Noisy
from baldur.oracles.noisy import Recorded as Recorded
from baldur.oracles.noisy import confused as confused
from baldur.oracles.noisy import from_people as from_people
from baldur.oracles.noisy import uniform as uniform
from baldur.oracles.simulated import Simulated as Simulated
