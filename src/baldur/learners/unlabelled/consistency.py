"""Consistency training: the prediction of an unlabelled item must not depend on noise."""

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from baldur.core.networks import call, restore, tensors
from baldur.errors import InvalidArgument
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.adding import Addition, Make
from baldur.learners.unlabelled.pools import Added, Sampler, augmented, changed, without_dropout
from baldur.likelihoods import Likelihood
from baldur.training import Augment, Penalty, Step
from baldur.training.augmentation import weak
from baldur.training.contract import Train


def pi_model(
    learner: Supervised,
    *,
    weight: float = 10.0,
    ramp_up: float = 0.4,
    unlabelled_batch: int | None = None,
    augment: Augment | None = None,
) -> Supervised:
    """Π-model: two predictions of an unlabelled item with different noise and dropout must be the same.

    L = CE + w(s) · 1/(B·C) Σ_u ‖p(· | u') − p(· | u'')‖², w(s) = weight · exp(−5 (1 − min(s / ramp_up, 1))²). Here s is
    the finished share of the steps, and u' and u'' are two noisy versions of u. No gradient flows through p(· | u'').
    (S. Laine and T. Aila, "Temporal ensembling for semi-supervised learning", ICLR 2017; the stopped gradient as in
    Oliver et al., NeurIPS 2018.) With a Gaussian likelihood, the means are compared. Labelled items get the same noise,
    unless the recipe has its own `augment`. All passes are in training mode, so batch normalisation uses the statistics
    of each batch, and its running statistics include the unlabelled items. A step costs two more passes, one of them
    without gradients.

    Args:
        learner: The learner to wrap.
        weight: Weight of the consistency loss after the ramp-up.
        ramp_up: Share of the steps during which this weight grows, from 0 to 1.
        unlabelled_batch: B, the number of unlabelled items in a step; the recipe's batch size by default.
        augment: The noise; `augmentation.weak` by default.

    Returns:
        A learner.

    Raises:
        InvalidArgument: A value is not valid.
    """
    _check(weight, ramp_up, unlabelled_batch)
    noise = augment or weak

    def begin(train: Train) -> Make:
        pool, size = Sampler(train.unlabelled), unlabelled_batch or train.recipe.batch_size

        def penalty(network: nn.Module, step: Step) -> Tensor:
            if not len(pool):
                return step.losses.new_zeros(())
            x = pool.draw(size, step.losses.device)
            with torch.no_grad():
                target = _belief(train.likelihood, call(network, changed(x, noise, step.losses.device)))
            ours = _belief(train.likelihood, call(network, changed(x, noise, step.losses.device)))
            return weight * _ramp(step.share, ramp_up) * functional.mse_loss(ours, target)

        def make(seed: int, network: nn.Module, train: Train) -> Addition:
            pool.suit(network, train, size)
            return Addition(penalty)

        return make

    return learner.but(posterior=Added(learner.posterior, begin), recipe=augmented(learner.recipe, noise))


