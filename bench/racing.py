"""Racing finds the k best items without computing all samples. It is compared with all samples for all items."""

from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baldur import acquire, networks, score
from baldur.posteriors import Ensemble, MCDropout
from baldur.strategies import racing
from baldur.training import Recipe, initialise, train
from bench.k_center import images
from bench.measure import say, seconds, show

K, RISK, LABELS, ORDERS, REPEATS = 10, 0.01, 100, 100, 3
SCORES = {
    "bald": acquire.bald,
    "mean_std": acquire.mean_std,
    "entropy": acquire.entropy,
    "margin": acquire.margin,
    "variation_ratio": partial(acquire.variation_ratio, mode="votes"),
}


class Told:
    """Draws that were made before: the input of an item is its number."""

    kind, names, degenerate = "categorical", ("log_probs",), False

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    def __len__(self) -> int:
        return self.log_probs.shape[1]

    def __getitem__(self, samples: slice) -> "Told":
        return Told(self.log_probs[:, samples])

    def __call__(self, x: Tensor) -> Tensor:
        return self.log_probs[x[:, 0].long()]

    def features(self, x: Tensor, *_: Any) -> Tensor:
        raise NotImplementedError

    outputs = split = features


class Residual(nn.Module):
    """Dropout in front of every layer, and shortcuts, so that every layer is computed for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Dropout(0.1), nn.Conv2d(1, 16, 5, stride=4), nn.GELU())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Dropout(0.2), nn.Conv2d(16, 16, 3, padding=1), nn.GELU()) for _ in range(2)
        )
        self.last = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h.amax((2, 3)))


def fitted(make: Any, x: Tensor, y: Tensor, seed: int = 0) -> nn.Module:
    """A network after 100 labels."""
    network = initialise(make, seed)
    train(network, x, y, recipe=Recipe(epochs=20, device="cpu", precision="float32"), seed=seed)
    return network.eval()


def compared(what: str, draws: Any, x: Tensor, reduce: Any, n: int) -> tuple[str, str, str]:
    """The time of all samples for all items over that of a race."""
    say(what)
    found: dict[str, Any] = {}

    def whole() -> None:
        found["all"] = score.predict(draws, x[:n], reduce)

    def raced() -> None:
        found["picks"], _ = racing.race(draws, x[:n], reduce, K, RISK)

    draws(x[:8])  # what is stochastic is found on the first batch
    pairs = [(seconds(whole)[0], seconds(raced)[0]) for _ in range(REPEATS)]
    ratio = median(a / b for a, b in pairs)
    times = [show(median(column)) for column in zip(*pairs, strict=True)]
    best = set(np.argsort(-found["all"], kind="stable")[:K])
    same, info = len(best & set(found["picks"].indices)), found["picks"].info
    return (
        f"{what}, T = {len(draws)}, N = {n:,}, k = {K}, risk {RISK}: time of all samples for all items over a race",
        f"{times[0]} / {times[1]} = {ratio:.2f}x ({info['share']:.0%} of the samples; {same} of {K} picks the same)",
        "above 1x where samples are dear",
    )


def differing(name: str, log_probs: Tensor, risk: float) -> tuple[str, str, str]:
    """How often the picks are others, over random orders of the samples."""
    items, rng = np.arange(len(log_probs))[:, None], np.random.default_rng(0)
    scores = SCORES[name](log_probs).numpy()
    last = np.sort(scores)[-K]
    others, shares = 0, []
    for _ in range(ORDERS):
        order = torch.from_numpy(rng.permutation(log_probs.shape[1]))
        picks, _ = racing.race(Told(log_probs[:, order]), items, SCORES[name], K, risk, rng, batch_size=10**5)
        others += bool((scores[picks.indices] < last - 1e-6).any())
        shares.append(picks.info["share"])
    return (
        f"{name}, T = {log_probs.shape[1]}, N = {len(log_probs):,}, k = {K}, risk {risk}: races whose picks differ, "
        f"of {ORDERS} orders of the samples",
        f"{others} ({np.mean(shares):.0%} of the samples, {np.max(shares):.0%} at most)",
        f"{risk * ORDERS:.0f} expected at most",
    )


def rows(orders: tuple[int, ...] = (20, 100)) -> list[tuple[str, str, str]]:
    """(what, measured, bar) of each figure."""
    source, x, y = images()
    say(source)
    some = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    x, y = x[some], y[some]
    known, labels, rest = x[:LABELS], y[:LABELS], x[LABELS:]
    shape = tuple(x.shape[1:])
    dropout = MCDropout(fitted(lambda: networks.batchbald2019(shape, 10), known, labels))
    everywhere = MCDropout(fitted(Residual, known, labels))
    ensemble = Ensemble(
        [fitted(lambda: networks.gal2017(shape, 10, width=0.5), known, labels, seed) for seed in range(20)]
    )
    name = f"of {source}"
    out = [
        compared(f"BALD, batchbald2019 {name}", dropout.draw(100), rest, acquire.bald, 5000),
        compared(f"entropy, batchbald2019 {name}", dropout.draw(100), rest, acquire.entropy, 5000),
        compared(f"BALD, dropout everywhere {name}", everywhere.draw(100), rest, acquire.bald, 4000),
        compared(
            f"BALD, 20 networks gal2017 of half the width {name}", ensemble.draw(20), rest, acquire.bald, 5000
        ),
    ]
    log_probs = torch.from_numpy(np.array(score.predict(dropout.draw(100), rest[:3000])))
    for samples in orders:
        say(f"{ORDERS} orders of {samples} samples")
        out += [differing(name, log_probs[:, :samples], 0.05) for name in SCORES]
    return out
