"""One network, with Laplace's approximation in its last layer."""

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
) -> Steps[Laplace]:
    """One network, and a Gaussian over its last layer's weights.

    The curvature is that of the training items as they are, without augmentation. What is held out for early
    stopping is not in it. Items count in it as they do in training, class weights included. With a loss of the recipe's
    own or with label smoothing nothing is moved: the trained weights are the mode for that loss, and the likelihood's
    mode would be another.

    E. Daxberger et al., Laplace Redux: effortless Bayesian deep learning, NeurIPS 2021.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        structure: What is kept of the curvature: "full", "kronecker" or "diagonal".
        prior_precision: Of each weight; None for the one that maximises the marginal likelihood.
        temperature: Below 1 the data count for more than they are.
        refit: Move the last layer to the mode of its posterior first, where the recipe trains by the likelihood; see
            `approximate`.

    Returns:
        A `Laplace`.

    Raises:
        InvalidArgument: An option is not valid.
        UnsupportedNetwork: The network's last layer is not an `nn.Linear` of its own weights that gives one answer an
            item.
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
    )


def _check(network: nn.Module, train: Train, structure: Structure) -> None:
    """Refuse before training what would be refused after it."""
    twin, (x, *_) = frozen(network), train.data()
    with suppress(RuntimeError):  # inputs of the wrong form: training says which
        path, _ = find(twin, copied(twin, take(x, slice(0, 4))), train.likelihood)
        check(structure, weights_of(linear(twin, path)))


def _balanced(counts: Tensor, y: Tensor) -> Tensor:
    """How often each item counts where each class counts the same; together as often as before."""
    labels = y.cpu()
    each = counts.cpu() / torch.bincount(labels)[labels]
    return each * (counts.sum().cpu() / each.sum())
