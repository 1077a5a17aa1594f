"""T functions from T sets of weights of one network, as in SWAG, Bayes by Backprop and DropConnect."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from baldur.core.networks import (
    arguments_of,
    channels_first,
    device_of,
    logits_of,
    tensors,
    wants_channels_first,
)
from baldur.core.seeds import derive
from baldur.core.trees import differ, items_of, place, take, versions
from baldur.errors import InvalidArgument
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors.draws import NumberedDraws
from baldur.posteriors.dropout.sites import Dropouts
from baldur.posteriors.network import penultimate

Weights = Mapping[str, Tensor]
"""Weights and buffers by their names in `network.named_parameters()` and `named_buffers()`."""

# Maximum bytes of sets of weights that are kept between batches. Other sets are made again for each batch.
_KEPT = 2**28


def generator(seed: int, t: int) -> torch.Generator:
    """The random generator of sample t, on the processor, so that a sample is the same on every device.

    Args:
        seed: Seed of the draws.
        t: The absolute number of the sample.

    Returns:
        A new generator.
    """
    return torch.Generator().manual_seed(derive(seed, "weights", t))


class WeightDraws(NumberedDraws):
    """Sample t is the network with the weights w_t; see `protocols.Draws`.

    Samples run one after the other. `torch.vmap` was measured on a processor. It was no faster for linear layers, and
    three to four times slower for convolutions, because they become grouped convolutions.

    Args:
        network: The mean network, always in evaluation mode; it gives the features.
        weights: A function from t to the weights and buffers of sample t, which always returns the same values. Other
            weights are those of the network.
        samples: The absolute numbers t.
        likelihood: The meaning of the network's outputs.
        degenerate: Whether the user asked for identical samples.

    Raises:
        InvalidArgument: There are no samples.
    """

    def __init__(
        self,
        network: nn.Module,
        weights: Callable[[int], Weights],
        samples: range,
        *,
        likelihood: Likelihood = CATEGORICAL,
        degenerate: bool = False,
    ) -> None:
        super().__init__(likelihood.kind, samples, degenerate)
        self.network = network
        self.weights = weights
        self.likelihood = likelihood
        self._kept: dict[int, Weights] = {}
        self._room = _KEPT
        self._in_place: bool | None = None  # unknown before the first batch
        self._channels_first = False

    def _at(self, samples: range) -> "WeightDraws":
        same = self._same
        return type(self)(self.network, self.weights, samples, likelihood=self.likelihood, degenerate=same)

    @torch.inference_mode()
    def __call__(self, x: Any) -> Tensor:
        x = place(x, device_of(self.network))
        n = items_of(x)
        whole = torch.arange(n, device=device_of(self.network))
        out: Tensor | None = None
        for i, t in enumerate(self.samples):
            with torch.inference_mode(False):  # so that it has versions, which change in place with any value
                given = x if self._in_place is False else take(x, whole)
            before = versions(given) if self._in_place is None else None
            values = self._sample(t, given)
            if self._in_place is None and n:
                self._in_place = differ(given, x) or before != versions(given)
            if out is None:
                out = values.new_empty((n, len(self), *values.shape[1:]))
            out[:, i] = values  # (n, C, ...)
        assert out is not None
        return out

    @torch.inference_mode()
    def features(self, x: Any) -> Tensor:
        """The input of the last linear layer under the mean weights, (n, D).

        Args:
            x: A batch.

        Returns:
            Features.
        """
        x = place(x, device_of(self.network))
        with Dropouts():
            return penultimate(
                self.network, take(x, torch.arange(items_of(x), device=device_of(self.network)))
            )

    def _sample(self, t: int, x: Any) -> Tensor:
        try:
            outputs = self._outputs(t, x)
        except RuntimeError as error:
            if not wants_channels_first(error) or self._channels_first:
                raise
            self._channels_first = channels_first(self.network)
            self._kept, self._room = {}, _KEPT
            outputs = self._outputs(t, x)
        return self.likelihood.log_probs(outputs, 1)

    def _outputs(self, t: int, x: Any) -> Any:
        arguments, named = arguments_of(self.network, x)
        weights = dict(self._weights(t))
        mode = Dropouts()  # also what is always on is off
        with mode:
            outputs = logits_of(functional_call(self.network, weights, arguments, named))
        mode.refuse_probabilities(outputs)
        return outputs

    def _weights(self, t: int) -> Weights:
        """The weights of a sample, kept while there is space."""
        if t in self._kept:
            return self._kept[t]
        made = self.weights(t)
        unknown = made.keys() - tensors(self.network).keys()
        if unknown:
            raise InvalidArgument(
                f"the network has no weights or buffers with the names {', '.join(sorted(unknown))}"
            )
        if self._channels_first:
            made = {name: tensor.contiguous() for name, tensor in made.items()}
        size = sum(tensor.nbytes for tensor in made.values())
        if size <= self._room:
            self._kept[t] = made
            self._room -= size
        return made
