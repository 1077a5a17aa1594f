"""A scorer: passes over pools with the settings of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.core.sizes import bytes_of
from baldur.errors import InvalidArgument
from baldur.protocols import Draws, Pool, Posterior
from baldur.score.passes import Precision, Progress, _batch_size, outputs, predict
from baldur.score.trunks import Trunks


def draws_of(posterior: Posterior | Any, T: int | None = None, seed: int = 0) -> Draws:
    """The functions that a pool is scored with: T of them, or all where there are only so many.

    Args:
        posterior: The posterior.
        T: How many where there are as many as one likes; None for the posterior's own number.
        seed: Seed of the samples.

    Returns:
        The functions.

    Raises:
        InvalidArgument: It is no posterior.
    """
    if not isinstance(posterior, Posterior):
        raise InvalidArgument(
            f"{type(posterior).__name__} is no posterior: it needs functions, networks, draw and save; let it inherit "
            "from baldur.protocols.Posterior, where the first two are given"
        )
    return posterior.draw(T if posterior.functions is None else posterior.functions, seed)


@dataclass(frozen=True)
class PoolScorer:
    """Binds how a pool is scored; see `protocols.Scorer`.

    Args:
        draws: Posterior samples T; None for the posterior's own number. Where there are only so many functions, as
            in an ensemble of networks, all of them are taken.
        seed: Seed of the samples.
        memory: What a pass may use beyond the pool.
        batch_size: Items at a time.
        precision: Of matrix products; see `predict`.
        trunks: Keeps what an unchanged trunk gives, for the next pass.
        progress: Called with the number of finished items.
    """

    draws: int | None = 20
    seed: int = 0
    memory: str = "1GiB"
    batch_size: int = 128
    precision: Precision = "float32"
    trunks: Trunks | None = None
    progress: Progress | None = None

    @property
    def _bound(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "precision": self.precision, "progress": self.progress}

    def items_at_once(self, draws: Draws, pool: Pool) -> int:
        """How many items a batch has, which decides where batches are cut.

        Args:
            draws: T functions.
            pool: The items.

        Returns:
            At most `batch_size`; fewer where `memory` asks for it.
        """
        return _batch_size(draws, pool, bytes_of(self.memory), self.batch_size, self.precision)

    def predict(
        self, posterior: Posterior, pool: Pool, reduce: Callable[[Any], Any] | None = None
    ) -> NDArray[Any]:
        """`predict` with what is bound here.

        Args:
            posterior: The posterior.
            pool: The items.
            reduce: Log-probabilities to an array (n, ...).

        Returns:
            See `predict`.
        """
        draws = draws_of(posterior, self.draws, self.seed)
        return predict(draws, pool, reduce, self.memory, trunks=self.trunks, **self._bound)

    def features(self, posterior: Posterior, pool: Pool) -> NDArray[np.float32]:
        """`features` with what is bound here.

        Args:
            posterior: The posterior.
            pool: The items.

        Returns:
            (N, D).
        """
        return self.outputs(posterior, pool, "features")

    def outputs(self, posterior: Posterior, pool: Pool, name: str) -> NDArray[np.float32]:
        """`outputs` with what is bound here.

        Args:
            posterior: The posterior.
            pool: The items.
            name: Which output.

        Returns:
            (N, ...).
        """
        draws = draws_of(posterior, None, self.seed)
        return outputs(draws, pool, name, self.memory, **self._bound)
