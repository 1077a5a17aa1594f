"""The training loop: fits one network reproducibly, and resumes after a kill.

All randomness of an epoch follows from the seed and the number of the epoch, inside `fork_rng`. So no global random
state changes, and a fit can resume from the weights and the optimiser alone.
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
