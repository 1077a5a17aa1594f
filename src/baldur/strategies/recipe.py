"""How a recipe of `baldur.strategies` becomes a strategy, and the query round that it chooses in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Signature, signature
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from baldur.acquire import aggregate
from baldur.core.arrays import predictive
from baldur.core.sizes import bytes_of
from baldur.errors import Unsupported
from baldur.protocols import Choice, Labelled, Picks, Pool, Positions, Posterior, Scorer, View
from baldur.score.subset import SomeSamples

Reduce = Callable[[Any], Any]
"""Log-probabilities (n, T, C) to scores (n,)."""

CLASSES = ("categorical", "bernoulli")
"""Kinds of draws that are probabilities of classes."""

Scored = tuple[Picks, NDArray[Any]]
"""The picks, and the score of every item of the pool."""


@dataclass(frozen=True)
class QueryRound:
    """One query: the items that a recipe chooses among. Predictions and features are computed on demand.

    Args:
        posterior: The posterior of the model.
        labelled: The labelled items.
        unlabelled: The N items to choose from.
        k: Number of items to choose.
        rng: Generator for all random choices.
        scorer: Evaluates the posterior over a pool.
    """

    posterior: Posterior
    labelled: Labelled
    unlabelled: Pool
    k: int
    rng: np.random.Generator
    scorer: Scorer

    def scores(self, reduce: Reduce, kinds: tuple[str, ...] = CLASSES) -> NDArray[Any]:
        """The score of every unlabelled item, (N,). The predictions are not kept.

        Args:
            reduce: Log-probabilities (n, T, C) to scores (n,). Scores of places or labels of an item are averaged.
            kinds: The kinds of draws that `reduce` accepts.

        Returns:
            Scores, (N,).
        """
        self.need(kinds)

        def per_item(log_probs: Any) -> Any:
            scores = reduce(log_probs)
            return scores if scores.ndim == 1 else aggregate(scores)

        return self.scorer.predict(self.posterior, self.unlabelled, per_item)

    def need(self, kinds: tuple[str, ...]) -> None:
        """Raise an error if the posterior has draws of another kind.

        Args:
            kinds: The kinds of draws that the recipe accepts.

        Raises:
            Unsupported: The posterior's draws are of another kind.
        """
        kind = self.posterior.draw(1).kind
        if kind not in kinds:
            raise Unsupported(
                f"this strategy reads {' and '.join(kinds)} predictions, and the posterior's are {kind}"
                + (
                    "; for numbers there are variance and gaussian_information_gain"
                    if kind == "gaussian"
                    else ""
                )
            )

    def log_probs(self, pool: Pool | None = None) -> NDArray[Any]:
        """Log-probabilities of the unlabelled items, or of a pool.

        Args:
            pool: The pool, if not the unlabelled items.

        Returns:
            Log-probabilities, (N, T, C).
        """
        self.need(CLASSES)
        return self.scorer.predict(self.posterior, self.unlabelled if pool is None else pool)

    def mean(self, pool: Pool | None = None) -> NDArray[Any]:
        """The mean prediction. The samples are not kept.

        Args:
            pool: The pool, if not the unlabelled items.

        Returns:
            Log-probabilities, (N, 1, C).
        """
        self.need(CLASSES)
        return self.scorer.predict(self.posterior, self.unlabelled if pool is None else pool, mean_prediction)

    def reader(self) -> Callable[[Positions], NDArray[Any]]:
        """A function that predicts some unlabelled items, (n, T, C). For recipes that need only few of them."""
        self.need(CLASSES)
        posterior = SomeSamples(self.posterior, slice(None), part=True)
        return lambda positions: self.scorer.predict(posterior, View(self.unlabelled, positions))

    @property
    def memory(self) -> int:
        """Memory in addition to the pool, in bytes."""
        return bytes_of(self.scorer.memory)

    def features(self, bias: bool = False) -> NDArray[np.float32]:
        """Features of the unlabelled items.

        Args:
            bias: Whether to add the 1 that the last layer's bias multiplies.

        Returns:
            Features, (N, D) or (N, D + 1).
        """
        return _with_one(self.scorer.features(self.posterior, self.unlabelled), bias)

    def known_features(self, bias: bool = False) -> NDArray[np.float32]:
        """Features of the labelled items.

        Args:
            bias: Whether to add the 1 that the last layer's bias multiplies.

        Returns:
            Features, (M, D) or (M, D + 1).
        """
        if not len(self.labelled):  # no rows, but as many columns as the features have
            return _with_one(self.scorer.features(self.posterior, View(self.unlabelled, np.arange(1))), bias)[
                :0
            ]
        return _with_one(self.scorer.features(self.posterior, self.labelled.pool), bias)

    def sample(self, n: int) -> View:
        """At most n random unlabelled items, in the order of the pool.

        Args:
            n: Maximum number of items.

        Returns:
            The items, as a pool.
        """
        size = len(self.unlabelled)
        return View(self.unlabelled, np.sort(self.rng.permutation(size)[:n]).astype(np.intp))

    def within(self, pool: View) -> "QueryRound":
        """The same round with fewer items to choose among.

        Args:
            pool: Some of the unlabelled items.

        Returns:
            The round.
        """
        return QueryRound(self.posterior, self.labelled, pool, self.k, self.rng, self.scorer)

    def seen(self) -> NDArray[np.intp]:
        """The number of labels of each class, up to the last class that has one."""
        self.need(("categorical",))
        labels = self.labelled.labels
        if labels.ndim != 1:
            raise Unsupported(
                "this strategy counts the labels of each class, so it needs one class an item; here the labels of an"
                f" item have the shape {labels.shape[1:]}, as those of maps have"
            )
        return np.bincount(labels)

    def classes(self) -> int:
        """The number of classes of the predictions."""
        some = View(self.unlabelled, np.arange(min(64, len(self.unlabelled))))
        return int(self.log_probs(some).shape[2])


@runtime_checkable
class NamedStrategy(Protocol):
    """A strategy that takes options by keyword."""

    def __call__(
        self,
        posterior: Posterior,
        labelled: Labelled,
        unlabelled: Pool,
        k: int,
        rng: np.random.Generator,
        scorer: Scorer,
        **options: Any,
    ) -> Choice:
        """Choose k unlabelled items.

        Args:
            posterior: As in `protocols.Strategy`.
            labelled: As in `protocols.Strategy`.
            unlabelled: As in `protocols.Strategy`.
            k: Number of items to choose.
            rng: Generator for all random choices.
            scorer: As in `protocols.Strategy`.
            options: Options of the recipe.

        Returns:
            The ids of the items, with their scores.
        """
        ...


def strategy(recipe: Callable[..., Picks | Scored | Choice]) -> NamedStrategy:
    """A recipe as a strategy: from positions to ids.

    Args:
        recipe: A function of a `QueryRound`, with options.

    Returns:
        A strategy, which takes the options by keyword.
    """

    @wraps(recipe)
    def choose(
        posterior: Posterior,
        labelled: Labelled,
        unlabelled: Pool,
        k: int,
        rng: np.random.Generator,
        scorer: Scorer,
        **options: Any,
    ) -> Choice:
        made = recipe(QueryRound(posterior, labelled, unlabelled, k, rng, scorer), **options)
        return made if isinstance(made, Choice) else as_choice(made, unlabelled)

    options = list(signature(recipe).parameters.values())[1:]
    own = [
        p for p in signature(choose, follow_wrapped=False).parameters.values() if p.kind is not p.VAR_KEYWORD
    ]
    keywords = [p.replace(kind=p.KEYWORD_ONLY) for p in options]
    choose.__signature__ = Signature([*own, *keywords], return_annotation=Choice)  # type: ignore[attr-defined]
    return choose


def as_choice(made: Picks | Scored, unlabelled: Pool) -> Choice:
    """Picks with the ids of their items.

    Args:
        made: The picks, by position; or the picks and the score of every item.
        unlabelled: The pool of the positions.

    Returns:
        The choice.
    """
    picks, scores = (made, None) if isinstance(made, Picks) else made
    ids = unlabelled.ids
    return Choice(tuple(ids[i] for i in picks.indices), picks.scores, picks.info, scores)


def mean_prediction(log_probs: Any) -> Any:
    """The mean prediction as one sample.

    Args:
        log_probs: Log-probabilities, (n, T, C, ...).

    Returns:
        Log-probabilities, (n, 1, C, ...).
    """
    return predictive(log_probs)[:, None, ...]  # (n, 1, C, ...)


def _with_one(features: NDArray[np.float32], bias: bool) -> NDArray[np.float32]:
    return np.concatenate([features, np.ones((len(features), 1), features.dtype)], 1) if bias else features
