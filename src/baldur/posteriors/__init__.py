"""What does the model believe? A fitted network becomes a posterior, which gives functions."""

import copy
from pathlib import Path

from torch import nn

from baldur.errors import DamagedArtefact
from baldur.posteriors._saving import read
from baldur.posteriors.deterministic import Deterministic as Deterministic
from baldur.posteriors.ensemble import Ensemble as Ensemble
from baldur.posteriors.ensemble import member_folder, saved_members
from baldur.posteriors.mc_dropout import MCDropout as MCDropout


def load(folder: Path, network: nn.Module) -> MCDropout | Deterministic | Ensemble:
    """Rebuild a saved posterior.

    Args:
        folder: Where `save` wrote it.
        network: The architecture; its weights are overwritten.

    Returns:
        The posterior, whose draws equal those of the saved one.

    Raises:
        DamagedArtefact: A file is missing, cut short or of another network.
    """
    if members := saved_members(folder):
        return Ensemble([load(member_folder(folder, m), copy.deepcopy(network)) for m in range(members)])
    kind = read(folder, network)
    if kind == "mc-dropout":
        return MCDropout(network)
    if kind == "deterministic":
        return Deterministic(network)
    raise DamagedArtefact(
        f"{folder} holds a posterior of the kind {kind!r}, which this version does not know"
    )
