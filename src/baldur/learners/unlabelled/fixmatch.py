"""FixMatch: confident predictions for weak augmentations are pseudo-labels for strong ones."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from baldur.core.networks import call
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.adding import Addition, Make
from baldur.learners.unlabelled.pools import (
    Added,
    Sampler,
    augmented,
    changed,
    statistics_kept,
    without_dropout,
)
from baldur.training import Augment, Penalty, Step, augmentation
from baldur.training.contract import Train


def fixmatch(
    learner: Supervised,
    *,
    threshold: float = 0.95,
    weight: float = 1.0,
    ratio: int = 3,
    weak: Augment | None = None,
    strong: Augment | None = None,
) -> Supervised:
    """FixMatch: a confident prediction for a weak augmentation is the pseudo-label of a strong augmentation.

    L = CE + weight · 1/(μB) Σ_u 1[max_c q_u(c) ≥ τ] · −log p(argmax_c q_u(c) | strong(u)), q_u = p(· | weak(u)) without
    gradient; μB = `ratio` times the recipe's batch size, τ = `threshold`. (Sohn et al., "FixMatch: simplifying
    semi-supervised learning with consistency and confidence", NeurIPS 2020; their λ is `weight`.) Labelled items are
    also augmented weakly, unless the recipe has its own `augment`. q_u is computed without dropout. Batch normalisation
    uses the statistics of each batch. Its running statistics include labelled and weakly augmented items, but not
    strongly augmented ones. A step costs 2 · `ratio` more passes, half of them without gradients.

    Args:
        learner: The learner to wrap; each item must have one class.
        threshold: τ, in [0, 1].
        weight: λ.
        ratio: μ, the number of unlabelled items for each labelled item in a step; 7 in the paper.
        weak: Augmentation of these items; `augmentation.weak` by default.
        strong: Augmentation of these items; `augmentation.strong` by default.

    Returns:
        A learner.

    Raises:
        InvalidArgument: A value is not valid.
        Unsupported: The learner's likelihood is not categorical.
    """
    if not 0 <= threshold <= 1 or weight < 0 or ratio < 1:
        raise InvalidArgument(
            f"threshold is {threshold}, weight {weight} and ratio {ratio}; they must be in [0, 1], at least 0 and at "
            "least 1"
        )
    if learner.likelihood.kind != "categorical":
        raise Unsupported(f"FixMatch needs one class an item, not a {learner.likelihood.kind} likelihood")
    weakly, strongly = weak or augmentation.weak, strong or augmentation.strong

    def begin(train: Train) -> Make:
        pool, size = Sampler(train.unlabelled), ratio * train.recipe.batch_size
        penalty = _penalty(pool, size, weakly, strongly, threshold, weight)

        def make(seed: int, network: nn.Module, train: Train) -> Addition:
            pool.suit(network, train, size)
            return Addition(penalty)

        return make

    return learner.but(posterior=Added(learner.posterior, begin), recipe=augmented(learner.recipe, weakly))


def _penalty(
    pool: Sampler, size: int, weak: Augment, strong: Augment, threshold: float, weight: float
) -> Penalty:
    def penalty(network: nn.Module, step: Step) -> Tensor:
        if not len(pool):
            return step.losses.new_zeros(())
        device = step.losses.device
        x = pool.draw(size, device)
        with torch.no_grad(), without_dropout(network):
            sure, labels = call(network, changed(x, weak, device)).float().softmax(1).max(1)  # (n,) each
        with statistics_kept(network):
            outputs = call(network, changed(x, strong, device)).float()  # (n, C)
        losses = functional.cross_entropy(outputs, labels, reduction="none")
        kept: Tensor = losses * (sure >= threshold)
        return weight * kept.mean()

    return penalty
