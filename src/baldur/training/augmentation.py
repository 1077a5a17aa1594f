"""Weak and strong augmentation: random changes of inputs that keep their meaning.

Each function has the arguments (batch, generator), as `Recipe.augment` needs. Bind options with `functools.partial`.
Floating-point tensors of shape (n, channels, height, width) are treated as pictures. Other floating-point tensors get
noise, and integers stay the same.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from baldur.core.trees import map_tree
from baldur.protocols import Batch

_ROTATION = 30.0  # degrees
_SHEAR = 0.3
_SCALE = 0.3  # of log2 of the size: 0.81 to 1.23
_TRANSLATION = 0.2  # of a side
_CONTRAST = 0.7
_BRIGHTNESS = 0.7  # in units of an item's standard deviation
_OPERATIONS = 7  # rotation, two shears, scale, translation, contrast, brightness


def weak(
    x: Batch, generator: torch.Generator, *, shift: float = 0.125, flip: bool = False, noise: float = 0.05
) -> Batch:
    """Shift pictures by a few pixels, and add a little noise to other inputs.

    x'[c, i, j] = x[c, i + u, j + v], with u, v uniform on the whole pixels within `shift` of a side and with repeated
    borders. For other inputs, x' = x + noise · σ ⊙ ε, ε ~ N(0, I), where σ is the standard deviation of each feature in
    the batch. Sohn et al.,
    "FixMatch: simplifying semi-supervised learning with consistency and confidence", NeurIPS 2020.

    Args:
        x: A batch, (n, ...) in each leaf.
        generator: On the device of the batch.
        shift: The largest shift, as a share of the side.
        flip: Also mirror half of the pictures left to right. Do not use it for digits and letters.
        noise: The standard deviation of the noise, in units of σ.

    Returns:
        A batch of the same form.
    """

    def picture(leaf: Tensor) -> Tensor:
        moved = _shifted(leaf, shift, generator)
        return _mirrored(moved, generator) if flip else moved

    return _each(x, picture, lambda leaf: _noisy(leaf, noise, generator))


def strong(
    x: Batch,
    generator: torch.Generator,
    *,
    operations: int = 2,
    magnitude: float = 1.0,
    cutout: float = 0.5,
    shift: float = 0.125,
    flip: bool = False,
    noise: float = 0.25,
) -> Batch:
    """Change pictures strongly, but so that a person still recognises them, and add much noise to other inputs.

    After the shift of `weak`, each picture gets several random operations: rotation (30°), shear (0.3) along either
    axis, scale (2^±0.3), translation (0.2 of a side), contrast (± 70 %) and brightness (± 0.7 of its standard
    deviation). The strength is uniform up to `magnitude` times these bounds. Then a square is set to the picture's
    mean. This is a small RandAugment (Cubuk et al., NeurIPS 2020) with Cutout (DeVries & Taylor, 2017), as in FixMatch.

    Args:
        x: A batch, (n, ...) in each leaf.
        generator: On the device of the batch.
        operations: Number of different operations for each picture, 0 to 7.
        magnitude: Strength of the operations.
        cutout: The largest side of the square, as a share of the picture's side.
        shift: See `weak`.
        flip: See `weak`.
        noise: See `weak`.

    Returns:
        A batch of the same form.
    """

    def picture(leaf: Tensor) -> Tensor:
        moved = _shifted(leaf, shift, generator)
        moved = _mirrored(moved, generator) if flip else moved
        return _cut(_changed(moved, operations, magnitude, generator), cutout, generator)

    return _each(x, picture, lambda leaf: _noisy(leaf, noise, generator))


def _each(x: Batch, picture: Callable[[Tensor], Tensor], other: Callable[[Tensor], Tensor]) -> Batch:
    def one(leaf: Tensor) -> Tensor:
        if not leaf.is_floating_point() or not leaf.numel():
            return leaf
        return picture(leaf) if leaf.ndim == 4 else other(leaf)

    return map_tree(one, x)


def _uniform(leaf: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Uniform random numbers in [-1, 1)."""
    return torch.rand(shape, generator=generator, device=leaf.device) * 2 - 1


