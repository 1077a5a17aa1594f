"""The verifier of pools."""

from typing import Any

import numpy as np
import torch

from baldur.core.trees import map_tree, take
from baldur.protocols import Pool, View
from baldur.testing._checks import require


def verify_pool(pool: Pool, seed: int = 0) -> None:
    """Check a pool of at least five items.

    There is one unique id for each item, and the ids do not change. Batches have the requested order and at most the
    requested size. An item is the same in every batch. Changing a batch does not change the pool. If there are groups,
    each item has one. A view of the pool is a pool, too.

    Args:
        pool: The pool.
        seed: Seed of the orders that are tried.

    Raises:
        AssertionError: A check failed. The message names it.
    """
    ids, n = list(pool.ids), len(pool)
    require(len(ids) == n >= 5, f"{len(ids)} ids for {n} items (five or more are needed)")
    require(len(set(ids)) == n and all(isinstance(i, str) for i in ids), "ids are not unique texts")
    require(list(pool.ids) == ids, "the ids change from look to look")
    require(pool.groups is None or len(pool.groups) == n, "there is not one group for each item")
    rng = np.random.default_rng(seed)
    whole = _read(pool, np.arange(n), n)
    for size in (1, 3, n + 1):
        order = rng.permutation(n)
        require(
            _same(_read(pool, order, size), [whole[i] for i in order]), f"batches of {size} give other items"
        )
    require(
        _same(_read(pool, np.array([2, 2, 0]), 2), [whole[i] for i in (2, 2, 0)]), "repeated positions differ"
    )
    require(_read(pool, np.arange(0), 4) == [], "no positions gave items")
    for _, x in pool.batches(np.arange(n), n):
        map_tree(lambda leaf: leaf.zero_(), x)
    require(_same(_read(pool, np.arange(n), n), whole), "changing what was read changed the pool")
    if not isinstance(pool, View):
        verify_pool(View(pool, rng.permutation(n)), seed)


def _read(pool: Pool, positions: Any, size: int) -> list[Any]:
    """The items at some positions, one by one, checked for what a batch must be."""
    items: list[Any] = []
    for read, x in pool.batches(np.asarray(positions, np.intp), size):
        start = len(items)
        require(len(read) <= size, f"a batch of {len(read)} came where at most {size} were asked for")
        require(list(read) == list(positions[start : start + len(read)]), "positions come in another order")
        items += [map_tree(lambda leaf: leaf[0].clone(), take(x, slice(i, i + 1))) for i in range(len(read))]
    require(len(items) == len(positions), f"{len(items)} items came for {len(positions)} positions")
    return items


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(torch.equal(a, b))
