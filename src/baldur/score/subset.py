"""Some samples of a posterior, for passes over parts of a pool."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from baldur.posteriors.draws import WrappedDraws
from baldur.protocols import Draws, Posterior


@dataclass(frozen=True)
class SomeSamples(Posterior):
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
        """As many as the scorer may ask for: those of the posterior."""
        return self.posterior.functions

    @property
    def networks(self) -> Sequence[Any]:
        """Those of the posterior."""
        return self.posterior.networks

    def draw(self, T: int | None = None, seed: int = 0) -> Draws:
        if (T, seed) not in self.made:
            self.made[T, seed] = WrappedDraws(self.posterior.draw(T, seed)[self.samples], may_agree=self.part)
        return self.made[T, seed]

    def __reduce__(self) -> Any:
        # The draws are made again where they arrive.
        return SomeSamples, (self.posterior, self.samples, self.part)

    def save(self, folder: Path) -> None:
        """As the posterior; which samples they are tells these draws from others of the same weights."""
        self.posterior.save(folder)
        (folder / "samples.txt").write_text(repr(self.samples))
