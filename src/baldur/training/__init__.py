"""The supervised loop: fits one network, always in the same way, and goes on where it was killed.

All randomness of an epoch derives from the seed and the epoch's number, inside `fork_rng`. So nothing global
changes, and what a fit needs to go on after an epoch is weights and optimiser, but no state of a generator.
"""

from baldur.core.networks import call, initialise, weights_hash
from baldur.training._checkpoints import Checkpoints
from baldur.training.fit import train
from baldur.training.recipe import (
    AfterEpoch,
    Augment,
    Loss,
    Penalty,
    Progress,
    Recipe,
    Schedule,
    Step,
    TrainingResult,
)

__all__ = [
    "AfterEpoch",
    "Augment",
    "Checkpoints",
    "Loss",
    "Penalty",
    "Progress",
    "Recipe",
    "Schedule",
    "Step",
    "TrainingResult",
    "call",
    "initialise",
    "train",
    "weights_hash",
]