def mean_teacher(
    learner: Supervised,
    *,
    decay: float = 0.95,
    weight: float = 10.0,
    ramp_up: float = 0.4,
    unlabelled_batch: int | None = None,
    augment: Augment | None = None,
    predict: str = "teacher",
) -> Supervised:
    """Mean teacher: predictions of unlabelled items must agree with the running average of the network's weights.

    θ'_t = α_t θ'_{t−1} + (1 − α_t) θ_t with α_t = min(1 − 1/(t + 1), decay). The loss is that of the Π-model with
    the target p(· | u''; θ'). (A. Tarvainen and H. Valpola, "Mean teachers are better role models", NIPS 2017.) The
    teacher has its own dropout, noise, batch statistics and running statistics. Checkpoints contain its weights. Early
    stopping judges the trained network (the student), and the teacher is always that of the last epoch.

    Args:
        learner: The learner to wrap.
        decay: α of the average. The paper uses 0.99 to 0.999 for tens of thousands of steps; with few labels, a fit has
            only some hundreds.
        weight: Weight of the consistency loss after the ramp-up.
        ramp_up: Share of the steps during which this weight grows, from 0 to 1.
        unlabelled_batch: Unlabelled items a step; the recipe's batch size by default.
        augment: The noise; `augmentation.weak` by default.
        predict: The network of the posterior: "teacher", the average; or "student", the trained network.

    Returns:
        A learner.

    Raises:
        InvalidArgument: A value is not valid.
    """
    _check(weight, ramp_up, unlabelled_batch)
    if not 0 <= decay < 1 or predict not in ("teacher", "student"):
        raise InvalidArgument(
            f"decay is in [0, 1) and predict teacher or student, not {decay} and {predict!r}"
        )
    noise = augment or weak

    def begin(train: Train) -> Make:
        pool, size = Sampler(train.unlabelled), unlabelled_batch or train.recipe.batch_size

        def make(seed: int, network: nn.Module, train: Train) -> Addition:
            pool.suit(network, train, size)
            teacher = _Teacher(network, decay)
            penalty = _taught(teacher, pool, size, noise, train.likelihood, weight, ramp_up)
            return Addition(penalty, teacher, teacher.copy_to if predict == "teacher" else _nothing)

        return make

    return learner.but(posterior=Added(learner.posterior, begin), recipe=augmented(learner.recipe, noise))


def _taught(
    teacher: "_Teacher",
    pool: Sampler,
    size: int,
    noise: Augment,
    likelihood: Likelihood,
    weight: float,
    ramp_up: float,
) -> Penalty:
    def penalty(network: nn.Module, step: Step) -> Tensor:
        device = step.losses.device
        teacher.follow(network)
        if not len(pool):
            with torch.no_grad(), without_dropout(teacher.network):  # for its running statistics
                call(teacher.network, step.x)
            return step.losses.new_zeros(())
        x = pool.draw(size, device)
        with torch.no_grad():
            target = _belief(likelihood, call(teacher.network, changed(x, noise, device)))
        ours = _belief(likelihood, call(network, changed(x, noise, device)))
        return weight * _ramp(step.share, ramp_up) * functional.mse_loss(ours, target)

    return penalty


class _Teacher:
    """The running average of a network's weights; see `AfterEpoch`."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).train()
        self.decay = decay
        self.steps = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Update the average with the weights of the network at the beginning of a step."""
        self.steps += 1
        keep = min(1 - 1 / float(self.steps), self.decay)
        own = dict(self.network.named_parameters())
        for name, weight in network.named_parameters():
            if own[name].device != weight.device:
                self.network.to(weight.device)
                own = dict(self.network.named_parameters())
            own[name].lerp_(weight, 1 - keep)

    def copy_to(self, network: nn.Module) -> None:
        """Copy the average and its running statistics into a network."""
        restore(network, tensors(self.network))

    def __call__(self, network: nn.Module, epoch: int) -> None:
        pass

    def state(self) -> Mapping[str, Tensor]:
        named = {f"teacher.{name}": tensor for name, tensor in tensors(self.network).items()}
        return {**named, "steps": self.steps}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.steps = state["steps"].clone()
        named = {name.removeprefix("teacher."): t for name, t in state.items() if name != "steps"}
        restore(self.network, named)


def _nothing(network: nn.Module) -> None:
    pass


def _belief(likelihood: Likelihood, outputs: Tensor) -> Tensor:
    """Probabilities, or the means of a Gaussian likelihood."""
    told = likelihood.log_probs(outputs, 1)  # (n, C, ...); of numbers (n, 2, K), mean and variance
    return told[:, 0] if likelihood.kind == "gaussian" else told.exp()


def _ramp(share: float, ramp_up: float) -> float:
    return math.exp(-5 * (1 - share / ramp_up) ** 2) if share < ramp_up else 1.0


def _check(weight: float, ramp_up: float, unlabelled_batch: int | None) -> None:
    if weight < 0 or not 0 <= ramp_up <= 1 or (unlabelled_batch is not None and unlabelled_batch < 1):
        raise InvalidArgument(
            f"weight is {weight}, ramp_up {ramp_up} and unlabelled_batch {unlabelled_batch}; they must be at least 0, "
            "in [0, 1], and at least 1"
        )
