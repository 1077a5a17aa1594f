"""Choose one batch without a run."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from baldur.core.seeds import generator
from baldur.data import as_pool
from baldur.data.arrays import class_indices, refuse_other_rows
from baldur.errors import InvalidArgument
from baldur.protocols import Choice, Labelled, Pool, Posterior, Strategy, View
from baldur.runs.meant import as_strategy
from baldur.runs.names import name_of, strategy_named
from baldur.score import PoolScorer


def choose(
    posterior: Posterior | nn.Module,
    pool: Pool | Any,
    *,
    k: int = 10,
    strategy: str | Strategy | Callable[[Any], Any] = "bald",
    labelled: Labelled | tuple[Any, Any] | None = None,
    seed: int = 0,
    draws: int = 20,
    memory: str = "1GiB",
) -> Choice:
    """Choose the next items to label, without a run.

    Args:
        posterior: The posterior of the model, for example `posteriors.MCDropout(network)`.
        pool: The unlabelled items: a pool, or an array (N, ...). The ids of an array are its positions.
        k: Number of items to choose. If the pool is smaller, all its items are chosen.
        strategy: A name, optionally with options in brackets; a function, see `protocols.Strategy`; or a score function
            such as `acquire.bald`.
        labelled: The labelled items: a `Labelled`, or arrays (x, y). Strategies such as core_set use them.
        seed: Seed of the posterior samples and of all random choices.
        draws: Number of posterior samples T.
        memory: Memory for scoring, in addition to the pool.

    Returns:
        The choice: `ids`, `scores` and `info`.

    Raises:
        InvalidSettings: There is no such strategy, or it has no such option.
        InvalidArgument: k is less than 1, the pool is empty, or the posterior is a plain network.
    """
    if isinstance(posterior, nn.Module):
        raise InvalidArgument(
            "a posterior was expected, not a network; give posteriors.MCDropout(network), "
            "posteriors.Deterministic(network) or another class of baldur.posteriors"
        )
    unlabelled = as_pool(pool)
    if k < 1:
        raise InvalidArgument(f"k, the number of items to choose, must be at least 1, not {k}")
    if not len(unlabelled):
        raise InvalidArgument("the pool is empty; give at least one unlabelled item")
    if not isinstance(strategy, str) and not callable(strategy):
        raise InvalidArgument(f"a strategy must be one name or function, not {strategy!r}")
    chosen = (
        strategy_named(strategy) if isinstance(strategy, str) else as_strategy(strategy, name_of(strategy))
    )
    scorer = PoolScorer(draws=draws, seed=seed, memory=memory)
    return chosen(
        posterior,
        _labelled(labelled, unlabelled),
        unlabelled,
        min(k, len(unlabelled)),
        generator(seed, "select"),
        scorer,
    )


def _labelled(labelled: Labelled | tuple[Any, Any] | None, pool: Pool) -> Labelled:
    if isinstance(labelled, Labelled):
        return labelled
    if labelled is None:
        known: Pool = View(pool, np.arange(0))
        labels = np.zeros(0, np.int64)
    else:
        refuse_other_rows(*labelled)
        known, labels = as_pool(labelled[0]), class_indices(labelled[1])
    n = len(labels)
    if len(known) != n:
        raise InvalidArgument(
            f"there are {len(known)} labelled items, but {n} labels; give one label for each item"
        )
    return Labelled(known, labels, np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n)
