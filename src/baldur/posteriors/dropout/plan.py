"""The plan by which MC-dropout samples a network, and the checks before it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.networks import call
from baldur.core.trees import map_tree
from baldur.likelihoods import Likelihood
from baldur.posteriors.dropout.chain import Tail
from baldur.posteriors.dropout.masks import keep
from baldur.posteriors.dropout.sites import Dropouts, Site


class SamplingPlan:
    """How a network is sampled: its sites, and its tail where it has one. Found on the first batch.

    Args:
        sites: Every dropout call in order of execution.
        tail: The cut into trunk and chain of layers, or None.
        left_out: Calls that draw random numbers of their own and stay as evaluation mode has them.
        in_place: Whether the network changes its input.
    """

    def __init__(
        self, sites: list[Site], tail: Tail | None, left_out: list[str], in_place: bool = False
    ) -> None:
        self.in_place = in_place
        self.sites = sites
        self.tail = tail
        self.left_out = left_out
        self.vectorised = True  # until vmap refuses the network

    def given(self, x: Any) -> Any:
        """The batch for one run of the network.

        Args:
            x: A batch.

        Returns:
            The batch, or a copy where the network would change it.
        """
        return map_tree(torch.clone, x) if self.in_place else x

    def describe(self) -> str:
        """The stochastic calls and how they are computed, one line each.

        Returns:
            Text for a person.
        """
        lines = [f"{site.name}: p = {site.p:g}" for site in self.sites]
        if self.tail is not None:
            convolutions = self.tail.convolutions
            kinds = f"{convolutions} convolution(s) and " if convolutions else ""
            linear = len(self.tail.layers) - convolutions
            lines.append(f"the trunk runs once; {kinds}{linear} linear layer(s) as masked products")
        elif self.vectorised:
            lines.append("what no dropout feeds runs once; the rest is vectorised over the samples")
        else:
            lines.append("the whole network runs once for every sample (it cannot be vectorised)")
        return "\n".join(lines + [f"left deterministic: {name}" for name in self.left_out])


def same(one: Tensor, other: Tensor, dtype: torch.dtype) -> bool:
    """Whether two outputs differ by no more than rounding does, with TF32 on a GPU.

    Args:
        one: Any outputs.
        other: Of the same shape.
        dtype: The type of the computation.

    Returns:
        True if so.
    """
    tolerance = max(1e-3 if one.device.type == "cpu" else 1e-2, 4 * torch.finfo(dtype).eps)
    largest = float(one.abs().nan_to_num(0, 0).max())
    return torch.allclose(one, other, rtol=0, atol=tolerance * largest, equal_nan=True)


def half_masks(sites: Sequence[Site]) -> dict[tuple[int, tuple[int, ...]], Tensor]:
    """Masks of one sample that show what a network does: half of the units are kept, or what the rate says if more.

    Args:
        sites: Each with the batch as an axis.

    Returns:
        (1, *mask shape) for the number of each site and the shape of its mask.
    """
    masks = {}
    for number, site in enumerate(sites):
        shape = site.mask_shape(torch.Size(site.shape))
        mask = keep(0, number, range(1), shape, min(site.p, 0.5))
        mask.view(-1)[0] = True  # (units,): never all dropped
        masks[number, shape] = mask
    return masks


def repeats(network: nn.Module, likelihood: Likelihood, x: Any) -> bool:
    """Whether a network without dropout gives the same outputs twice.

    Args:
        network: In evaluation mode.
        likelihood: The meaning of the outputs.
        x: A batch.

    Returns:
        True if so.
    """
    with torch.inference_mode(), Dropouts():
        one, other = (likelihood.log_probs(call(network, map_tree(torch.clone, x)), 1) for _ in range(2))
    return same(one, other, torch.float32)
