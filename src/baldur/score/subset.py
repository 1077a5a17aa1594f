"""Some samples of a posterior, for passes over parts of a pool."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baldur.protocols import Batch, Draws, Posterior


@dataclass(frozen=True)
class SomeSamples:
    """A posterior of which a scorer sees some samples only.

    Args:
        posterior: The posterior.
        samples: Which of those that the scorer asks for.
        part: Whether the pass is over a part of the pool, where samples may well agree on every item.
        made: Draws that were made; what they have prepared is used again.
    """

    posterior: Posterior
    samples: slice
    part: bool
    made: dict[tuple[int | None, int], Draws] = field(default_factory=dict)

    @property
    def functions(self) -> int | None:
        """How many functions there are, where it is a fixed number."""
        return getattr(self.posterior, "functions", None)

    def draw(self, T: int | None = None, seed: int = 0) -> Draws:
        if (T, seed) not in self.made:
            self.made[T, seed] = SomeDraws(self.posterior.draw(T, seed)[self.samples], self.part)
        return self.made[T, seed]

    def __reduce__(self) -> Any:
        # The draws are made again where they arrive.
        return SomeSamples, (self.posterior, self.samples, self.part)

    def save(self, folder: Path) -> None:
        """As the posterior; which samples they are tells these draws from others of the same weights."""
        self.posterior.save(folder)
        (folder / "samples.txt").write_text(repr(self.samples))


@dataclass(frozen=True)
class SomeDraws:
    """Draws that may agree on all items of a pass."""

    draws: Draws
    part: bool

    @property
    def kind(self) -> str:
        return self.draws.kind

    @property
    def names(self) -> tuple[str, ...]:
        return self.draws.names

    @property
    def degenerate(self) -> bool:
        return self.part or self.draws.degenerate

    def __len__(self) -> int:
        return len(self.draws)

    def __getitem__(self, samples: slice) -> Draws:
        return SomeDraws(self.draws[samples], self.part)

    def __call__(self, x: Batch) -> Any:
        return self.draws(x)

    def features(self, x: Batch) -> Any:
        return self.draws.features(x)

    def outputs(self, x: Batch, names: Sequence[str]) -> dict[str, Any]:
        return self.draws.outputs(x, names)

    def split(self) -> tuple[Callable[[Batch], Any], Callable[[Any], Any]] | None:
        return self.draws.split()
