"""Scores from a few samples at a time, for maps whose predictions (N, T, C, H, W) do not fit in memory."""

from typing import Any

from jaxtyping import Float

from baldur.core.arrays import Array, Samples, check_shape, log, map_samples, namespace, p_log_p
from baldur.errors import InvalidArgument, InvalidPredictions


class Running:
    """Scores of all samples from running sums, without all samples in memory.

    It keeps the first sample, Σ_t p_t and Σ_t H(p_t). The sums are relative to the first sample, so identical samples
    score exactly 0. That is three arrays (N, C, ...) and one (N, ...), whatever T. Add the samples of the same items
    in any parts, and ask at any time:

        running = Running()
        for t in range(len(draws)):
            running.add(draws[t : t + 1](x))
        scores = aggregate(running.bald())
        margins = margin(running.mean())

    Needs: samples. Cost: O(N T C), memory O(N C) whatever T. Use: for maps of large images, whose samples do not fit
    in memory together.
    """

    def __init__(self) -> None:
        self._count = 0
        self._log_first: Any = None  # the first sample as given, (N, 1, C, ...)
        self._first: Any = None  # its probabilities, none of them 0, (N, C, ...)
        self._ratios: Any = None  # Σ_t p_t / p_first, (N, C, ...)
        self._relative: Any = None  # Σ_t Σ_c p_t log(p_t / p_first), (N, ...)

    def __len__(self) -> int:
        """How many samples were added."""
        return self._count

    def add(self, log_probs: Float[Array, "N t C *spatial"]) -> None:
        """Add samples.

        Args:
            log_probs: Normalised log-probabilities of the same items as before, shape (N, t, C, ...).

        Raises:
            InvalidPredictions: Shape or type does not fit or differs from the first samples, or a row is not
                normalised. Then nothing is added.
        """
        check_shape(log_probs)
        xp = namespace(log_probs)
        if self._count == 0:
            first = map_samples(log_probs, lambda s: s.first, axes=1)
            ratios = map_samples(log_probs, lambda s: _sum_of_ratios(s, 0), axes=1)
            relative = map_samples(log_probs, lambda s: _sum_of_divergences(s, 0))
            self._first, self._ratios, self._relative = first, ratios, relative
            self._log_first = log_probs[:, :1, ...] + 0.0  # a copy, since the caller may reuse its buffer
        else:
            self._check_like_first(log_probs)
            both = xp.concat([self._log_first, log_probs], axis=1)  # (N, 1 + t, C, ...)
            ratios = map_samples(both, lambda s: _sum_of_ratios(s, 1), axes=1)
            relative = map_samples(both, lambda s: _sum_of_divergences(s, 1))
            self._ratios, self._relative = self._ratios + ratios, self._relative + relative
        self._count += int(log_probs.shape[1])

    def mean(self) -> Float[Array, "N 1 C *spatial"]:
        """The mean prediction, for scores of it alone: entropy, margin, least confidence.

        Returns:
            Log-probabilities of (1/T) Σ_t p_t, float64, shape (N, 1, C, ...).

        Raises:
            InvalidArgument: No sample was added.
        """
        return log(self._mean_probs())[:, None, ...]  # (N, 1, C, ...)

    def expected_entropy(self) -> Float[Array, "N *spatial"]:
        """Entropy of one sample's prediction, averaged over the samples.

        Returns:
            The same as `expected_entropy` of all samples, in nats, float64, shape (N, ...).

        Raises:
            InvalidArgument: No sample was added.
        """
        p = self._mean_probs()
        xp = namespace(p)
        against_first = xp.sum(p * xp.log(self._first), axis=1)
        return xp.clip(-(self._relative / self._count + against_first), min=0.0)

    def bald(self) -> Float[Array, "N *spatial"]:
        """Mutual information between label and parameters.

        Returns:
            The same as `bald` of all samples, in nats, float64, shape (N, ...).

        Raises:
            InvalidArgument: No sample was added.
        """
        self._mean_probs()
        xp = namespace(self._first)
        of_mean = xp.sum(self._first * p_log_p(self._ratios / self._count), axis=1)
        return xp.clip(self._relative / self._count - of_mean, min=0.0)

    def _mean_probs(self) -> Any:
        if self._count == 0:
            raise InvalidArgument("no sample was added yet; call add with log-probabilities (N, t, C, ...)")
        return self._first * (self._ratios / self._count)

    def _check_like_first(self, log_probs: Array) -> None:
        before, now = self._log_first, log_probs
        if namespace(before) is not namespace(now) or before.dtype != now.dtype:
            raise InvalidPredictions(
                f"the first samples were {type(before).__name__} of {before.dtype},"
                f" these are {type(now).__name__} of {now.dtype}"
            )
        expected, got = [tuple(x.shape[:1]) + tuple(x.shape[2:]) for x in (before, now)]
        if expected != got:
            raise InvalidPredictions(
                f"samples of the same items were expected, (N, C, ...) = {expected}, not {got}"
            )


def _sum_of_ratios(s: Samples, start: int) -> Float[Array, "R C"]:
    return s.xp.sum(s.ratio[:, start:, :], axis=1)


def _sum_of_divergences(s: Samples, start: int) -> Float[Array, " R"]:
    each = s.xp.sum(s.ratio[:, start:, :] * s.log_ratio[:, start:, :], axis=1)  # (R, C)
    return s.xp.sum(s.first * each, axis=1)
