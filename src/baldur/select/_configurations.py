"""Label configurations of the chosen points, as what each would say about which posterior sample is right."""

from dataclasses import dataclass
from typing import Any

import array_api_compat
import numpy as np
from jaxtyping import Float

from baldur.core.arrays import Array, log_sum_exp, namespace, to_numpy

_NEGLIGIBLE = 1e-16


@dataclass(frozen=True)
class Configurations:
    """M configurations of labels y_S with their posteriors over the T samples.

    All that can happen (each with its probability), or R drawn from each of the T samples in turn.

    Args:
        log_weights: λ[m, t] = Σ_{i∈S} log P[i, t, y_i^m], float64, shape (M, T).
        weights: p(ω_t | y_S^m), float64, shape (M, T).
        share: How much each configuration counts, float64, shape (M,).
        repeats: R, or 0 where these are all configurations.
    """

    log_weights: Float[Array, "M T"]
    weights: Float[Array, "M T"]
    share: Float[Array, " M"]
    repeats: int

    def __len__(self) -> int:
        return int(self.weights.shape[0])

    @property
    def exact(self) -> bool:
        """Whether these are all configurations."""
        return self.repeats == 0

    @property
    def undecided(self) -> float:
        """What is still unknown of the samples: the mean entropy of the weights, log T - f(S)."""
        xp = namespace(self.weights)
        terms = self.weights * xp.log(xp.clip(self.weights, min=1e-300))
        return float(-xp.sum(self.share * xp.sum(terms, axis=1)))

    @property
    def largest_ratio(self) -> float:
        """The largest mean weight of a sample over 1/T; 1 if these are all configurations."""
        xp = namespace(self.weights)
        return float(xp.max(self.share @ self.weights)) * int(self.weights.shape[1])

    def grouped(self, size: int) -> tuple[Float[Array, "G T"], Float[Array, " G"]]:
        """Averages of configurations that favour the same sample, so many at a time, and their shares."""
        xp, (count, draws) = namespace(self.weights), self.weights.shape
        favour = xp.astype(xp.argmax(self.weights, axis=1), xp.float64) + 0.5 * xp.max(self.weights, axis=1)
        order = xp.argsort(favour)
        each = xp.take(self.weights * self.share[:, None], order, axis=0)
        whole = count - count % size
        mass = xp.sum(xp.reshape(each[:whole, :], (-1, size, draws)), axis=1)
        if whole < count:
            mass = xp.concat([mass, xp.sum(each[whole:, :], axis=0, keepdims=True)], axis=0)
        share = xp.sum(mass, axis=1)
        return mass / share[:, None], share

    def variance(self, values: Float[Array, " M"]) -> float:
        """The variance of a value that each configuration has, among those that come from one sample.

        Args:
            values: The values.

        Returns:
            Its mean over the samples; divided by M it is the squared standard error of the drawn mean.
        """
        xp, draws = namespace(values), self.weights.shape[1]
        if self.exact:
            from_sample = draws * (self.share * values) @ self.weights
            return max(0.0, float(self.share @ values**2) - float(xp.mean(from_sample**2)))
        if self.repeats == 1:
            return float(xp.var(values))
        within = xp.var(xp.reshape(values, (self.repeats, draws)), axis=0, correction=1)
        return float(xp.mean(within))


def nothing_known(log_probs: Float[Array, "N T C"]) -> Configurations:
    """The one configuration of no labels.

    Args:
        log_probs: Log-probabilities, whose T, library and device are taken.

    Returns:
        One configuration with equal weights.
    """
    xp, device = namespace(log_probs), array_api_compat.device(log_probs)
    return _weighed(xp.zeros((1, log_probs.shape[1]), dtype=xp.float64, device=device), 0)


def with_every_label(known: Configurations, row: Float[Array, "T C"]) -> Configurations:
    """Every configuration with every label of one more point; those that cannot happen are left out.

    Args:
        known: All configurations of the points before.
        row: Log-probabilities of the new point, float64, shape (T, C).

    Returns:
        At most C times as many.
    """
    xp = namespace(row)
    labels = xp.permute_dims(row, (1, 0))
    log_weights = known.log_weights[:, None, :] + labels[None, :, :]  # (M, C, T)
    return _weighed(xp.reshape(log_weights, (-1, row.shape[0])), 0)


def with_one_label(
    known: Configurations, row: Float[Array, "T C"], rng: np.random.Generator
) -> Configurations:
    """Each drawn configuration with a label of one more point, drawn from the sample that it was drawn from.

    Args:
        known: Drawn configurations.
        row: Log-probabilities of the new point, float64, shape (T, C).
        rng: The generator.

    Returns:
        As many.
    """
    return _weighed(known.log_weights + _drawn(row, known.repeats, rng), known.repeats)


def with_repeats(
    known: Configurations, rows: Float[Array, "S T C"], repeats: int, rng: np.random.Generator
) -> Configurations:
    """R configurations drawn from each sample: those there are, as far as they go, and new ones.

    Args:
        known: Configurations of the chosen points; if they are all there are, they are not used.
        rows: Log-probabilities of the chosen points, float64, shape (S, T, C).
        repeats: R.
        rng: The generator.

    Returns:
        R·T configurations.
    """
    xp, draws = namespace(rows), rows.shape[1]
    if repeats <= known.repeats:
        unchanged = repeats == known.repeats
        return known if unchanged else _weighed(known.log_weights[: repeats * draws, :], repeats)
    fresh = sum((_drawn(row, repeats - known.repeats, rng) for row in rows), start=0.0)
    return _weighed(fresh if known.exact else xp.concat([known.log_weights, fresh], axis=0), repeats)


def _drawn(row: Array, repeats: int, rng: np.random.Generator) -> Array:
    """log P[t', y] for R labels y ~ P[t] of each sample t, at place r·T + t; stratified, shape (R·T, T)."""
    xp, (draws, classes) = namespace(row), row.shape
    order = rng.permuted(np.tile(np.arange(repeats)[:, None], (1, draws)), axis=0)
    uniform = (order + rng.random((repeats, draws))) / repeats
    reached = np.cumsum(np.exp(to_numpy(row)), axis=1)[:, :-1]  # (T, C - 1)
    labels = np.zeros((repeats, draws), np.int64)
    for c in range(classes - 1):
        labels += uniform >= reached[:, c]
    chosen = xp.asarray(labels.reshape(-1), device=array_api_compat.device(row))
    return xp.take(xp.permute_dims(row, (1, 0)), chosen, axis=0)


def _weighed(log_weights: Array, repeats: int) -> Configurations:
    xp = namespace(log_weights)
    total = log_sum_exp(log_weights, axis=1)
    if repeats:
        share: Any = xp.full_like(total[:, 0], 1.0 / total.shape[0])
    else:
        share = xp.exp(total[:, 0]) / log_weights.shape[1]
        possible = share > _NEGLIGIBLE
        log_weights, total, share = log_weights[possible, :], total[possible, :], share[possible]
    return Configurations(log_weights, xp.exp(log_weights - total), share, repeats)
