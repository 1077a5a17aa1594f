"""Small networks that generate images of a class: an encoder, a generator and a discriminator."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

_NARROW, _WIDE = 32, 64


class LatentEncoder(nn.Module):
    """Maps images to the mean and log-variance of their codes, q(z | x).

    Args:
        shape: Of one image: (channels, height, width).
        latent: Length of a code.
    """

    def __init__(self, shape: tuple[int, int, int], latent: int) -> None:
        super().__init__()
        self.body = _down(shape, nn.ReLU())
        self.head = nn.Linear(_WIDE * _quarter(shape)[0] * _quarter(shape)[1], 2 * latent)

    def forward(self, x: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
        """Encode.

        Args:
            x: Images in [0, 1].

        Returns:
            Mean and log-variance, both (n, latent).
        """
        mean, log_variance = self.head(self.body(x)).chunk(2, 1)  # (n, latent) each
        return mean, log_variance


class Generator(nn.Module):
    """Maps codes and classes to images.

    Args:
        shape: Of one image.
        latent: Length of a code.
        classes: Number of classes.
    """

    def __init__(self, shape: tuple[int, int, int], latent: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        height, width = _quarter(shape)
        self.body = nn.Sequential(
            nn.Linear(latent + classes, _WIDE * height * width),
            nn.ReLU(),
            nn.Unflatten(1, (_WIDE, height, width)),
            nn.Upsample(((shape[1] + 1) // 2, (shape[2] + 1) // 2)),
            nn.Conv2d(_WIDE, _NARROW, 3, padding=1),
            nn.BatchNorm2d(_NARROW),
            nn.ReLU(),
            nn.Upsample(shape[1:]),
            nn.Conv2d(_NARROW, shape[0], 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, z: Float[Tensor, "n latent"], y: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        """Generate.

        Args:
            z: Codes.
            y: Class indices.

        Returns:
            Images in [0, 1].
        """
        codes = torch.cat([z, functional.one_hot(y, self.classes).to(z.dtype)], 1)  # (n, latent + classes)
        images: Tensor = self.body(codes)  # (n, C, H, W)
        return images


class Discriminator(nn.Module):
    """Maps images to the log-odds that they are real.

    Args:
        shape: Of one image.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.body = _down(shape, nn.LeakyReLU(0.2))
        self.head = nn.Linear(_WIDE * _quarter(shape)[0] * _quarter(shape)[1], 1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """Judge.

        Args:
            x: Images in [0, 1].

        Returns:
            Logits.
        """
        logits: Tensor = self.head(self.body(x))
        return logits[:, 0]  # (n,)


def _down(shape: tuple[int, int, int], activation: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(shape[0], _NARROW, 3, stride=2, padding=1),
        activation,
        nn.Conv2d(_NARROW, _WIDE, 3, stride=2, padding=1),
        activation,
        nn.Flatten(),
    )


def _quarter(shape: tuple[int, int, int]) -> tuple[int, int]:
    """Height and width after halving twice."""
    return (shape[1] + 3) // 4, (shape[2] + 3) // 4
