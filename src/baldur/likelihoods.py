"""Likelihoods: the loss of a network's outputs in training, and the predictions that draws make of them.

C classes, K labels or targets; n items. A likelihood is a value: two of the same name are equal.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional

from baldur.errors import InvalidArgument, InvalidLabel, UnsupportedNetwork

_LEAST_VARIANCE = 1e-6
IGNORED = -1
"""A class index of a map that no loss looks at."""


@runtime_checkable
class Likelihood(Protocol):
    """p(y | outputs)."""

    @property
    def name(self) -> str:
        """The name that it is saved under."""
        ...

    @property
    def kind(self) -> str:
        """The kind of its draws: "categorical", "bernoulli" or "gaussian"."""
        ...

    def losses(self, outputs: Tensor, y: Tensor, smoothing: float = 0.0) -> Tensor:
        """-log p(y | outputs) of each item, nats, (n,); `smoothing` is the share spread over all classes."""
        ...

    def log_probs(self, outputs: Any, axis: int) -> Tensor:
        """Predictions of a network's outputs; `axis` is that of the classes (or labels, or mean and noise)."""
        ...

    def right(self, outputs: Tensor, y: Tensor) -> Tensor | None:
        """The share of each item's answers that are right, (n,); None where there is no such thing."""
        ...

    def check(self, outputs: Any, y: Tensor, classes: int | None) -> None:
        """Refuse outputs or labels that do not fit, or not that many classes."""
        ...


