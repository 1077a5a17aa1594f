"""Trains several networks of a learner, at once if possible."""

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from baldur.core.seeds import derive
from baldur.protocols import Batch
from baldur.training import Recipe, TrainingResult
from baldur.training._stack import pays
from baldur.training.contract import Together, TrainingRequest
from baldur.training.stacked import CannotStack, train_stacked


def worth_waiting(first: TrainingRequest, how: Together, recipe: Recipe) -> bool:
    """Whether to wait for more networks, to train them together with the first.

    Args:
        first: The request for the first network.
        how: "stacked" waits if stacking is possible; "auto" only if it is also faster.
        recipe: The learner's recipe.

    Returns:
        True if the networks are to be trained together.
    """
    if how == "turn" or not _plain(first, how):
        return False
    return how == "stacked" or pays(first.network, first.recipe or recipe)


def at_once(
    requests: Sequence[TrainingRequest], how: Together, x: Batch, y: Tensor, *, recipe: Recipe, **about: Any
) -> list[TrainingResult] | None:
    """Train several networks at once, in place.

    Args:
        requests: The requests for all networks.
        how: The user's choice.
        x: Inputs.
        y: Labels.
        recipe: The learner's recipe.
        about: Further arguments of `train_stacked`.

    Returns:
        The results; None if the networks must be trained one after the other.
    """
    recipes = [one.recipe or recipe for one in requests]
    if not all(_plain(one, how) for one in requests):
        return None
    if any(own != recipes[0] for own in recipes):
        _say_in_turn(how, "they have other recipes")
        return None
    networks = [one.network for one in requests]
    seeds = [derive(one.seed, "training") for one in requests]
    try:
        return train_stacked(networks, x, y, recipe=recipes[0], seeds=seeds, **about)
    except CannotStack as error:
        _say_in_turn(how, str(error))
        return None


def _plain(request: TrainingRequest, how: Together) -> bool:
    """Whether the training has no penalty and no watcher."""
    plain = request.penalty is None and request.after_epoch is None
    if not plain:
        _say_in_turn(how, "something is added to their training")
    return plain


def _say_in_turn(how: Together, reason: str) -> None:
    if how == "stacked":
        warnings.warn(f"the members are trained in turn, not stacked: {reason}", stacklevel=2)
