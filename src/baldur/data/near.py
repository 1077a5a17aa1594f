"""Test items that are nearly equal to training items, found by their features."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from baldur.core.seeds import generator
from baldur.data.dataset import Dataset
from baldur.protocols import Pool

NEAR = 0.1
"""The largest distance of near copies, as a share of the usual distance of two items."""

_PRODUCTS = {"features": 2 * 10**10, "array": 10**9}  # of two numbers: a second, and a twentieth of one
_MOST_TEST, _MOST_PAIRED, _BLOCK = 2000, 700, 4096
_CHANCE = 0.001  # near neighbours of an item by chance
_NAMED = 3


def with_near_copies(dataset: Dataset, seed: int = 0) -> Dataset:
    """The data set with a note on test items that are nearly equal to a training item.

    Only items that are vectors are searched: features of an encoder, or rows of floating-point numbers. Of large sets,
    a random part is searched, and the note says so. Nothing is left out.

    Args:
        dataset: Any data set.
        seed: Of the choice of that part.

    Returns:
        The same data, perhaps with one note more.
    """
    kind, shape = dataset.preprocessing.get("kind"), dataset.preprocessing.get("shape", ())
    vectors = kind == "features" or (
        kind == "array" and str(dataset.preprocessing.get("dtype")).startswith("float")
    )
    if not vectors or len(shape) != 1 or min(len(dataset.train), len(dataset.test)) < 2:
        return dataset
    rng = generator(seed, "near copies")
    pairs = _PRODUCTS[str(kind)] // max(1, shape[0])
    some = _some(len(dataset.test), min(_MOST_TEST, max(1, int(pairs**0.5) // 4)), rng)
    others = _some(len(dataset.train), max(1, pairs // len(some)), rng)
    test, train = _rows(dataset.test, some), _rows(dataset.train, others)
    if not (np.isfinite(test).all() and np.isfinite(train).all()):
        return dataset
    with np.errstate(over="ignore", invalid="ignore"):  # one value may be far beyond all others
        at, distance = nearest(test, train, kind == "array")
    near = np.flatnonzero(
        (distance <= NEAR) & ((distance > 0) | (kind == "features"))
    )  # equal rows are told elsewhere
    if len(near):
        near = near[distance[near] <= limit(train, kind == "array")]
    if not len(near):
        return dataset
    order = near[np.argsort(distance[near], kind="stable")]
    ids, train_ids = dataset.test.ids, dataset.train.ids
    shown = ", ".join(f"{ids[some[i]]} ~ {train_ids[others[at[i]]]}" for i in order[:_NAMED])
    more = ", ..." if len(order) > _NAMED else ""
    part = ""
    if len(some) < len(dataset.test) or len(others) < len(dataset.train):
        part = (
            f" Only {len(some):,} of {len(dataset.test):,} test items were compared with {len(others):,} of"
            f" {len(dataset.train):,} training items, drawn at random."
        )
    what = "1 test item is" if len(near) == 1 else f"{len(near):,} test items are"
    note = f"{what} nearly equal to a training item, and none was left out: {shown}{more}.{part}"
    return replace(dataset, notes=(*dataset.notes, note.removesuffix(".")))


def nearest(
    test: Float[np.ndarray, "M D"], train: Float[np.ndarray, "N D"], columns: bool = True
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The nearest training item of each test item.

    Columns are standardised by the training items, each by itself or all alike. A distance is divided by √(2 D), the
    root mean square over pairs of independent items, where D counts the columns that are not constant.

    Args:
        test: Vectors of test items, (M, D).
        train: Vectors of training items, (N, D).
        columns: Whether each column has a scale of its own, as in a table.

    Returns:
        Positions in `train`, (M,), and distances, (M,).
    """
    a, b = _standardised(test, train, columns)
    norms, best = (b * b).sum(1), np.full(len(a), np.inf, np.float32)
    at = np.zeros(len(a), np.intp)
    for start in range(0, len(b), _BLOCK):
        apart = norms[start : start + _BLOCK] - 2 * a @ b[start : start + _BLOCK].T
        first = apart.argmin(1)
        least = apart[np.arange(len(a)), first]
        closer = least < best
        best[closer], at[closer] = least[closer], first[closer] + start
    exact = np.square(a - b[at]).sum(1)  # the products above lose digits where items are near
    return at, np.sqrt(exact / max(1, 2 * a.shape[1])).astype(np.float32)


def limit(train: Float[np.ndarray, "N D"], columns: bool = True) -> float:
    """The largest distance of near copies: 0.1, or less where items are that near by chance.

    The share of pairs within a distance r grows as r^d, with the correlation dimension d (P. Grassberger and I.
    Procaccia, Measuring the strangeness of strange attractors, 1983). It is read off at the shares of 1 and 10 %, and
    continued to the r at which an item has 0.001 neighbours by chance.

    Args:
        train: Vectors of training items, (N, D).
        columns: As in `nearest`.

    Returns:
        A share of the usual distance of two items.
    """
    rows = train[:: -(-len(train) // _MOST_PAIRED)]
    x = _standardised(rows, train, columns)[0].astype(np.float64)
    norms = np.square(x).sum(1)
    apart = np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0)[np.triu_indices(len(x), 1)]
    near, far = np.sqrt(np.quantile(apart, [0.01, 0.1]) / max(1, 2 * x.shape[1]))
    if not near:
        return 0.0
    dimension = np.log(10) / max(np.log(far / near), 1e-9)
    return float(min(NEAR, near * (_CHANCE / len(train) / 0.01) ** (1 / dimension)))


def _standardised(
    test: NDArray[np.float32], train: NDArray[np.float32], columns: bool
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean, std = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    used = std > 1e-6 * np.abs(mean).max(initial=1e-30)
    scale = std[used] if columns else np.sqrt(np.square(std[used]).mean())
    a, b = (((x[:, used] - mean[used]) / scale).astype(np.float32) for x in (test, train))
    return a, b


def _some(n: int, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    if n <= most:
        return np.arange(n)
    return np.sort(rng.choice(n, most, replace=False))


def _rows(pool: Pool, positions: NDArray[np.intp]) -> NDArray[np.float32]:
    return np.concatenate([x.float().numpy() for _, x in pool.batches(positions, _BLOCK)])
