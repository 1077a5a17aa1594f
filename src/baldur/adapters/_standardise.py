"""A layer that standardises rows, in a module of its own since it needs torch."""

from jaxtyping import Float
from torch import Tensor, nn


class Standardise(nn.Module):
    """x ↦ (x - mean) / scale, with the items flattened to rows.

    Args:
        mean: Of each column.
        scale: Of each column, positive.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Float[Tensor, " D"], scale: Float[Tensor, " D"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("scale", scale.clone())

    def forward(self, x: Float[Tensor, "n *shape"]) -> Float[Tensor, "n D"]:
        """Standardise a batch.

        Args:
            x: Items.

        Returns:
            Rows.
        """
        return (x.flatten(1) - self.mean) / self.scale  # (n, D)
