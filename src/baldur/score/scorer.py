"""A scorer: makes passes over pools with the settings of a run."""

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
    """The functions for scoring: T samples, or all functions of a posterior with a fixed number.

    Args:
        posterior: The posterior.
        T: Number of samples, unless the posterior has a fixed number; None for the posterior's default.
        seed: Seed of the samples.

    Returns:
        The functions.

    Raises:
        InvalidArgument: The object is not a posterior.
    """
    if not isinstance(posterior, Posterior):
        raise InvalidArgument(
            f"a posterior was expected, not {type(posterior).__name__}; it needs functions, networks, draw and save "
            "(the base class baldur.protocols.Posterior has the first two)"
        )
    return posterior.draw(T if posterior.functions is None else posterior.functions, seed)


@dataclass(frozen=True)
class PoolScorer:
    """Holds the settings of scoring; see `protocols.Scorer`.

    Args:
        draws: Number of posterior samples T; None for the posterior's default. A posterior with a fixed number of
            functions, such as an ensemble of networks, always uses all of them.
        seed: Seed of the samples.
        memory: Memory for a pass, in addition to the pool.
        batch_size: Maximum number of items in a batch.
        precision: The type of matrix products; see `predict`.
        trunks: A cache for the outputs of unchanged trunks.
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
        """Number of items in a batch.

        Args:
            draws: T functions.
            pool: The items.

        Returns:
            At most `batch_size`; `memory` may reduce it.
        """
        return _batch_size(draws, pool, bytes_of(self.memory), self.batch_size, self.precision)

    def predict(
        self, posterior: Posterior, pool: Pool, reduce: Callable[[Any], Any] | None = None
    ) -> NDArray[Any]:
        """Call `score.predict` with the settings of this scorer.

        Args:
            posterior: The posterior.
            pool: The items.
            reduce: A function of log-probabilities that returns an array (n, ...).

        Returns:
            See `predict`.
        """
        draws = draws_of(posterior, self.draws, self.seed)
        return predict(draws, pool, reduce, self.memory, trunks=self.trunks, **self._bound)

    def features(self, posterior: Posterior, pool: Pool) -> NDArray[np.float32]:
        """Call `score.features` with the settings of this scorer.

        Args:
            posterior: The posterior.
            pool: The items.

        Returns:
            (N, D).
        """
        return self.outputs(posterior, pool, "features")

    def outputs(self, posterior: Posterior, pool: Pool, name: str) -> NDArray[np.float32]:
        """Call `score.outputs` with the settings of this scorer.

        Args:
            posterior: The posterior.
            pool: The items.
            name: The name of the output.

        Returns:
            (N, ...).
        """
        draws = draws_of(posterior, None, self.seed)
        return outputs(draws, pool, name, self.memory, **self._bound)
