"""The contracts between the parts, and the plain values that travel between them.

N items, T posterior samples, C classes, D features, k picks; axis order is always (N, T, C, ...).
Nothing here imports torch: a batch is any tree of tensors, and an array is whatever the caller brought.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Batch = Any
"""A tensor, or a tree (tuple, list, dict) of tensors whose first axis is the item."""

Positions = NDArray[np.intp]
"""Where items stand in a pool, counted from 0."""

Metrics = Mapping[tuple[str, str], float]
"""Values by (metric, split)."""


@runtime_checkable
class Pool(Protocol):
    """What there is to label: items with stable ids, readable in batches; it may be larger than memory."""

    @property
    def ids(self) -> Sequence[str]:
        """The ids, unique and stable, in order."""
        ...

    @property
    def groups(self) -> Sequence[str] | None:
        """For each item the group (a patient, a track) that no split may divide; None where there are none."""
        ...

    def __len__(self) -> int: ...

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read the items at `positions`, in that order, at most `size` at a time."""
        ...


@dataclass(frozen=True)
class View:
    """Some items of a pool, as a pool: its position i is position `positions[i]` of the whole.

    Args:
        whole: The pool.
        positions: Where its items stand in the pool.
    """

    whole: Pool
    positions: Positions

    @property
    def ids(self) -> Sequence[str]:
        """The ids of these items."""
        ids = self.whole.ids
        return [ids[i] for i in self.positions]

    @property
    def groups(self) -> Sequence[str] | None:
        """The groups of these items; None where there are none."""
        groups = self.whole.groups
        return None if groups is None else [groups[i] for i in self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def batches(self, positions: Positions, size: int) -> Iterator[tuple[Positions, Batch]]:
        """Read items as the pool does.

        Args:
            positions: Where they stand in this view.
            size: The most items in a batch.

        Yields:
            Positions in this view, and their batch.
        """
        start = 0
        for read, x in self.whole.batches(self.positions[positions], size):
            yield positions[start : start + len(read)], x
            start += len(read)


@dataclass(frozen=True)
class Labelled:
    """The labelled items of a pool with what is known of each label.

    Args:
        pool: The labelled items, in the order in which they were labelled.
        labels: Class indices, shape (n,), int64; of maps (n, H, W), of several labels an item (n, K) of 0 and 1, of
            numbers (n,) or (n, K), floating.
        rounds: The round in which each label was asked for, shape (n,), int64.
        weights: How much each item counts in the loss, shape (n,), float32.
        sources: Who said so: "oracle", or what a semi-supervised learner calls its own labels.
    """

    pool: Pool
    labels: NDArray[Any]
    rounds: NDArray[np.int64]
    weights: NDArray[np.float32]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Picks:
    """What a selection chose: positions in the array that it was given, in the order chosen.

    Args:
        indices: Positions, shape (k,).
        scores: The marginal gain of each at the time of choosing, float64, shape (k,).
        info: What it cost and how exact it is; "gap" is a bound on the distance to the full computation.
    """

    indices: NDArray[np.intp]
    scores: NDArray[np.float64]
    info: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)


@dataclass(frozen=True)
class Choice:
    """What a strategy chose: item ids, never positions.

    Args:
        ids: The chosen items in the order chosen.
        scores: The gain of each at the time of choosing, float64, shape (k,).
        info: What it cost and how exact it is.
        pool_scores: The score of every item of the unlabelled pool, float64, shape (N,), where there is one.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    info: Mapping[str, Any] = field(default_factory=dict)
    pool_scores: NDArray[np.float64] | None = None


@runtime_checkable
class Draws(Protocol):
    """T functions: sample t is the same function for every item, batch size, order and pool."""

    @property
    def kind(self) -> str:
        """The kind of `log_probs`: "categorical", "bernoulli" or "gaussian"."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its `outputs`: "log_probs", and "features" where the network has them."""
        ...

    @property
    def degenerate(self) -> bool:
        """Whether the samples are the same function by the user's own word (T = 1, or every rate 0)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, samples: slice) -> "Draws": ...

    def __call__(self, x: Batch) -> Any:
        """Log-probabilities of a batch, shape (n, T, C)."""
        ...

    def features(self, x: Batch) -> Any:
        """Features of a batch under the mean network, shape (n, D)."""
        ...

    def outputs(self, x: Batch, names: Sequence[str]) -> dict[str, Any]:
        """Several outputs from one pass."""
        ...

    def split(self) -> "tuple[Callable[[Batch], Any], Callable[[Any], Any]] | None":
        """(trunk, rest) with rest(trunk(x)) equal to self(x), or None where there is no such cut."""
        ...


@runtime_checkable
class Posterior(Protocol):
    """A distribution over functions: what the model believes.

    Every posterior has these four members, and nothing else is asked of one; a scorer refuses what lacks a member. A
    posterior of your own may inherit from this class. It then is as many functions as one likes, has no networks, and
    adds `draw` and `save`.
    """

    @property
    def functions(self) -> int | None:
        """How many functions there are in all; None where there are as many as one likes."""
        return None

    @property
    def networks(self) -> Sequence[Any]:
        """The mean networks (`torch.nn.Module`) in the order in which they were built; empty where there are none."""
        return ()

    @abstractmethod
    def draw(self, T: int | None = None, seed: int = 0) -> Draws:
        """T functions; T unset means all `functions`, else 20. `draw(T)` is a prefix of `draw(T + 1)`."""
        ...

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write everything that the learner's `load` needs, without pickle."""
        ...


