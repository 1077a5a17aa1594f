"""SimCLR: the encoder is pre-trained on all items, without labels, to recognise two views of the same item."""

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from baldur.core.devices import pick_device
from baldur.core.networks import call, initialise, restore, tensors, weights_hash
from baldur.core.seeds import derive
from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.core.trees import bits, join, map_tree, place
from baldur.errors import InvalidArgument, InvalidCheckpoint, Unsupported
from baldur.learners.supervised import Network, Supervised
from baldur.learners.unlabelled.pools import FileSlot, Joined, Sampler, changed, without_dropout
from baldur.posteriors.network import penultimate
from baldur.protocols import Labelled, Pool, Posterior, View
from baldur.training import Augment, Checkpoints, Progress, Recipe, train
from baldur.training.augmentation import strong
from baldur.training.contract import Fitting, Train, WrappingFitting

_READ = 512
_INTERVAL = 10.0  # least seconds between two checkpoints
_WIDEST = 512  # units of the projection's hidden layer


def contrastive(
    learner: Supervised,
    *,
    epochs: int = 30,
    temperature: float = 0.5,
    batch_size: int = 256,
    projection: int = 64,
    learning_rate: float = 1e-3,
    augment: Augment | None = None,
    seed: int = 0,
    cache: Path | str | None = None,
) -> Supervised:
    """Pre-train an encoder on all items without labels. The networks of every round start from it.

    ℓ(i, j) = −log exp(s(z_i, z_j)/τ) / Σ_{k≠i} exp(s(z_i, z_k)/τ). Here s is the cosine, z = g(h) is a projection of
    the features h of an augmented item, and (i, j) are the two views of one item among the 2B views of a batch. (Chen,
    Kornblith, Norouzi and Hinton, "A simple framework for contrastive learning of visual representations", ICML 2020.)
    The encoder is the part before the last linear layer. Each network draws a new last layer, and the projection g,
    with one hidden layer, is discarded. The encoder is trained without dropout.

    The encoder is trained once, at the first fit, on labelled and unlabelled items in the order of their ids. So it is
    the same in every round, trial and process with the same items. The learner keeps it in memory. With `cache`, it is
    also saved in a file, with checkpoints during the training. Otherwise a new process trains it again.

    Args:
        learner: The learner to wrap.
        epochs: Passes over all items.
        temperature: τ.
        batch_size: B.
        projection: Length of z.
        learning_rate: Initial learning rate of Adam, with a cosine schedule.
        augment: The augmentation; `augmentation.strong` by default.
        seed: Seed of the encoder's initial weights and training.
        cache: Folder for trained encoders.

    Returns:
        A learner.

    Raises:
        InvalidArgument: A value is not valid.
    """
    if epochs < 1 or batch_size < 2 or projection < 1 or temperature <= 0 or learning_rate <= 0:
        raise InvalidArgument(
            "epochs and projection must be at least 1, batch_size at least 2, temperature and learning_rate positive"
        )
    recipe = Recipe(
        epochs=epochs,
        epoch_size=1,
        batch_size=batch_size,
        learning_rate=learning_rate,
        schedule=_cosine,
        precision=learner.recipe.precision,
        device=learner.recipe.device,
    )
    pretraining = _Pretraining(recipe, temperature, projection, augment or strong, seed)
    folder = None if cache is None else Path(cache)
    encoder = Pretrained(learner.network, pretraining, folder, learner.progress)
    return learner.but(network=encoder, posterior=_FromPretrained(learner.posterior, encoder))


@dataclass(frozen=True)
class NTXent:
    """The contrastive loss of two projections (n, 2D) of each item; see `contrastive`. It needs no labels."""

    temperature: float
    name = kind = "contrastive"

    def losses(
        self, outputs: Float[Tensor, "n twoD"], y: Tensor, smoothing: float = 0.0
    ) -> Float[Tensor, " n"]:
        """The mean loss of an item's two views, nats.

        Args:
            outputs: Both projections, side by side.
            y: Ignored.
            smoothing: Ignored.

        Returns:
            Losses.
        """
        n = len(outputs)
        z = functional.normalize(torch.cat(outputs.chunk(2, 1)), dim=1)  # (2n, D)
        similarity = (z @ z.T / self.temperature).fill_diagonal_(-math.inf)  # (2n, 2n)
        other = torch.arange(2 * n, device=z.device).roll(n)  # (2n,): the other view of row i is n rows away
        losses = functional.cross_entropy(similarity, other, reduction="none").view(2, n)  # (2, n)
        return losses.mean(0)  # (n,)

    def log_probs(self, outputs: Any, axis: int) -> Tensor:
        """Raise an error, because there are no predictions.

        Args:
            outputs: Ignored.
            axis: Ignored.

        Raises:
            Unsupported: Always.
        """
        raise Unsupported("a contrastive loss predicts nothing")

    def right(self, outputs: Tensor, y: Tensor) -> None:
        """Return None, because no output is right or wrong.

        Args:
            outputs: Ignored.
            y: Ignored.

        Returns:
            None.
        """
        return None

    def check(self, outputs: Any, y: Tensor, classes: int | None) -> None:
        """Accept any outputs.

        Args:
            outputs: Ignored.
            y: Ignored.
            classes: Ignored.
        """


