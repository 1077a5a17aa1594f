"""Draws docs/moons: each acquisition function over the plane, and the picks of each batch selection (`make docs`)."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import make_moons
from sklearn.kernel_approximation import RBFSampler
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional

from baldur import acquire, score, select
from baldur.data import from_arrays
from baldur.learners import Supervised
from baldur.posteriors import MCDropout
from baldur.protocols import Labelled, Picks, View
from baldur.training import Recipe

FOLDER = Path(__file__).parent / "moons"
MAP = colormaps["viridis"]
PICK, KNOWN, POINT, SURE, BARE = "#e8601c", "white", "#d0d0d0", "#4cc3ff", "#3a3a3a"
EDGES: dict[str, Any] = {"edgecolors": "black", "linewidths": 0.7}

Values = NDArray[np.float64]
Extent = tuple[float, float, float, float]
"""Left, right, bottom and top."""

Batch = tuple[Picks, Values | None]
"""The picks, and the scores over the plane behind them, if there are any."""


@dataclass(frozen=True)
class Moons:
    """Two noisy half moons with labels only in a strip in the middle, and a network fitted to them.

    Args:
        seed: The seed of the points, of the labelled ones, and of the fit.
        size: How many points there are.
        known: How many of them are labelled.
        draws: Posterior samples T.
    """

    seed: int = 8
    size: int = 320
    known: int = 12
    draws: int = 100

    @cached_property
    def points(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        x, y = make_moons(self.size, noise=0.3, random_state=self.seed)
        return x.astype(np.float32), y.astype(np.int64)

    @cached_property
    def labelled(self) -> NDArray[np.intp]:
        x, _ = self.points
        strip = np.flatnonzero((x[:, 0] > 0) & (x[:, 0] < 1))
        return np.sort(np.random.default_rng(self.seed).choice(strip, self.known, replace=False))

    @cached_property
    def pool(self) -> NDArray[np.float32]:
        return np.delete(self.points[0], self.labelled, axis=0)

    @property
    def given(self) -> NDArray[np.float32]:
        return self.points[0][self.labelled]

    @cached_property
    def posterior(self) -> MCDropout:
        (x, y), n = self.points, self.known
        whole = from_arrays(x)
        known = Labelled(
            View(whole, self.labelled),
            y[self.labelled],
            np.zeros(n, np.int64),
            np.ones(n, np.float32),
            ("oracle",) * n,
        )
        recipe = Recipe(epochs=40, learning_rate=0.01, weight_decay=0.001, device="cpu")
        fitted = Supervised(_network, classes=2, recipe=recipe).fit(known, whole, seed=self.seed, round=0)
        assert isinstance(fitted, MCDropout)
        return fitted

    def log_probs(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, T, 2)."""
        return score.predict(self.posterior.draw(self.draws, self.seed), x)

    def features(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Inputs of the last layer, with the 1 of its bias, (n, D + 1)."""
        hidden = score.features(self.posterior.draw(self.draws, self.seed), x)
        return np.concatenate([hidden, np.ones((len(x), 1), np.float32)], axis=1)  # (n, D + 1)


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 2))


def scores(moons: Moons, x: NDArray[np.float32]) -> dict[str, Values]:
    """Every score for two classes, at some points of the plane.

    Args:
        moons: The setting.
        x: The points, shape (n, 2).

    Returns:
        Scores (n,) by the function's name.
    """
    p, phi = moons.log_probs(x), moons.features(x)
    some = np.random.default_rng(moons.seed).choice(len(moons.pool), 100, replace=False)
    targets = moons.pool[np.sort(some)]
    return {
        "entropy": acquire.entropy(p),
        "least_confidence": acquire.least_confidence(p),
        "margin": acquire.margin(p),
        "expected_entropy": acquire.expected_entropy(p),
        "bald, mean_kl": acquire.bald(p),
        "mean_std": acquire.mean_std(p),
        "variation_ratio (votes)": acquire.variation_ratio(p, "votes"),
        "vote_entropy": acquire.vote_entropy(p),
        "epig": acquire.epig(p, moons.log_probs(targets)),
        "expected_gradient_length": acquire.expected_gradient_length(p, phi),
        "emoc": acquire.emoc(p, phi, moons.features(targets)),
        "emoc_of_network": acquire.emoc_of_network(p, _changes(moons.posterior.network, x, targets)),
    }


def _changes(network: nn.Module, x: NDArray[np.float32], references: NDArray[np.float32]) -> Any:
    """The change of the logits at the references after one gradient step on an item and a label."""
    network = copy.deepcopy(network).eval()
    weights = {name: tensor.detach() for name, tensor in network.named_parameters()}

    def logits(weights: dict[str, Tensor], items: Tensor) -> Tensor:
        made: Tensor = functional_call(network, weights, (items,))
        return made

    def loss(weights: dict[str, Tensor], item: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(logits(weights, item[None]), label[None])  # a batch of one

    slopes = vmap(grad(loss), in_dims=(None, 0, None))
    of_references = jacrev(logits)(weights, torch.from_numpy(references))
    made = []
    for label in (0, 1):
        steps = slopes(weights, torch.from_numpy(x), torch.tensor(label))
        parts = [
            torch.einsum("mcw,nw->nmc", of_references[w].flatten(2), -steps[w].flatten(1))  # (n, M, 2)
            for w in weights
        ]
        made.append(torch.stack(parts).sum(dim=0).numpy())  # (n, M, 2)
    return lambda n, label: made[label][n]


def batches(moons: Moons, k: int, plane: Mapping[str, Values]) -> dict[str, Batch]:
    """The picks of every selection from the pool.

    Args:
        moons: The setting.
        k: The size of a batch.
        plane: The scores over the plane; they are passed on as they are.

    Returns:
        Picks and scores by the name of the selection.
    """
    x, known, seed = moons.pool, moons.given, moons.seed
    p, phi = moons.log_probs(x), moons.features(x)
    bald, seen = acquire.bald(p), plane["bald, mean_kl"]
    targets = p[np.sort(np.random.default_rng(seed).choice(len(x), 100, replace=False))]
    lift = RBFSampler(gamma=2, n_components=1000, random_state=seed).fit(x)
    near, near_known = lift.transform(x), lift.transform(known)
    parts = select.average_linkage(x, rng=seed, clusters=4 * k)
    return {
        "random": (select.random(len(x), k, seed), None),
        "top (bald)": (select.top(bald, k), seen),
        "power (bald)": (select.power(bald, k, seed), seen),
        "softmax (bald, beta=8)": (select.softmax(bald, k, seed, 8), seen),
        "softrank (bald)": (select.softrank(bald, k, seed), seen),
        "batchbald": (select.batchbald(p, k, rng=seed), seen),
        "batch_epig": (select.batch_epig(p, k, target_log_probs=targets, rng=seed), plane["epig"]),
        "badge": (select.badge(p, phi, k, seed), plane["expected_gradient_length"]),
        "bait": (
            select.bait(p, phi, k, labelled_log_probs=moons.log_probs(known), labelled=moons.features(known)),
            None,
        ),
        "k_center": (select.k_center(x, k, known), None),
        "robust_k_center": (select.robust_k_center(x, k, labelled=known, outliers=10), None),
        "facility_location": (select.facility_location(near, k, labelled=near_known), None),
        "suggestive_annotation": (
            select.suggestive_annotation(acquire.mean_std(p), near, k, candidates=6 * k),
            plane["mean_std"],
        ),
        "discriminative": (select.discriminative(x, k, labelled=known, rng=seed, hidden=(64, 64)), None),
        "typiclust": (select.typiclust(x, k, labelled=known, rng=seed), None),
        "prob_cover": (select.prob_cover(x, k, labelled=known, delta=0.35), None),
        "cluster_margin": (select.cluster_margin(p, parts, k, rng=seed, candidates=6 * k), plane["margin"]),
        "ceal": (select.ceal(p, k, threshold=0.05), plane["entropy"]),
    }


def _plane(moons: Moons, width: int = 120) -> tuple[NDArray[np.float32], tuple[int, int], Extent]:
    """Points of a grid (n, 2), its rows and columns, and its ends."""
    low, high = moons.points[0].min(axis=0) - 0.15, moons.points[0].max(axis=0) + 0.15
    height = round(width * float((high - low)[1] / (high - low)[0]))
    grid = np.meshgrid(np.linspace(low[0], high[0], width), np.linspace(low[1], high[1], height))
    end = (float(low[0]), float(high[0]), float(low[1]), float(high[1]))
    points = np.stack(grid, axis=-1).reshape(-1, 2).astype(np.float32)  # (height · width, 2)
    return points, (height, width), end


def _panel(axes: Axes, moons: Moons, title: str, values: Values | None, picks: Picks, end: Extent) -> None:
    axes.set_title(title, fontsize=10, pad=3)
    axes.set(xticks=[], yticks=[], xlim=end[:2], ylim=end[2:], aspect="equal", facecolor=BARE)
    if values is not None:
        axes.imshow(values, cmap=MAP, origin="lower", extent=end, interpolation="bilinear")
    _dots(axes, moons.pool, s=2.5, c=POINT, linewidths=0)
    sure = picks.info.get("pseudo_indices", [])
    _dots(axes, moons.pool[sure], s=14, c=SURE, marker="+", linewidths=0.8)
    labels = moons.points[1][moons.labelled]
    for label, marker in ((0, "s"), (1, "^")):
        _dots(axes, moons.given[labels == label], s=22, c=KNOWN, marker=marker, **EDGES)
    _dots(axes, moons.pool[picks.indices], s=30, c=PICK, **EDGES)


def _dots(axes: Axes, at: NDArray[np.float32], **style: Any) -> None:
    axes.scatter(at[:, 0], at[:, 1], **style)


def _save(panels: Mapping[str, Batch], moons: Moons, place: Any, columns: int, path: Path) -> None:
    _, shape, end = place
    rows = -(-len(panels) // columns)
    ratio = (end[3] - end[2]) / (end[1] - end[0])
    figure = Figure(figsize=(12, rows * (12 / columns * ratio + 0.24)), dpi=100, layout="constrained")
    grid = figure.subplots(rows, columns)
    for axes, (title, (picks, values)) in zip(grid.flat, panels.items(), strict=True):
        image = None if values is None else values.reshape(shape)  # (height, width)
        _panel(axes, moons, title, image, picks, end)
    raw = BytesIO()
    figure.savefig(raw)
    Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(folder: Path = FOLDER, seed: int = 8, k: int = 10) -> None:
    """Draw both pictures.

    Args:
        folder: The folder for them.
        seed: The seed of everything random.
        k: The size of a batch.
    """
    moons = Moons(seed)
    place = _plane(moons)
    plane, pool = scores(moons, place[0]), scores(moons, moons.pool)
    single = {name: (select.top(pool[name], k), values) for name, values in plane.items()}
    folder.mkdir(exist_ok=True)
    _save(single, moons, place, 4, folder / "scores.png")
    _save(batches(moons, k, plane), moons, place, 6, folder / "batches.png")


if __name__ == "__main__":
    main()