@runtime_checkable
class Checkpoint(Protocol):
    """A slot for the state of a long fit."""

    def latest(self) -> Path | None:
        """The newest whole checkpoint file, if there is one."""
        ...

    def save(self, write: Callable[[Path], None]) -> None:
        """Call `write(path)` on a temporary file, then put the file in the place of the last one."""
        ...


@runtime_checkable
class Learner(Protocol):
    """Learns from few labels."""

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Posterior:
        """Fit on what is labelled and return what is now believed."""
        ...

    def load(self, folder: Path) -> Posterior:
        """Rebuild a posterior that this learner fitted and that was saved to `folder`."""
        ...


@runtime_checkable
class OffersLearner(Protocol):
    """What an object that is no learner may have, if it can be one."""

    def as_learner(self, shape: tuple[int, ...], classes: int) -> Learner:
        """The learner for items of a shape, and a number of classes."""
        ...


@runtime_checkable
class HoldsOut(Protocol):
    """What a learner may also have, if it does not train on all labelled items."""

    def held_out(self, labelled: Labelled) -> Labelled | None:
        """The items that a fit on these does not train on; None where it trains on all."""
        ...


@runtime_checkable
class MakesPictures(Protocol):
    """What a learner or a posterior function may also have, if it generates images."""

    def pictures(self) -> bytes | None:
        """A PNG of images that the last fit generated, in one row; None where there are none."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """What a learner may also have, if it knows before the first fit what it predicts."""

    def predicts(self) -> str | None:
        """The `kind` of its posteriors' draws; None where it is not known."""
        ...


def held_out_of(learner: Learner, labelled: Labelled) -> Labelled | None:
    """The items that a fit on these does not train on; None where it trains on all, or does not say.

    Args:
        learner: Any learner.
        labelled: What is labelled.

    Returns:
        The items, or None.
    """
    return learner.held_out(labelled) if isinstance(learner, HoldsOut) else None


def pictures_of(part: object) -> bytes | None:
    """A PNG of images that the last fit generated; None where none were.

    Args:
        part: Any learner or posterior function.

    Returns:
        The PNG, or None.
    """
    return part.pictures() if isinstance(part, MakesPictures) else None


def kind_of(learner: Learner) -> str | None:
    """The kind of draws that a learner's posteriors give; None where it is not known before the first fit.

    Args:
        learner: Any learner.

    Returns:
        As `Draws.kind`, or None.
    """
    return learner.predicts() if isinstance(learner, Predicts) else None


class WrappingLearner:
    """The base of a learner around another: whatever may be asked of a learner is passed on to that one."""

    learner: Learner
    """The learner within."""

    def predicts(self) -> str | None:
        """As the learner within."""
        return kind_of(self.learner)

    def held_out(self, labelled: Labelled) -> Labelled | None:
        """As that of the learner within.

        Args:
            labelled: What is labelled.

        Returns:
            The items that a fit on these does not train on; None where it trains on all.
        """
        return held_out_of(self.learner, labelled)

    def pictures(self) -> bytes | None:
        """As those of the learner within."""
        return pictures_of(self.learner)


@runtime_checkable
class Scorer(Protocol):
    """Evaluates a posterior over a whole pool, in one pass and in bounded memory."""

    @property
    def memory(self) -> str | int:
        """The memory that a pass may use beyond the pool: bytes, or a text such as "1GiB"."""
        ...

    def predict(
        self, posterior: Posterior, pool: Pool, reduce: Callable[[Any], Any] | None = None
    ) -> NDArray[Any]:
        """`reduce` of the log-probabilities of every item, (N, ...); without it (N, T, C)."""
        ...

    def features(self, posterior: Posterior, pool: Pool) -> NDArray[np.float32]:
        """Features of every item under the mean network, (N, D)."""
        ...

    def outputs(self, posterior: Posterior, pool: Pool, name: str) -> NDArray[np.float32]:
        """Another of the outputs that `Draws.names` lists, of every item: "loss", say; (N, ...)."""
        ...


