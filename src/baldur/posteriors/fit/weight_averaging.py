"""SWAG and MultiSWAG: Gaussians fitted to the weights that SGD with a constant rate visits.

Maddox et al., "A simple baseline for Bayesian uncertainty in deep learning", NeurIPS 2019; Wilson & Izmailov, "Bayesian
deep learning and a probabilistic perspective of generalization", NeurIPS 2020.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from baldur.core.networks import restore
from baldur.core.seeds import derive
from baldur.core.trees import take
from baldur.errors import InvalidArgument
from baldur.posteriors.fit.ensembles import ensemble
from baldur.posteriors.swag import SWAG, batch_normalised
from baldur.protocols import Labelled, Posterior
from baldur.training.contract import Train, TrainingRequest
from baldur.training.stepwise import Steps, Stepwise

_LEAST_VARIANCE = 1e-30


@Stepwise
def swag(
    train: Train,
    labelled: Labelled,
    seed: int,
    *,
    rank: int = 20,
    collections: int = 20,
    learning_rate: float = 0.02,
    scale: float = 0.5,
    batch_norm_items: int = 1024,
) -> Steps[SWAG]:
    """SWAG: train a network with the recipe, then with constant-rate SGD, and collect the weights after each epoch.

    θ̄ = mean θᵢ, Σ = mean θᵢ² - θ̄², and the last K columns D̂ᵢ = θᵢ - θ̄ᵢ, where θ̄ᵢ is the mean of θ₁, ..., θᵢ. The second
    phase has its own number of epochs, SGD with its own rate, no schedule and no early stopping. It costs `collections`
    more epochs than one network, and memory for K + 3 networks.

    The samples differ as much as SGD moves. If the training loss of a network without dropout is near 0, SGD hardly
    moves at any rate. Then pre-train for fewer epochs and use a higher rate, or use `multi_swag`.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        rank: K, the number of stored deviations, at least 2; 0 for a diagonal covariance.
        collections: Epochs of the second phase, at least 2.
        learning_rate: Learning rate of the second phase. Its momentum is that of the recipe.
        scale: Factor of the covariance; ½ in the paper.
        batch_norm_items: Maximum number of items for the statistics of batch normalisation; at least 2.

    Returns:
        The posterior.

    Raises:
        InvalidArgument: A value is not valid, or the network has batch normalisation but only one training item.
    """
    if collections < 2 or rank < 0 or rank == 1 or batch_norm_items < 2:
        raise InvalidArgument(
            f"SWAG needs at least 2 collections, a rank of 0 or at least 2, and 2 items for batch normalisation; not "
            f"{collections}, {rank} and {batch_norm_items}"
        )
    network = train.build(seed)
    batch_normalised(network, len(train.data()[1]))  # here and not after two trainings
    network = yield TrainingRequest(seed, network)
    recipe = replace(
        train.recipe,
        epochs=collections,
        patience=collections,  # never reached: all collections are wanted
        optimizer="sgd",
        learning_rate=learning_rate,
        schedule=None,
    )
    moments = Moments(rank)
    yield TrainingRequest(derive(seed, "swag"), network, after_epoch=moments, recipe=recipe)
    restore(network, moments.mean)
    x, y, _ = train.data()
    random = torch.Generator().manual_seed(derive(seed, "batch norm"))
    some = torch.randperm(len(y), generator=random)[:batch_norm_items].sort().values
    return SWAG(
        network,
        moments.variances(),
        moments.deviations(),
        take(x, some),
        scale=scale,
        likelihood=train.likelihood,
    )


def multi_swag(
    train: Train,
    labelled: Labelled,
    seed: int,
    *,
    members: int = 5,
    rank: int = 20,
    collections: int = 20,
    learning_rate: float = 0.02,
    scale: float = 0.5,
    batch_norm_items: int = 1024,
) -> Posterior:
    """MultiSWAG: the equal mixture of M independent SWAGs. Sample t belongs to member t mod M. It costs M times as
    much.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        members: M; with 1, the result is `swag`.
        rank: See `swag`.
        collections: See `swag`.
        learning_rate: See `swag`.
        scale: See `swag`; 0 gives an ensemble of averaged networks.
        batch_norm_items: See `swag`.

    Returns:
        An `Ensemble`.

    Raises:
        InvalidArgument: A value is not valid.
    """
    each = partial(
        swag,
        rank=rank,
        collections=collections,
        learning_rate=learning_rate,
        scale=scale,
        batch_norm_items=batch_norm_items,
    )
    return ensemble(members, each=each)(train, labelled, seed)


class Moments:
    """Collects the weights of a network after each epoch; see `training.AfterEpoch`.

    It updates the moments in float64, because mean θ² - θ̄² would cancel. It uses the processor, so that samples do not
    depend on the device.

    Args:
        rank: Number of stored deviations.
    """

    def __init__(self, rank: int) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}
        self._squares: dict[str, Tensor] = {}  # Σ (θᵢ - θ̄)²
        self._last: deque[dict[str, Tensor]] = deque(maxlen=rank)

    def __call__(self, network: nn.Module, epoch: int) -> None:
        self.count += 1
        column = {}
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            weights = parameter.detach().to("cpu", torch.float64)
            before = self.mean.get(name, torch.zeros_like(weights))
            mean = before + (weights - before) / self.count
            squares = self._squares.get(name, torch.zeros_like(weights))
            self._squares[name] = squares + (weights - before) * (weights - mean)
            self.mean[name] = mean
            column[name] = (weights - mean).to(parameter.dtype)
        self._last.append(column)

    def variances(self) -> dict[str, Tensor]:
        """Σ by name, at least 1e-30, float32.

        Returns:
            Variances.
        """
        return {n: (s / self.count).clamp(min=_LEAST_VARIANCE).float() for n, s in self._squares.items()}

    def deviations(self) -> dict[str, Tensor] | None:
        """D̂ by name, (K, *shape), in order; None if no deviations are stored.

        Returns:
            Deviations.
        """
        if not self._last:
            return None
        return {
            name: torch.stack([column[name] for column in self._last]) for name in self.mean
        }  # (K, *shape)

    def state(self) -> Mapping[str, Tensor]:
        """The state of the watcher.

        Returns:
            Tensors by name.
        """
        state = {"count": torch.tensor(self.count)}
        state |= {f"mean/{name}": mean for name, mean in self.mean.items()}
        state |= {f"squares/{name}": squares for name, squares in self._squares.items()}
        return state | {f"last/{i}/{n}": d for i, column in enumerate(self._last) for n, d in column.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`.

        Args:
            state: The state, as tensors by name.
        """
        self.count = int(state["count"])
        columns: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            group, _, name = key.partition("/")
            if group == "mean":
                self.mean[name] = tensor
            elif group == "squares":
                self._squares[name] = tensor
            elif group == "last":
                number, _, name = name.partition("/")
                columns.setdefault(int(number), {})[name] = tensor
        self._last.clear()
        self._last.extend(columns[i] for i in sorted(columns))