@dataclass(frozen=True)
class Categorical:
    """One of C classes: logits (n, C), or (n, C, ...) for maps; labels (n, ...), class indices.

    p(y = c) = softmax(f)_c. In maps, `IGNORED` marks places without a label.
    """

    name = kind = "categorical"

    def losses(
        self, outputs: Float[Tensor, "n C *spatial"], y: Shaped[Tensor, "n *spatial"], smoothing: float = 0.0
    ) -> Float[Tensor, " n"]:
        """Cross-entropy of each item, nats; of a map the mean over its labelled places.

        Args:
            outputs: Logits.
            y: Class indices.
            smoothing: The share of each target that is spread over all classes (Szegedy et al., CVPR 2016).

        Returns:
            Losses.
        """
        losses = functional.cross_entropy(
            outputs, y, reduction="none", ignore_index=IGNORED, label_smoothing=smoothing
        )
        if losses.ndim == 1:
            return losses
        known = (y != IGNORED).flatten(1).sum(1).clamp(min=1)  # (n,)
        return losses.flatten(1).sum(1) / known  # (n,)

    def log_probs(self, outputs: Any, axis: int) -> Tensor:
        """log softmax in at least float32; log-probabilities pass through unchanged.

        Args:
            outputs: Logits.
            axis: Of the classes.

        Returns:
            Normalised log-probabilities.

        Raises:
            UnsupportedNetwork: It is not a floating tensor with at least two classes on that axis.
        """
        logits = _floating(outputs, axis, "logits (n, C)")
        if logits.shape[axis] < 2:
            raise UnsupportedNetwork(
                "the network returned one column; a two-class problem needs two logits (a sigmoid output z is 0, z)"
            )
        return torch.log_softmax(logits, axis)

    def right(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Whether the largest logit is the label's; of a map the share of its labelled places.

        Args:
            outputs: Logits.
            y: Class indices.

        Returns:
            (n,), float32.
        """
        places = y.reshape(len(y), -1)  # (n, places)
        known = places != IGNORED
        hits = outputs.argmax(1).reshape(len(y), -1) == places  # (n, places)
        return (hits & known).sum(1) / known.sum(1).clamp(min=1)

    def check(self, outputs: Any, y: Tensor, classes: int | None) -> None:
        """Refuse what is not logits of that many classes, and labels beyond them.

        Args:
            outputs: Of a few items.
            y: All labels.
            classes: How many columns there must be; None for any that the labels fit.

        Raises:
            UnsupportedNetwork: The outputs are not such logits.
            InvalidLabel: A label is negative or beyond the columns.
        """
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if not isinstance(outputs, Tensor) or outputs.ndim != y.ndim + 1 or outputs.shape[1] < 2:
            wanted = "(n, classes)" if y.ndim == 1 else "(n, classes, ...) with the axes of the labels"
            hint = (
                ""
                if isinstance(outputs, Tensor)
                else "; return them alone, or in a dict with the key 'logits'"
            )
            raise UnsupportedNetwork(
                f"the network gives {shape} where logits {wanted} were expected, classes >= 2{hint}"
            )
        if classes is not None and outputs.shape[1] != classes:
            raise UnsupportedNetwork(f"the network gives {outputs.shape[1]} columns for {classes} classes")
        if outputs.shape[2:] != y.shape[1:]:
            raise UnsupportedNetwork(
                f"the network gives maps of {tuple(outputs.shape[2:])} for labels of {tuple(y.shape[1:])}"
            )
        least = IGNORED if y.ndim > 1 else 0
        if int(y.min()) < least:
            raise InvalidLabel(
                f"class index {int(y.min())} is negative; unlabelled items cannot be trained on"
            )
        if int(y.max()) >= outputs.shape[1]:
            raise InvalidLabel(
                f"class index {int(y.max())} is beyond the {outputs.shape[1]} columns of the network"
            )


@dataclass(frozen=True)
class Bernoulli:
    """K labels, each there or not: logits (n, K), labels (n, K) of 0 and 1.

    p(y_k = 1) = σ(f_k). Draws are (n, T, 2, K): log p(y_k = 0) and log p(y_k = 1), so that every formula for
    classes reads the labels as further axes and gives a score for each.
    """

    name = kind = "bernoulli"

    def losses(
        self, outputs: Float[Tensor, "n K"], y: Shaped[Tensor, "n K"], smoothing: float = 0.0
    ) -> Float[Tensor, " n"]:
        """Binary cross-entropy, summed over the labels: -Σ_k log p(y_k), nats.

        Args:
            outputs: Logits.
            y: 0 and 1.
            smoothing: The share of each target that is spread over both answers.

        Returns:
            Losses.
        """
        target = y.to(outputs.dtype) * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(outputs, target, reduction="none").sum(1)

    def log_probs(self, outputs: Any, axis: int) -> Tensor:
        """log σ(-f) and log σ(f), on a new axis before that of the labels.

        Args:
            outputs: Logits.
            axis: Of the labels.

        Returns:
            Normalised log-probabilities.

        Raises:
            UnsupportedNetwork: It is not a floating tensor with that axis.
        """
        logits = _floating(outputs, axis, "logits (n, K)")
        both = [functional.logsigmoid(-logits), functional.logsigmoid(logits)]
        return torch.stack(both, axis)  # (..., 2, K)

    def right(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The share of the labels that are right at p = 1/2.

        Args:
            outputs: Logits.
            y: 0 and 1.

        Returns:
            (n,), float32.
        """
        return ((outputs > 0) == (y > 0)).float().mean(1)

    def check(self, outputs: Any, y: Tensor, classes: int | None) -> None:
        """Refuse what is not one logit for each label.

        Args:
            outputs: Of a few items.
            y: All labels.
            classes: K.

        Raises:
            UnsupportedNetwork: The outputs are not such logits.
            InvalidLabel: A label is neither 0 nor 1.
        """
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if y.ndim != 2:
            raise InvalidLabel(f"labels of a multi-label problem are (n, K) of 0 and 1, not {tuple(y.shape)}")
        wanted = (y.shape[1],) if classes is None else (classes,)
        if not isinstance(outputs, Tensor) or tuple(outputs.shape[1:]) != wanted or wanted != (y.shape[1],):
            raise UnsupportedNetwork(
                f"the network gives {shape} for {y.shape[1]} labels; one logit each is needed"
            )
        if not bool(((y == 0) | (y == 1)).all()):
            raise InvalidLabel("a label of a multi-label problem is neither 0 nor 1")


@dataclass(frozen=True)
class Gaussian:
    """Numbers with noise: outputs (n, 2) or (n, 2, K), the mean and a raw noise r; targets (n,) or (n, K).

    p(y) = N(μ, σ²) with σ² = softplus(r) + 1e-6. Draws are (n, T, 2) or (n, T, 2, K): μ and σ².
    (A. Kendall and Y. Gal, NIPS 2017; the softplus as in Lakshminarayanan et al., NIPS 2017.)
    """

    name = kind = "gaussian"

    def losses(
        self, outputs: Float[Tensor, "n 2 *K"], y: Float[Tensor, "n *K"], smoothing: float = 0.0
    ) -> Float[Tensor, " n"]:
        """½ log 2πσ² + (y - μ)²/2σ², summed over the targets, nats.

        Args:
            outputs: Means and raw noise.
            y: Targets.
            smoothing: Of no effect.

        Returns:
            Losses.
        """
        mean, variance = outputs[:, 0], _variance(outputs[:, 1])
        losses = functional.gaussian_nll_loss(mean, y.to(mean.dtype), variance, full=True, reduction="none")
        return losses.flatten(1).sum(1) if losses.ndim > 1 else losses  # (n,)

    def log_probs(self, outputs: Any, axis: int) -> Tensor:
        """The mean and the variance of each target.

        Args:
            outputs: Means and raw noise.
            axis: Of these two.

        Returns:
            The same shape, at least float32.

        Raises:
            UnsupportedNetwork: It is not a floating tensor with two entries on that axis.
        """
        values = _floating(outputs, axis, "mean and noise, (n, 2) or (n, 2, K)")
        if values.shape[axis] != 2:
            raise UnsupportedNetwork(
                f"the network returned {values.shape[axis]} columns; regression needs two, the mean and the noise"
            )
        mean, raw = values.unbind(axis)  # (..., K) each, without the axis of the two
        return torch.stack([mean, _variance(raw)], axis)  # (..., 2, K)

    def right(self, outputs: Tensor, y: Tensor) -> None:
        """Numbers are not right or wrong.

        Args:
            outputs: Not looked at.
            y: Not looked at.

        Returns:
            None.
        """
        return None

    def check(self, outputs: Any, y: Tensor, classes: int | None) -> None:
        """Refuse what is not a mean and a noise for each target.

        Args:
            outputs: Of a few items.
            y: All targets.
            classes: K, or 1 for targets (n,); None for any.

        Raises:
            UnsupportedNetwork: The outputs are of another shape.
            InvalidLabel: A target is not finite.
        """
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        targets = tuple(y.shape[1:])
        if not isinstance(outputs, Tensor) or tuple(outputs.shape[1:]) != (2, *targets):
            wanted = ", ".join(map(str, ("n", 2, *targets)))
            raise UnsupportedNetwork(
                f"the network gives {shape} where ({wanted}) was expected: mean and noise"
            )
        if classes is not None and classes != (targets[0] if targets else 1):
            raise UnsupportedNetwork(f"targets of shape (n, {targets}) came where {classes} were promised")
        if not bool(y.isfinite().all()):
            raise InvalidLabel("a target is not a finite number")


CATEGORICAL = Categorical()
"""One of several classes."""

BERNOULLI = Bernoulli()
"""Several labels for each item."""

GAUSSIAN = Gaussian()
"""Numbers."""


def named(name: str) -> Likelihood:
    """The likelihood that was saved under that name.

    Args:
        name: categorical, bernoulli or gaussian.

    Returns:
        The likelihood.

    Raises:
        InvalidArgument: There is none.
    """
    for likelihood in (CATEGORICAL, BERNOULLI, GAUSSIAN):
        if likelihood.name == name:
            return likelihood
    raise InvalidArgument(f"a likelihood is categorical, bernoulli or gaussian, not {name!r}")


def _variance(raw: Tensor) -> Tensor:
    return functional.softplus(raw) + _LEAST_VARIANCE


def _floating(outputs: Any, axis: int, wanted: str) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise UnsupportedNetwork(
            f"the network returned a {type(outputs).__name__}; wrap it in a module whose forward returns the logits, "
            "a tensor of shape (n, C), or a dict with the key 'logits'"
        )
    if outputs.ndim <= axis or not outputs.is_floating_point():
        raise UnsupportedNetwork(
            f"the network returned {outputs.dtype} of shape {tuple(outputs.shape)}; {wanted} expected"
        )
    return outputs if outputs.dtype == torch.float64 else outputs.float()