def _noisy(x: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    deviation = x.float().std(0, correction=0).to(x.dtype)
    return x + noise * deviation * torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)


def _shifted(
    x: Float[Tensor, "n c h w"], shift: float, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Shift with repeated borders, by one gather of rows and one of columns."""
    for axis in (2, 3):
        side = x.shape[axis]
        most = int(shift * side)
        by = torch.randint(-most, most + 1, (len(x), 1), generator=generator, device=x.device)  # (n, 1)
        where = (torch.arange(side, device=x.device) + by).clamp(0, side - 1)  # (n, side)
        index = (
            where[:, None, :, None] if axis == 2 else where[:, None, None, :]
        )  # (n, 1, h, 1) or (n, 1, 1, w)
        x = x.gather(axis, index.expand(x.shape))  # (n, c, h, w)
    return x


def _mirrored(x: Float[Tensor, "n c h w"], generator: torch.Generator) -> Float[Tensor, "n c h w"]:
    chosen = torch.rand(len(x), 1, 1, 1, generator=generator, device=x.device) < 0.5  # (n, 1, 1, 1)
    return torch.where(chosen, x.flip(3), x)


def _changed(
    x: Float[Tensor, "n c h w"], operations: int, magnitude: float, generator: torch.Generator
) -> Float[Tensor, "n c h w"]:
    """Apply random operations at random strengths. The geometric ones are one affine map."""
    n, height, width = len(x), x.shape[2], x.shape[3]
    # Sorting twice gives ranks: for each picture a random permutation of the operations.
    order = torch.rand(n, _OPERATIONS, generator=generator, device=x.device).argsort(1).argsort(1)  # (n, 7)
    strength = magnitude * _uniform(x, (n, _OPERATIONS + 1), generator)  # (n, 8)
    strength[:, :_OPERATIONS] *= order < operations
    angle, right, down, scale, across, contrast, brightness = strength[:, :_OPERATIONS].unbind(1)  # (n,) each
    along = strength[:, -1] * (order[:, 4] < operations)  # a translation has two directions
    angle, size = angle * math.radians(_ROTATION), torch.exp2(_SCALE * scale)
    cos, sin, ratio = torch.cos(angle) * size, torch.sin(angle) * size, height / width
    shear_x, shear_y = _SHEAR * right, _SHEAR * down
    rows = (  # in units of half a side, so that pictures that are not square turn without a distortion
        (cos + sin * shear_y, (cos * shear_x + sin) * ratio, 2 * _TRANSLATION * across),
        ((cos * shear_y - sin) / ratio, cos - sin * shear_x, 2 * _TRANSLATION * along),
    )
    affine = torch.stack([torch.stack(row, 1) for row in rows], 1).to(x.dtype)  # (n, 2, 3)
    grid = functional.affine_grid(affine, list(x.shape), align_corners=False)  # (n, h, w, 2)
    x = functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    mean = x.mean((1, 2, 3), keepdim=True)  # (n, 1, 1, 1)
    spread = x.std((1, 2, 3), correction=0, keepdim=True)  # (n, 1, 1, 1)
    contrast, brightness = (
        v[:, None, None, None].to(x.dtype) for v in (contrast, brightness)
    )  # (n, 1, 1, 1)
    return mean + (x - mean) * (1 + _CONTRAST * contrast) + _BRIGHTNESS * brightness * spread


def _cut(x: Float[Tensor, "n c h w"], cutout: float, generator: torch.Generator) -> Float[Tensor, "n c h w"]:
    """Set a random square to the mean of each channel. Its side is uniform up to the largest."""
    half = (
        cutout * torch.rand(len(x), 1, generator=generator, device=x.device) * min(x.shape[2:]) / 2
    )  # (n, 1)
    inside = []
    for side in x.shape[2:]:
        centre = torch.rand(len(x), 1, generator=generator, device=x.device) * side  # (n, 1)
        inside.append((torch.arange(side, device=x.device) + 0.5 - centre).abs() < half)  # (n, side)
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (n, 1, h, w)
    return torch.where(square, x.mean((2, 3), keepdim=True), x)
