"""One batch, without a run."""

from typing import Any

import numpy as np
from torch import nn

from baldur.core.seeds import generator
from baldur.data import as_pool
from baldur.data.arrays import class_indices
from baldur.errors import InvalidArgument
from baldur.protocols import Choice, Labelled, Pool, Posterior, Strategy, View
from baldur.runs.names import strategy_named
from baldur.score import PoolScorer


def choose(
    posterior: Posterior | nn.Module,
    pool: Pool | Any,
    *,
    k: int = 10,
    strategy: str | Strategy = "bald",
    labelled: Labelled | tuple[Any, Any] | None = None,
    seed: int = 0,
    draws: int = 20,
    memory: str = "1GiB",
) -> Choice:
    """Choose the next items to label, without a run.

    Args:
        posterior: What the model believes: `posteriors.MCDropout(network)`, for instance.
        pool: The unlabelled items: a pool, or an array (N, ...) whose ids are its positions.
        k: How many items; a smaller pool is chosen whole.
        strategy: A name, with options in brackets if you like, or a function as `protocols.Strategy` has it.
        labelled: The labelled items: a `Labelled`, or arrays (x, y). Strategies such as core_set look at them.
        seed: Of the posterior samples and of everything that is drawn.
        draws: Posterior samples T.
        memory: What scoring may use beyond the pool.

    Returns:
        The choice: `ids`, `scores` and `info`.

    Raises:
        InvalidSettings: There is no such strategy, or it has no such option.
        InvalidArgument: k is below 1, the pool is empty, or the posterior is a plain network.
    """
    if isinstance(posterior, nn.Module):
        raise InvalidArgument(
            "a posterior was expected, not a network: give posteriors.MCDropout(network), "
            "posteriors.Deterministic(network) or another of baldur.posteriors"
        )
    unlabelled = as_pool(pool)
    if k < 1 or not len(unlabelled):
        raise InvalidArgument(f"{k} items cannot be chosen from a pool of {len(unlabelled)}")
    chosen = strategy_named(strategy) if isinstance(strategy, str) else strategy
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
        known, labels = as_pool(labelled[0]), class_indices(labelled[1])
    n = len(labels)
    if len(known) != n:
        raise InvalidArgument(f"there are {len(known)} labelled items, but {n} labels; give one for each")
    return Labelled(known, labels, np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n)
