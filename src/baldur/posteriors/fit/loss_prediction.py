"""Learning loss: an additional module learns to predict the loss of the network.

D. Yoo and I. S. Kweon, "Learning loss for active learning", CVPR 2019.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from baldur.core.devices import seeded
from baldur.core.networks import bound, call, device_of
from baldur.core.seeds import derive
from baldur.core.trees import place, take
from baldur.errors import InvalidArgument, Unsupported
from baldur.posteriors.fit.dropout import deterministic
from baldur.posteriors.fit.ensembles import EnsembleFitting
from baldur.posteriors.learning_loss import LearningLoss, LossModule, maps_of, pooled, tapped
from baldur.protocols import Batch, Labelled
from baldur.training import AfterEpoch, Penalty, Recipe, Step
from baldur.training.contract import Fitting, Train, WrappingTrain

_MOST = 4
_SEVERAL = (
    "learning_loss watches one network; for several, make each of them one: ensemble(each=learning_loss)"
)


def learning_loss(
    train: Train,
    labelled: Labelled,
    seed: int,
    *,
    layers: Sequence[str] | None = None,
    width: int = 128,
    margin: float = 1.0,
    weight: float = 1.0,
    stop: float = 0.6,
    each: Fitting = deterministic,
) -> LearningLoss:
    """Learning loss: a posterior with a module, trained with its network, that predicts the loss of each item.

    Adds λ (2/B) Σ max(0, ξ - sign(l_i - l_j)(l̂_i - l̂_j)) to the loss of a batch. The sum is over B/2 disjoint pairs
    (i, j). Here l are the losses of the items, used as constants, and l̂ is the `LossModule` of the network's feature
    maps. The module learns only the order of the losses, because their scale falls during training. Pairs with equal
    losses are skipped, and so is the last item of an odd batch. (Yoo & Kweon, CVPR 2019.)

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        layers: Names of the modules whose outputs are the feature maps. By default, the last module with each number of
            channels, and of these the last four, as listed in `posterior.layers`. For a ResNet, these are its stages.
        width: Units of the module for each map.
        margin: ξ.
        weight: λ.
        stop: Share of the training after which the module no longer changes the network.
        each: The posterior function of the network. It must use one network, and run it once for each batch.

    Returns:
        The posterior. Its draws have the additional output "loss", which the strategy `learning_loss` needs.

    Raises:
        InvalidArgument: A value is not valid.
        Unsupported: The network has no such layers, or there are several networks.
    """
    if width < 1 or margin < 0 or weight < 0 or not 0 <= stop <= 1:
        raise InvalidArgument(
            f"width {width} must be at least 1, margin {margin} and weight {weight} not negative, and stop {stop} "
            "a share"
        )
    if layers is not None and not layers:
        raise InvalidArgument("give at least one layer, or leave layers unset")
    if isinstance(each, EnsembleFitting):
        raise Unsupported(_SEVERAL)

    def penalty(watched: "Watched", step: Step) -> Tensor:
        predicted = watched.predict(constant=step.share >= stop)
        if len(predicted) != len(step.losses):
            raise Unsupported(
                f"losses are learnt of whole batches, and the posterior function runs {len(step.losses)} items as "
                f"parts, the last of {len(predicted)}; with bayes_by_backprop take draws=1"
            )
        return weight * ranking(predicted, step.losses.detach(), margin)

    watching = _Watching(train, layers, width, penalty)
    posterior = each(watching, labelled, seed)
    if watching.watched is None:
        raise Unsupported("the posterior function trained no network, so there is no loss to learn")
    return LearningLoss(posterior, watching.watched.module, watching.watched.layers)


def ranking(
    predicted: Float[Tensor, " n"], losses: Float[Tensor, " n"], margin: float = 1.0
) -> Float[Tensor, ""]:
    """The ranking loss of predicted losses: the mean over pairs of max(0, ξ - sign(l_i - l_j)(l̂_i - l̂_j)).

    The pairs are the first two items, the next two, and so on, because the order of a batch is random. (Yoo & Kweon,
    CVPR 2019.)

    Args:
        predicted: l̂.
        losses: l, without gradients.
        margin: ξ.

    Returns:
        A scalar. It is 0 if each pair is in order by at least ξ or has equal losses, and for a batch of one.
    """
    pairs = len(losses) // 2
    if not pairs:
        return 0 * predicted.sum()
    # Both differences are second minus first, so their product is that of the formula.
    order = losses[: 2 * pairs].reshape(pairs, 2).diff(dim=1).sign()  # (pairs, 1)
    gaps = predicted[: 2 * pairs].reshape(pairs, 2).diff(dim=1)  # (pairs, 1)
    return ((margin - order * gaps).clamp(min=0) * order.abs()).mean()


# Checkpoints of a fit hold the names of `Watched` and of `_Watching`: with others an old one would be refused.
class Watched(nn.Module):
    """A network and the module that predicts its losses, which are trained together.

    Args:
        network: The network; it is trained in place.
        module: The module; it is trained in place.
        layers: Names of the modules whose outputs it gets.
        within: The part of the network with these names; by default, the whole network.
    """

    def __init__(
        self, network: nn.Module, module: LossModule, layers: Sequence[str], within: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self._within = (
            network if within is None else within,
        )  # in a tuple: it has its weights under one name
        self.module = module
        self.layers = tuple(layers)
        self._taken: list[Tensor] = []

    def forward(self, *arguments: Any, **named: Any) -> Any:
        """Run the network, and keep its feature maps for `predict`.

        Args:
            arguments: Arguments of the network.
            named: Named arguments of the network.

        Returns:
            The outputs of the network.
        """
        with tapped(self._within[0], self.layers) as taken:
            arguments, named = bound(self.network, arguments, named)
            outputs = self.network(*arguments, **named)
        self._taken = maps_of(taken, self.layers) if self.training else []
        return outputs

    def predict(self, *, constant: bool) -> Tensor:
        """The predicted losses of the last batch.

        Args:
            constant: Whether the features are constants, without gradients.

        Returns:
            (n,).
        """
        taken, self._taken = self._taken, []
        predicted: Tensor = self.module([h.detach() for h in taken] if constant else taken)
        return predicted


class _Watching(WrappingTrain):
    """The training of a network together with its module; see `Train`."""

    def __init__(
        self,
        train: Train,
        layers: Sequence[str] | None,
        width: int,
        penalty: Callable[[Watched, Step], Tensor],
    ) -> None:
        self.train = train
        self.layers = layers
        self.width = width
        self.penalty = penalty
        self.watched: Watched | None = None
        self.built: list[nn.Module] = []

    def build(self, seed: int, **options: Any) -> nn.Module:
        self.built.append(self.train.build(seed, **options))
        return self.built[-1]

    def __call__(
        self,
        seed: int,
        *,
        network: nn.Module | None = None,
        penalty: Penalty | None = None,
        after_epoch: AfterEpoch | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:
        network = self.build(seed) if network is None else network
        if self.watched is None:
            self.watched = self._watch(network, seed)
        if self.watched.network is not network:
            raise Unsupported(_SEVERAL)
        self.train(
            seed,
            network=self.watched,
            penalty=self._with(penalty),
            after_epoch=None if after_epoch is None else _Within(after_epoch),
            recipe=recipe,
        )
        return network

    def _watch(self, network: nn.Module, seed: int) -> Watched:
        """The network with a fresh module. Layers go by their names in the plain network, also where it is wrapped."""
        x, y, _ = self.data()
        parts = list(network.modules())
        plain = next((built for built in self.built if any(built is part for part in parts)), network)
        channels = channels_of(plain, take(x, torch.arange(2) % len(y)), self.layers)
        layers = list(channels) if self.layers is not None else list(channels)[-_MOST:]
        if not layers:
            raise Unsupported(
                "none of the network's modules gives a feature map before its outputs, so no loss can be predicted"
            )
        with seeded(derive(seed, "loss module"), torch.device("cpu")):
            module = LossModule([channels[name] for name in layers], self.width)
        return Watched(network, module.to(device_of(network)), layers, plain)

    def _with(self, own: Penalty | None) -> Penalty:
        """The penalty of the module, and that of the posterior function on the plain network."""

        def learning_loss_penalty(watched: nn.Module, step: Step) -> Tensor:
            assert isinstance(watched, Watched)
            total = self.penalty(watched, step)  # first: another pass would give other feature maps
            return total if own is None else total + own(watched.network, step)

        return learning_loss_penalty


def channels_of(network: nn.Module, x: Batch, layers: Sequence[str] | None = None) -> dict[str, int]:
    """The numbers of channels of a network's feature maps, by name of the module, in order of execution.

    Args:
        network: It is run once, in evaluation mode.
        x: A small batch, which may be changed.
        layers: Names of the modules. By default, the last module with each number of channels. The output layer and
            modules that only pass on their input (dropout, flattening) do not count.

    Returns:
        Numbers of channels.

    Raises:
        Unsupported: A named layer has no feature map.
    """
    modules = dict(network.named_modules())
    passive = (nn.Flatten, nn.Identity, nn.modules.dropout._DropoutNd)
    names = layers or [name for name, module in modules.items() if name and not isinstance(module, passive)]
    modes = {module: module.training for module in modules.values()}
    network.eval()
    try:
        with seeded(0, device_of(network)), torch.inference_mode(), tapped(network, names) as taken:
            outputs = call(network, place(x, device_of(network)))
    finally:
        for module, mode in modes.items():
            module.training = mode
    if layers is not None:
        return {name: pooled(h).shape[1] for name, h in zip(layers, maps_of(taken, layers), strict=True)}
    last: dict[int, str] = {}
    for name, h in taken.items():  # in the order in which modules ended
        fits = isinstance(h, Tensor) and h.is_floating_point() and h.ndim > 1 and len(h) == len(outputs)
        if fits and h.shape != outputs.shape:
            count = pooled(h).shape[1]
            last.pop(count, None)
            last[count] = name
    return {name: count for count, name in last.items()}


class _Within:
    """Passes the plain network to a watcher."""

    def __init__(self, own: AfterEpoch) -> None:
        self.own = own

    def __call__(self, network: nn.Module, epoch: int) -> None:
        assert isinstance(network, Watched)
        self.own(network.network, epoch)

    def state(self) -> Mapping[str, Tensor]:
        return self.own.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.own.load(state)
