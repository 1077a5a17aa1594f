"""The posterior function for the Laplace approximation of the last layer."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from baldur.core.trees import take
from baldur.posteriors.laplace.curvature import Structure, check
from baldur.posteriors.laplace.last_layer import copied, find, linear, weights_of
from baldur.posteriors.laplace.posterior import Laplace, approximate
from baldur.posteriors.network import frozen
from baldur.protocols import Labelled
from baldur.training.contract import Train, TrainingRequest
from baldur.training.stepwise import Steps, Stepwise


@Stepwise
def laplace(
    train: Train,
    labelled: Labelled,
    seed: int,
    *,
    structure: Structure = "kronecker",
    prior_precision: float | None = None,
    temperature: float = 1.0,
    refit: bool = True,
    mean_factor: float | None = None,
) -> Steps[Laplace]:
    """Laplace approximation: one network, and a Gaussian over the weights of its last layer.

    q(W) = N(αW_MAP, (H/τ + δI)⁻¹), where δ maximises the evidence, and α its lower bound.

    The curvature comes from the training items without augmentation and without held-out items. Items have the same
    weights as in training, including class weights. Another loss, or label smoothing, has another mode than the
    likelihood. The trained weights are then used as the mode.

    E. Daxberger et al., Laplace Redux: effortless Bayesian deep learning, NeurIPS 2021.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        structure: The structure of the curvature: "full", "kronecker" or "diagonal".
        prior_precision: Prior precision of each weight; None maximises the marginal likelihood.
        temperature: Temperature of the likelihood; below 1, the data have more weight.
        refit: Whether to move the last layer to the mode of its posterior first, if the recipe trains with the
            likelihood; see `approximate`.
        mean_factor: α. 1 is Laplace's approximation, whose samples miss most of their training labels if these are
            few. None chooses it; see `approximate`.

    Returns:
        A `Laplace`.

    Raises:
        InvalidArgument: An option is not valid.
        UnsupportedNetwork: The last layer is not an `nn.Linear` with unshared weights and one output row per item.
    """
    network = train.build(seed)
    _check(network, train, structure)
    yield TrainingRequest(seed, network)
    x, y, counts = train.data()
    recipe = train.recipe
    own_loss = recipe.loss is not None or recipe.label_smoothing > 0
    return approximate(
        network,
        x,
        y,
        structure=structure,
        prior_precision=prior_precision,
        temperature=temperature,
        likelihood=train.likelihood,
        counts=_balanced(counts, y) if recipe.class_weights else counts,
        refit=refit and not own_loss,
        mean_factor=mean_factor,
    )


def _check(network: nn.Module, train: Train, structure: Structure) -> None:
    """Raise errors before the training that would otherwise come after it."""
    twin, (x, *_) = frozen(network), train.data()
    with suppress(RuntimeError):  # inputs of the wrong form: training says which
        path, _ = find(twin, copied(twin, take(x, slice(0, 4))), train.likelihood)
        check(structure, weights_of(linear(twin, path)))


def _balanced(counts: Tensor, y: Tensor) -> Tensor:
    """Weights of the items that give each class the same weight. Their sum is unchanged."""
    labels = y.cpu()
    each = counts.cpu() / torch.bincount(labels)[labels]
    return each * (counts.sum().cpu() / each.sum())
