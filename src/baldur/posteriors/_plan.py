"""How MC-dropout samples a network."""

from baldur.posteriors._chain import Tail
from baldur.posteriors._sites import Site


class Plan:
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

    def describe(self) -> str:
        """What is stochastic and how it is computed, one line each.

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
