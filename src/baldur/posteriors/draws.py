"""Draws, once for all posteriors: samples known by their numbers, and other draws with a change at their borders."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, final

from torch import Tensor

from baldur.errors import InvalidArgument
from baldur.protocols import Draws

SAMPLES = 20
"""T where it is unset and there are as many functions as one likes."""


def number_of_draws(T: int | None, functions: int | None = None, unset: int = SAMPLES) -> int:
    """How many functions to draw.

    Args:
        T: The requested number; None for all functions.
        functions: How many there are; None where there are as many as one likes.
        unset: The default number for posteriors with any number of functions.

    Returns:
        At least 1.

    Raises:
        InvalidArgument: T < 1, or more than there are.
    """
    if T is None:
        return unset if functions is None else functions
    if T < 1:
        raise InvalidArgument(f"at least one posterior sample is needed; T = {T} was asked for")
    if functions is not None and functions < T:
        raise InvalidArgument(
            f"this posterior is {functions} function(s), and T = {T} were asked for; ask for at most {functions}, or "
            "leave T unset for all of them"
        )
    return T


class NumberedDraws(ABC):
    """T samples of one posterior, known by their absolute numbers; see `protocols.Draws`.

    Length, slices and outputs are here. A posterior adds `__call__`, `features` and `_at`.

    Args:
        kind: "categorical", "bernoulli" or "gaussian".
        samples: The absolute numbers t.
        degenerate: Whether all samples are the same function by the user's own word.

    Raises:
        InvalidArgument: There are no samples.
    """

    names: tuple[str, ...] = ("log_probs", "features")

    def __init__(self, kind: str, samples: range, degenerate: bool = False) -> None:
        number_of_draws(len(samples))
        self.kind = kind
        self.samples = samples
        self._same = degenerate

    @property
    def degenerate(self) -> bool:
        """Whether the samples are the same function by the user's own word, or there is one alone."""
        return self._same or len(self) == 1

    @abstractmethod
    def _at(self, samples: range) -> "NumberedDraws":
        """The same draws with other samples, of these absolute numbers."""

    @abstractmethod
    def __call__(self, x: Any) -> Tensor: ...

    @abstractmethod
    def features(self, x: Any) -> Tensor:
        """Features of a batch under the mean network.

        Args:
            x: A batch.

        Returns:
            Features, (n, D).
        """

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, samples: slice) -> "NumberedDraws":
        chosen = self.samples[samples]
        if not chosen:
            raise InvalidArgument(f"{samples} of {len(self)} samples holds none")
        return self._at(chosen)

    def outputs(self, x: Any, names: Sequence[str]) -> dict[str, Tensor]:
        """Several outputs of one batch.

        Args:
            x: A batch.
            names: Some of `names`.

        Returns:
            The outputs by name.
        """
        functions: dict[str, Callable[[Any], Tensor]] = {"log_probs": self, "features": self.features}
        return {name: functions[name](x) for name in names}

    def split(self) -> tuple[Callable[[Any], Tensor], Callable[[Tensor], Tensor]] | None:
        """The part that runs once, and the part that runs for each sample.

        Returns:
            (trunk, rest) with rest(trunk(x)) equal to self(x); None where there is no such cut.
        """
        return None


@final
@dataclass(frozen=True)
class WrappedDraws:
    """Other draws with a change to what goes in or comes out; see `protocols.Draws`.

    Args:
        draws: The functions.
        before: Changes each batch.
        after: Changes log-probabilities (n, T, C, ...).
        more: Further outputs by name, each a function of a batch.
        may_agree: Whether samples that agree on every item are no error here.
    """

    draws: Draws
    before: Callable[[Any], Any] | None = None
    after: Callable[[Any], Any] | None = None
    more: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    may_agree: bool = False

    @property
    def kind(self) -> str:
        """As of the functions."""
        return self.draws.kind

    @property
    def names(self) -> tuple[str, ...]:
        """Those of the functions, and the further ones."""
        return (*self.draws.names, *self.more)

    @property
    def degenerate(self) -> bool:
        """As of the functions, or since their samples may agree."""
        return self.may_agree or self.draws.degenerate

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, samples: slice) -> "WrappedDraws":
        return replace(self, draws=self.draws[samples])

    def __call__(self, x: Any) -> Any:
        return self._changed(self.draws(self._given(x)))

    def features(self, x: Any) -> Any:
        """The features of the functions.

        Args:
            x: A batch.

        Returns:
            Features, (n, D).
        """
        return self.draws.features(self._given(x))

    def outputs(self, x: Any, names: Sequence[str]) -> dict[str, Any]:
        """Several outputs of one batch, from one pass where the functions need but one.

        Args:
            x: A batch.
            names: Some of `names`.

        Returns:
            The outputs by name.
        """
        x = self._given(x)
        inner = [name for name in names if name not in self.more]
        outputs = self.draws.outputs(x, inner) if inner else {}
        if "log_probs" in outputs:
            outputs = {**outputs, "log_probs": self._changed(outputs["log_probs"])}
        return {**outputs, **{name: self.more[name](x) for name in names if name in self.more}}

    def split(self) -> tuple[Callable[[Any], Any], Callable[[Any], Any]] | None:
        """The cut of the functions, if there is one.

        Returns:
            (trunk, rest) with rest(trunk(x)) equal to self(x), or None.
        """
        parts = self.draws.split()
        if parts is None:
            return None
        trunk, rest = parts
        return (
            trunk if self.before is None else lambda x: trunk(self._given(x)),
            rest if self.after is None else lambda h: self._changed(rest(h)),
        )

    def _given(self, x: Any) -> Any:
        return x if self.before is None else self.before(x)

    def _changed(self, log_probs: Any) -> Any:
        return log_probs if self.after is None else self.after(log_probs)