@runtime_checkable
class Strategy(Protocol):
    """Chooses what to label next."""

    def __call__(
        self,
        posterior: Posterior,
        labelled: Labelled,
        unlabelled: Pool,
        k: int,
        rng: np.random.Generator,
        scorer: Scorer,
    ) -> Choice:
        """Choose k unlabelled items.

        Args:
            posterior: What the model believes.
            labelled: The labelled items.
            unlabelled: The items to choose from.
            k: How many to choose.
            rng: For everything that is drawn.
            scorer: Evaluates the posterior over a pool.

        Returns:
            The ids of the items, with their scores.
        """
        ...


@dataclass(frozen=True)
class Sampled:
    """A model on the reserve of a trial: M items in random order, of which the first n are labelled.

    Args:
        guess: The model's guess of its error on each item, 1 - max_c p̄_c, shape (M,).
        wrong: Where the predicted class is not the label, 1, else 0, for the first n items, shape (n,).
    """

    guess: NDArray[np.float64]
    wrong: NDArray[np.float64]


@dataclass(frozen=True)
class History:
    """The past of a trial up to the round that was just measured: R rounds, S items of the stop set, C classes.

    Args:
        labels: How many labels each round was trained on, R numbers.
        metrics: The metrics of each round, by (metric, split); R mappings.
        predictions: Mean log-probabilities (S, C) of the newest rounds, the newest last. There are at most as many as
            the criterion reads. All are of the same items, none of which is labelled by now.
        scores: The scores of the batch that each round was the first to train on, (k,) each; (0,) for the initial one.
        tested: The newest model on the reserve; None without one.
    """

    labels: Sequence[int]
    metrics: Sequence[Metrics] = ()
    predictions: Sequence[NDArray[np.floating]] = ()
    scores: Sequence[NDArray[np.float64]] = ()
    tested: Sampled | None = None

    def values(self, metric: str, split: str) -> list[float]:
        """One metric, round by round.

        Args:
            metric: Its name.
            split: The part of the data that it was measured on.

        Returns:
            R numbers; NaN where it was not measured.
        """
        return [measured.get((metric, split), math.nan) for measured in self.metrics]


@runtime_checkable
class Criterion(Protocol):
    """A stopping criterion: says when a trial has learned enough."""

    @property
    def name(self) -> str:
        """Its name with its options, as settings write it."""
        ...

    @property
    def rounds(self) -> int:
        """How many of the newest rounds' predictions on the stop set it reads."""
        ...

    @property
    def splits(self) -> frozenset[str]:
        """The splits whose metrics it reads; "query" is the batch just labelled, before it was trained on."""
        ...

    @property
    def limit(self) -> int | None:
        """The most labels that may be asked for; None for any number."""
        ...

    def __call__(self, history: History) -> str:
        """The reason to stop, in words; empty to go on."""
        ...


@runtime_checkable
class AsksForTests(Protocol):
    """A stopping criterion that needs labels of uniformly drawn items, which are never trained on."""

    def test_labels(self, history: History) -> int:
        """How many test labels the trial should have by now."""
        ...


def tests_of(criterion: Criterion, history: History) -> int:
    """How many test labels a criterion needs by now; 0 where it asks for none.

    Args:
        criterion: Any criterion.
        history: The past of the trial.

    Returns:
        A number of labels.
    """
    return criterion.test_labels(history) if isinstance(criterion, AsksForTests) else 0


@runtime_checkable
class Oracle(Protocol):
    """Answers, or says "not yet"."""

    @property
    def annotator(self) -> str:
        """Who answers, as the ledger records it."""
        ...

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The labels (class names) that are known by now; an id that is missing is not answered yet."""
        ...


@runtime_checkable
class Corrects(Protocol):
    """What an oracle may also have, if its answers may change later."""

    def corrections(self, known: Mapping[str, str]) -> Mapping[str, str]:
        """The new class names of items whose answer is now another one, given the class names known so far."""
        ...


@runtime_checkable
class Panel(Protocol):
    """An oracle whose answers are a consensus; the loop records the votes, too."""

    def votes(self, ids: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        """By annotator, the class names by id that the answers about these items come from."""
        ...

    def recall(self, votes: Mapping[str, Mapping[str, str]]) -> None:
        """Told, before each question, all votes of the trial so far."""
        ...
