"""Label configurations of the chosen items, each as a posterior over the samples."""

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

    They are all possible ones, each with its probability, or R drawn from each of the T samples.

    Args:
        log_weights: λ[m, t] = Σ_{i∈S} log P[i, t, y_i^m], float64, shape (M, T).
        weights: p(ω_t | y_S^m), float64, shape (M, T).
        share: The weight of each configuration, float64, shape (M,).
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
        """The mean entropy of the weights, log T - f(S): the remaining doubt about the samples."""
        xp = namespace(self.weights)
        terms = self.weights * xp.log(xp.clip(self.weights, min=1e-300))
        return float(-xp.sum(self.share * xp.sum(terms, axis=1)))

    @property
    def largest_ratio(self) -> float:
        """The largest mean weight of a sample over 1/T; 1 if these are all configurations."""
        xp = namespace(self.weights)
        return float(xp.max(self.share @ self.weights)) * int(self.weights.shape[1])

    def grouped(self, size: int) -> tuple[Float[Array, "G T"], Float[Array, " G"]]:
        """Averages of `size` configurations that favour the same sample, and their shares."""
        xp, (count, draws) = namespace(self.weights), self.weights.shape
        favour = xp.astype(xp.argmax(self.weights, axis=1), xp.float64) + 0.5 * xp.max(self.weights, axis=1)
        order = xp.argsort(favour)
        each = xp.take(self.weights * self.share[:, None], order, axis=0)  # (M, T)
        whole = count - count % size
        mass = xp.sum(xp.reshape(each[:whole, :], (-1, size, draws)), axis=1)  # (G, T)
        if whole < count:
            rest = xp.sum(each[whole:, :], axis=0, keepdims=True)  # (1, T)
            mass = xp.concat([mass, rest], axis=0)  # (G + 1, T)
        share = xp.sum(mass, axis=1)
        return mass / share[:, None], share  # (G, T) and (G,)

    def variance(self, values: Float[Array, " M"]) -> float:
        """The variance of a value among the configurations that come from one sample, averaged over the samples.

        Args:
            values: The value of each configuration, shape (M,).

        Returns:
            The variance; divided by M it is the squared standard error of the mean over drawn configurations.
        """
        xp, draws = namespace(values), self.weights.shape[1]
        if self.exact:
            from_sample = draws * (self.share * values) @ self.weights
            return max(0.0, float(self.share @ values**2) - float(xp.mean(from_sample**2)))
        if self.repeats == 1:
            return float(xp.var(values))
        within = xp.var(xp.reshape(values, (self.repeats, draws)), axis=0, correction=1)  # (T,)
        return float(xp.mean(within))


def nothing_known(log_probs: Float[Array, "N T C"]) -> Configurations:
    """The one configuration of no labels.

    Args:
        log_probs: Log-probabilities, for their T, library and device.

    Returns:
        One configuration with equal weights.
    """
    xp, device = namespace(log_probs), array_api_compat.device(log_probs)
    return _weighed(xp.zeros((1, log_probs.shape[1]), dtype=xp.float64, device=device), 0)


def with_every_label(known: Configurations, row: Float[Array, "T C"]) -> Configurations:
    """Every configuration with every label of one more item; impossible ones are left out.

    Args:
        known: All configurations of the items before.
        row: Log-probabilities of the new item, float64, shape (T, C).

    Returns:
        At most C times as many.
    """
    xp = namespace(row)
    labels = xp.permute_dims(row, (1, 0))  # (C, T)
    log_weights = known.log_weights[:, None, :] + labels[None, :, :]  # (M, C, T)
    return _weighed(xp.reshape(log_weights, (-1, row.shape[0])), 0)  # (M·C, T)


def with_one_label(
    known: Configurations, row: Float[Array, "T C"], rng: np.random.Generator
) -> Configurations:
    """Each drawn configuration with a label of one more item, drawn from the same sample.

    Args:
        known: Drawn configurations.
        row: Log-probabilities of the new item, float64, shape (T, C).
        rng: The generator.

    Returns:
        As many configurations.
    """
    return _weighed(known.log_weights + _drawn(row, known.repeats, rng), known.repeats)


def with_repeats(
    known: Configurations, rows: Float[Array, "S T C"], repeats: int, rng: np.random.Generator
) -> Configurations:
    """R configurations drawn from each sample: the drawn ones so far, and new ones where these are too few.

    Args:
        known: Configurations of the chosen items; they are not used if they are all possible ones.
        rows: Log-probabilities of the chosen items, float64, shape (S, T, C).
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
    both = fresh if known.exact else xp.concat([known.log_weights, fresh], axis=0)  # (R·T, T)
    return _weighed(both, repeats)


def _drawn(row: Array, repeats: int, rng: np.random.Generator) -> Array:
    """log P[t', y] for R labels y ~ P[t] of each sample t, at place r·T + t; stratified, shape (R·T, T)."""
    xp, (draws, classes) = namespace(row), row.shape
    # One uniform number in each of R equal strata of [0, 1], in random order: less variance than R free ones.
    strata = np.tile(np.arange(repeats)[:, None], (1, draws))  # (R, T)
    uniform = (rng.permuted(strata, axis=0) + rng.random((repeats, draws))) / repeats
    reached = np.cumsum(np.exp(to_numpy(row)), axis=1)[:, :-1]  # (T, C - 1)
    labels = np.zeros((repeats, draws), np.int64)
    for c in range(classes - 1):
        labels += uniform >= reached[:, c]
    chosen = xp.asarray(labels.reshape(-1), device=array_api_compat.device(row))  # (R·T,)
    return xp.take(xp.permute_dims(row, (1, 0)), chosen, axis=0)  # (R·T, T)


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
