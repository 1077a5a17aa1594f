"""Generated predictions and pictures that have the structure which a method is about."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
_BLOCK = 20_000


def log_softmax(logits: NDArray[np.float64]) -> Rows:
    """Normalised over the last axis."""
    logits = logits - logits.max(axis=-1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))).astype(np.float32)


def independent(n: int, draws: int, classes: int, seed: int) -> Rows:
    """Samples that have nothing to do with each other, from sure to vague ones, (N, T, C)."""
    random = np.random.default_rng(seed)
    out = np.empty((n, draws, classes), np.float32)
    for start in range(0, n, _BLOCK):
        rows = out[start : start + _BLOCK]
        width = random.uniform(0.1, 4, size=(len(rows), 1, 1))
        rows[:] = log_softmax(width * random.standard_normal(rows.shape))
    return out


def near_duplicates(n: int, draws: int, classes: int, seed: int) -> tuple[Rows, NDArray[np.intp]]:
    """Groups of about 20 near-duplicates, of eight kinds: log-probabilities (N, T, C) and the group of each.

    The samples differ in eight independent traits, and items of one kind depend on one of them: what is known
    after one item of a kind makes others of that kind worth less, whatever their group. Some kinds depend on
    their trait more than others do, so items with the largest BALD are of one kind.
    """
    random = np.random.default_rng(seed)
    kinds, groups = 8, n // 20
    traits = random.standard_normal((kinds, draws))
    directions = random.standard_normal((kinds, classes))
    kind = random.integers(kinds, size=groups)
    slopes = directions[kind] + 0.25 * random.standard_normal((groups, classes))
    slopes *= np.linspace(1.5, 0.5, kinds)[kind, None]
    group = random.integers(groups, size=n)
    out = np.empty((n, draws, classes), np.float32)
    for start in range(0, n, _BLOCK):
        some = group[start : start + _BLOCK]
        logits = slopes[some][:, None, :] * traits[kind[some]][:, :, None]
        out[start : start + _BLOCK] = log_softmax(logits + 0.05 * random.standard_normal(logits.shape))
    return out, group


def heads(n: int, draws: int, classes: int, seed: int, spread: float) -> Rows:
    """Linear heads about one trained head, on features of classes that overlap, (N, T, C)."""
    random = np.random.default_rng(seed)
    width = 64
    centres = random.standard_normal((classes, width))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    weights = (9 * centres + spread * random.standard_normal((draws, classes, width))).reshape(-1, width)
    out = np.empty((n, draws, classes), np.float32)
    for start in range(0, n, _BLOCK):
        rows = out[start : start + _BLOCK]
        mixed = random.beta(0.3, 1.5, size=(len(rows), 1))
        one, other = centres[random.integers(classes, size=(2, len(rows)))]
        x = (1 - mixed) * one + mixed * other + 0.08 * random.standard_normal((len(rows), width))
        rows[:] = log_softmax((x @ weights.T).reshape(rows.shape))
    return out


def embedded(n: int, width: int, classes: int, seed: int) -> tuple[Rows, Rows]:
    """Rectified features (N, D) about the means of the classes, and predictions of a linear head (N, 1, C)."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((classes, width))
    label = random.integers(classes, size=n)
    x = np.empty((n, width), np.float32)
    for start in range(0, n, _BLOCK):
        rows = x[start : start + _BLOCK]
        noise = random.standard_normal(rows.shape) * random.uniform(0.5, 2, size=(len(rows), 1))
        rows[:] = np.maximum(centres[label[start : start + _BLOCK]] + noise, 0)
    head = np.maximum(centres, 0).astype(np.float32) / width**0.5
    return x, log_softmax((x @ head.T).astype(np.float64))[:, None, :]


def pictures(n: int, classes: int, seed: int) -> tuple[Rows, NDArray[np.int64]]:
    """Pictures (N, 1, 28, 28) of three blots whose places depend on the class, and the classes."""
    random = np.random.default_rng(seed)
    places = random.uniform(5, 23, size=(classes, 3, 2))
    label = random.integers(classes, size=n)
    axis = np.arange(28)
    x = np.empty((n, 1, 28, 28), np.float32)
    for start in range(0, n, _BLOCK):
        at = places[label[start : start + _BLOCK]]
        at = at + 2 * random.standard_normal(at.shape)
        rows, columns = np.exp(-((axis - at[..., None]) ** 2) / 8).transpose(2, 0, 1, 3)
        x[start : start + _BLOCK, 0] = np.einsum("nbi,nbj->nij", rows, columns)
    return x, label