@dataclass(frozen=True)
class _Pretraining:
    """The settings of the pre-training."""

    recipe: Recipe
    temperature: float
    projection: int
    augment: Augment
    seed: int

    def identity(self) -> str:
        """A text that is equal for settings with equal results."""
        given = self.augment
        augment, bound = (given.func, given.keywords) if isinstance(given, partial) else (given, {})
        named = augment if isinstance(augment, FunctionType | MethodType | type) else type(augment)
        name = named.__qualname__, bound
        r = self.recipe
        return repr(
            (
                *(r.epochs, r.batch_size, r.learning_rate, r.precision),
                *(self.temperature, self.projection, name, self.seed),
            )
        )


class Pretrained:
    """A factory of networks with an encoder that is pre-trained on given items; see `contrastive`."""

    def __init__(
        self, network: Network, pretraining: _Pretraining, cache: Path | None, progress: Progress | None
    ) -> None:
        self.network = network
        self.pretraining = pretraining
        self.cache = cache
        self.progress = progress
        self.pool: Pool | None = None
        self._known: dict[str, dict[str, Tensor]] = {}
        with suppress(TypeError, ValueError):  # some callables have no signature
            made = isinstance(network, nn.Module)  # which accepts no options
            self.__signature__ = inspect.Signature() if made else inspect.signature(network)

    def __call__(self, **options: Any) -> nn.Module:
        """Make a network, with the trained encoder while items are shown.

        Args:
            options: Options of the factory.

        Returns:
            The network.
        """
        network = self._fresh(options)
        if self.pool is not None:
            restore(network, self._encoder(options))
        return network

    def show(self, labelled: Pool, unlabelled: Pool) -> None:
        """Set the items for the pre-training, which takes place when the next network is made.

        Args:
            labelled: The labelled items.
            unlabelled: The other items. Items in both pools count once.
        """
        pool = Joined(labelled, unlabelled)
        _, first = np.unique(np.array(pool.ids), return_index=True)
        self.pool = View(pool, first)

    def hide(self) -> None:
        """Remove the items. Networks are then made without the encoder."""
        self.pool = None

    def features(self, pool: Pool) -> NDArray[np.float32]:
        """Features of the trained encoder, without dropout, while items are shown.

        Args:
            pool: The items.

        Returns:
            (N, D).
        """
        network = initialise(self.__call__, derive(self.pretraining.seed, "contrastive")).eval()
        device = pick_device(self.pretraining.recipe.device)
        network.to(device)
        found = []
        with torch.inference_mode():
            for _, x in pool.batches(np.arange(len(pool)), _READ):
                found.append(penultimate(network, place(x, device)).float().cpu())
        features: NDArray[np.float32] = join(found).numpy()  # (N, D)
        return features

    def _fresh(self, options: Mapping[str, Any]) -> nn.Module:
        if isinstance(self.network, nn.Module):
            return initialise(self.network, 0)
        return self.network(**options)

    def _encoder(self, options: Mapping[str, Any]) -> dict[str, Tensor]:
        assert self.pool is not None
        seed = derive(self.pretraining.seed, "contrastive")
        network = initialise(partial(self._fresh, options), seed)
        key = self._key(network)
        if key not in self._known:
            self._known[key] = self._kept(key) or self._trained(key, network)
        return self._known[key]

    def _key(self, network: nn.Module) -> str:
        """A hash of the settings, the initial network, the ids, and the contents of 64 items."""
        assert self.pool is not None
        modules = [type(module).__qualname__ for module in network.modules()]
        text = "\n".join([self.pretraining.identity(), weights_hash(network), *modules, *self.pool.ids])
        digest = hashlib.sha256(text.encode())
        some = np.unique(np.linspace(0, len(self.pool) - 1, 64).astype(np.intp))
        for _, x in self.pool.batches(some, len(some)):
            map_tree(lambda leaf: digest.update(bits(leaf)), x)
        return digest.hexdigest()[:32]

    def _kept(self, key: str) -> dict[str, Tensor]:
        """An encoder from the cache; empty if there is none or its file is damaged."""
        if self.cache is None or not (path := self.cache / f"{key}.encoder").exists():
            return {}
        try:
            groups, said = read_tensors(path)
        except ValueError:
            return {}
        return groups.get("encoder", {}) if said.get("key") == key else {}

    def _trained(self, key: str, network: nn.Module) -> dict[str, Tensor]:
        assert self.pool is not None
        slot = None if self.cache is None else FileSlot(self.cache / f"{key}.checkpoint")
        try:
            checkpoints = None if slot is None else Checkpoints(slot, _INTERVAL)
        except InvalidCheckpoint:
            if slot is None or slot.path.exists():
                raise
            # Another process has finished, and deleted the checkpoint.
            return self._kept(key) or self._trained(key, network)
        seed = derive(self.pretraining.seed, "contrastive", "training")
        device = pick_device(self.pretraining.recipe.device)
        views = _Views(network.to(device), Sampler(self.pool), self.pretraining)
        told = self.progress
        n = len(self.pool)
        train(
            views,
            torch.arange(n),
            torch.zeros(n, dtype=torch.int64),
            recipe=self.pretraining.recipe,
            likelihood=NTXent(self.pretraining.temperature),
            seed=seed,
            checkpoint=checkpoints,
            progress=None
            if told is None
            else lambda _, done, total: told("training the encoder", done, total),
        )
        last = views.last + "."
        own = tensors(network).items()
        encoder = {name: t.detach().cpu().clone() for name, t in own if not name.startswith(last)}
        if slot is not None and self.cache is not None:
            if faster := self._kept(key):  # of another process; all must use the same
                encoder = faster
            else:
                kept = FileSlot(self.cache / f"{key}.encoder")
                kept.save(lambda path: write_tensors(path, {"encoder": encoder}, {"key": key}))
            slot.path.unlink(missing_ok=True)
        return encoder


