"""Image encoders of the library transformers, from its hub or from a folder."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from baldur.errors import DataNotFound, InvalidArgument

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIX = "hf:"
"""The beginning of the name of such an encoder."""

_HOW = (
    "give hf:NAME or hf:NAME@REVISION of an image model of transformers, such as hf:facebook/dinov2-small, or "
    "hf:FOLDER"
)


class Input(NamedTuple):
    """The input of a model.

    Args:
        size: Its side in pixels.
        mean: Of each channel, for pixels from 0 to 1.
        std: Of each channel.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Loaded(NamedTuple):
    """A model, its input, and the digest of its weights and configuration.

    Args:
        spec: Its name with the revision that was loaded.
        network: Pixels as the model was trained with them, (n, 3, size, size), to features (n, D).
        input: The input.
        sha256: The digest.
    """

    spec: str
    network: "nn.Module"
    input: Input
    sha256: str


def load_model(spec: str) -> Loaded:
    """Load an image model of transformers, in evaluation mode. Only safetensors are read, and no code is run.

    Args:
        spec: "hf:NAME", "hf:NAME@REVISION" or "hf:FOLDER".

    Returns:
        The model.

    Raises:
        InvalidArgument: transformers is not installed, or the model is not one of images.
        DataNotFound: There is no such model, or it cannot be downloaded.
    """
    try:
        from transformers import AutoModel, ImageProcessingMixin
    except ImportError:
        raise InvalidArgument(f"the encoder {spec} needs transformers: pip install 'baldur[text]'") from None
    name, _, revision = spec.removeprefix(PREFIX).partition("@")
    if not name:
        raise InvalidArgument(f"{spec!r} names no model; {_HOW}")
    folder = Path(name).expanduser()
    where = str(folder) if folder.is_dir() else name
    options: dict[str, Any] = {"revision": revision} if revision else {}
    try:
        told, _ = ImageProcessingMixin.get_image_processor_dict(where, **options)
        model = AutoModel.from_pretrained(where, use_safetensors=True, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        short = " ".join(str(error).split())[:300]
        raise DataNotFound(f"the encoder {spec} cannot be loaded: {short}; {_HOW}") from error
    config = model.config.to_dict()
    commit = config.get("_commit_hash") or revision
    network = _network(model, spec, paired="vision_config" in config)
    about = _input(told, config, spec)
    digest = hashlib.sha256(json.dumps([told, about], sort_keys=True, default=str).encode())
    for key, value in model.state_dict().items():
        array = np.ascontiguousarray(value.detach().float().numpy())
        digest.update(f"{key} {array.shape}".encode() + array.tobytes())
    at = f"@{commit}" if commit and not folder.is_dir() else ""
    return Loaded(f"{PREFIX}{name}{at}", network, about, digest.hexdigest())


def _input(told: dict[str, Any], config: dict[str, Any], spec: str) -> Input:
    """The input as the image processor of the model says it."""
    sizes = [told.get("crop_size"), told.get("size"), config.get("image_size")]
    sizes.append(config.get("vision_config", {}).get("image_size"))
    side = next((found for size in sizes if (found := _side(size))), 0)
    if not side:
        raise InvalidArgument(
            f"{spec} does not say how large its images are, so it is no image model; {_HOW}"
        )
    mean, std = told.get("image_mean") or (0.0,) * 3, told.get("image_std") or (1.0,) * 3
    return Input(side, tuple(map(float, mean)), tuple(map(float, std)))


def _side(size: Any) -> int:
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    if isinstance(size, list | tuple) and size:
        size = size[0]
    return size if isinstance(size, int) else 0


def _network(model: "nn.Module", spec: str, paired: bool) -> "nn.Module":
    import torch

    class Features(torch.nn.Module):
        """One vector for each image: the pooled output, or the mean of the last hidden states."""

        def __init__(self) -> None:
            super().__init__()
            self.model: Any = model

        def forward(self, x: "Tensor") -> "Tensor":
            told = self.model.get_image_features(pixel_values=x) if paired else self.model(pixel_values=x)
            if isinstance(told, torch.Tensor):
                return told
            pooled: Tensor | None = told.get("pooler_output")
            hidden: Tensor | None = told.get("last_hidden_state")
            if pooled is not None:
                return pooled.flatten(1)  # (n, D)
            if hidden is None:
                raise InvalidArgument(f"{spec} gives neither pooled outputs nor hidden states; {_HOW}")
            return hidden.mean(1) if hidden.ndim == 3 else hidden.flatten(2).mean(2)  # (n, D)

    return Features().eval()
