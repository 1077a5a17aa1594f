"""The consensus of several annotators."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from baldur.core.seeds import derive
from baldur.errors import InvalidArgument, InvalidLabel
from baldur.evaluate.agreement import dawid_skene, decide, majority
from baldur.protocols import Oracle


class Crowd:
    """Asks several annotators about each item and answers with their consensus.

    The annotators of an item, and their order, follow from (seed, id) alone. Among equally supported classes the answer
    that was given first counts. "majority" uses the votes of the item only. "dawid-skene" also uses the reliability of
    the annotators, estimated from the votes that `recall` was given.

    Args:
        annotators: The annotators.
        classes: The names of the classes.
        votes: How many annotators are asked about each item.
        aggregate: "majority" or "dawid-skene".
        seed: The seed for the annotators of each item.

    Raises:
        InvalidArgument: There are fewer annotators than votes, or two have one name.
    """

    def __init__(
        self,
        annotators: Sequence[Oracle],
        classes: Sequence[str],
        *,
        votes: int = 3,
        aggregate: Literal["majority", "dawid-skene"] = "majority",
        seed: int = 0,
    ) -> None:
        self._annotators = {oracle.annotator: oracle for oracle in annotators}
        if len(self._annotators) < len(annotators):
            raise InvalidArgument(
                f"each annotator needs a name of its own: {[o.annotator for o in annotators]}"
            )
        if not 1 <= votes <= len(annotators):
            raise InvalidArgument(f"{len(annotators)} annotators cannot give {votes} votes")
        if aggregate not in ("majority", "dawid-skene"):
            raise InvalidArgument(f"votes are aggregated by majority or dawid-skene, not by {aggregate!r}")
        self.annotator = f"{aggregate} of {votes}"
        self._classes = tuple(classes)
        self._index = {name: c for c, name in enumerate(classes)}
        self._count = votes
        self._aggregate = aggregate
        self._seed = seed
        self._earlier: Mapping[str, Mapping[str, str]] = {}

    def ask(self, ids: Sequence[str]) -> Mapping[str, str]:
        """The consensus on each item that all its annotators have answered.

        Args:
            ids: Items.

        Returns:
            Class names by id.

        Raises:
            InvalidLabel: An annotator's answer is not a class.
        """
        said = self.votes(ids)
        panels = {i: self._panel(i) for i in ids}
        whole = [i for i, panel in panels.items() if all(i in said[name] for name in panel)]
        if not whole:
            return {}
        in_order = np.array([[self._class(name, said[name][i]) for name in panels[i]] for i in whole])
        if self._aggregate == "majority" or not any(self._earlier.values()):
            chosen = majority(in_order, len(self._classes))
        else:
            known = dawid_skene(self._matrix(self._earlier), len(self._classes))
            chosen = decide(known.infer(self._matrix(said, whole)), in_order)
        return {i: self._classes[c] for i, c in zip(whole, chosen.tolist(), strict=True)}

    def votes(self, ids: Sequence[str]) -> dict[str, dict[str, str]]:
        """The answers of each annotator about its own items among these.

        Args:
            ids: Items.

        Returns:
            By annotator, class names by id.
        """
        asked: dict[str, list[str]] = {name: [] for name in self._annotators}
        for i in ids:
            for name in self._panel(i):
                asked[name].append(i)
        return {name: dict(self._annotators[name].ask(items)) for name, items in asked.items()}

    def recall(self, votes: Mapping[str, Mapping[str, str]]) -> None:
        """Estimate the reliability of the annotators from these votes, instead of earlier ones.

        Args:
            votes: By annotator, class names by id. Votes of people outside this crowd are not used.
        """
        self._earlier = {name: dict(votes.get(name, {})) for name in self._annotators}

    def _panel(self, id: str) -> list[str]:
        """The annotators of an item, in order."""
        order = sorted(self._annotators, key=lambda name: derive(self._seed, "panel", id, name))
        return order[: self._count]

    def _matrix(
        self, votes: Mapping[str, Mapping[str, str]], ids: Sequence[str] | None = None
    ) -> NDArray[np.int64]:
        """Class indices, a row for each item and a column for each annotator of the crowd."""
        items = sorted({i for given in votes.values() for i in given}) if ids is None else ids
        matrix = np.full((len(items), len(self._annotators)), -1, np.int64)
        for column, name in enumerate(self._annotators):
            for row, i in enumerate(items):
                if i in votes[name]:
                    matrix[row, column] = self._class(name, votes[name][i])
        return matrix

    def _class(self, annotator: str, label: str) -> int:
        if label not in self._index:
            raise InvalidLabel(f"{annotator!r} answers {label!r}; the classes are {', '.join(self._classes)}")
        return self._index[label]