class _Views(nn.Module):
    """Maps positions (n,) to the projections (n, 2D) of two views of each item."""

    def __init__(self, network: nn.Module, pool: Sampler, pretraining: _Pretraining) -> None:
        super().__init__()
        self.network = network
        self._pool, self._pretraining = pool, pretraining
        device = next(network.parameters()).device
        network.eval()
        with torch.no_grad():
            x = pool.at(torch.arange(min(2, len(pool))), device)
            self.last, width = _last_linear(network, x)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive(pretraining.seed, "contrastive", "projection"))
            hidden = min(width, _WIDEST)
            layers = nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, pretraining.projection)
        self.projection = nn.Sequential(*layers).to(device)

    def forward(self, positions: Tensor) -> Tensor:
        x = self._pool.at(positions.cpu(), positions.device)
        views = [changed(x, self._pretraining.augment, positions.device) for _ in range(2)]
        with without_dropout(self.network) if self.training else nullcontext():
            projections = [self.projection(penultimate(self.network, view)) for view in views]  # (n, D) each
            return torch.cat(projections, 1)  # (n, 2D)


def _last_linear(network: nn.Module, x: Any) -> tuple[str, int]:
    """The name of the last linear layer that runs, and the number of its inputs."""
    seen: list[tuple[str, int]] = []

    def watch(name: str, width: int) -> Callable[..., None]:
        return lambda *_: seen.append((name, width))

    handles = [
        module.register_forward_pre_hook(watch(name, module.in_features))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        call(network, x)
    finally:
        for handle in handles:
            handle.remove()
    if not seen or not seen[-1][0]:
        raise Unsupported(
            "the encoder is the part before the last nn.Linear, but this network has no such layer"
        )
    return seen[-1]


@dataclass(frozen=True)
class _FromPretrained(WrappingFitting):
    """A posterior function whose networks start from the trained encoder."""

    inner: Fitting
    encoder: Pretrained

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        self.encoder.show(labelled.pool, train.unlabelled)
        try:
            return self.inner(train, labelled, seed)
        finally:
            self.encoder.hide()


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2
