"""Some samples of a posterior, for passes over parts of a pool."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baldur.posteriors.draws import WrappedDraws
from baldur.protocols import Draws, Posterior


@dataclass(frozen=True)
class SomeSamples(Posterior):
    """A posterior that shows a scorer only some of its samples.

    Args:
        posterior: The posterior.
        samples: The part of the requested samples.
        part: Whether the pass covers only a part of the pool, in which the samples may agree on every item.
        made: Earlier draws, which are used again.
    """

    posterior: Posterior
    samples: slice
    part: bool
    made: dict[tuple[int | None, int], Draws] = field(default_factory=dict)

    @property
    def functions(self) -> int | None:
        """The number of functions of the posterior."""
        return self.posterior.functions

    @property
    def networks(self) -> Sequence[Any]:
        """The networks of the posterior."""
        return self.posterior.networks

    def draw(self, T: int | None = None, seed: int = 0) -> Draws:
        if (T, seed) not in self.made:
            self.made[T, seed] = WrappedDraws(self.posterior.draw(T, seed)[self.samples], may_agree=self.part)
        return self.made[T, seed]

    def __reduce__(self) -> Any:
        # The receiving process makes the draws again.
        return SomeSamples, (self.posterior, self.samples, self.part)

    def save(self, folder: Path) -> None:
        """Save the posterior and the choice of samples, which identifies these draws."""
        self.posterior.save(folder)
        (folder / "samples.txt").write_text(repr(self.samples))
