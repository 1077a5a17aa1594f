"""Pretrained networks that turn images into features, once for each image."""

import hashlib
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import ArrayPool, digests
from baldur.data.cache import block, cut, gather, key_of
from baldur.data.dataset import Dataset
from baldur.data.download import Progress
from baldur.data.encoders import hugging_face
from baldur.data.images import sha256_of
from baldur.errors import DataNotFound, InvalidArgument, InvalidData
from baldur.protocols import Pool, Positions

_BLOCK_ITEMS = 512
_BATCH = 64


@dataclass(frozen=True)
class Encoder:
    """A network in evaluation mode.

    Args:
        spec: The file or factory that it was loaded from.
        network: Inputs (n, channels, height, width) to features (n, D).
        sha256: Of its weights and, as far as possible, of its code.
        device: The device that it runs on.
        input: The size and the normalisation of its images; None if it takes those of the data.
    """

    spec: str
    network: Callable[[Any], Any]
    sha256: str
    device: str
    input: hugging_face.Input | None = None

    def size(self, usual: int) -> int:
        """The side in pixels to which photographs are resized.

        Args:
            usual: The side without an encoder.

        Returns:
            The side that the encoder needs.
        """
        return usual if self.input is None else self.input.size


def load_encoder(spec: str, device: str) -> Encoder:
    """Load an encoder.

    Args:
        spec: hf:NAME, an image model of transformers; or FILE.pt2, written by `torch.export.save`; or
            package.module:factory, a function without arguments that returns a `torch.nn.Module`. The last two run
            code, so load only what you trust.
        device: The device to run on: "cpu", "cuda", "auto", ...

    Returns:
        The encoder.

    Raises:
        DataNotFound: There is no such file.
        InvalidArgument: `spec` is neither, or the factory cannot be imported or returns no network.
        InvalidData: The file is not an exported program.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if spec.startswith(hugging_face.PREFIX):
        found = hugging_face.load_model(spec)
        return Encoder(found.spec, found.network.to(device), found.sha256, device, found.input)
    if spec.endswith(".pt2"):
        return _exported(spec, device)
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise InvalidArgument(f"an encoder must be hf:NAME, FILE.pt2 or package.module:factory, not {spec!r}")
    try:
        network = getattr(importlib.import_module(module), name)()
    except (ImportError, AttributeError) as error:
        raise InvalidArgument(f"the encoder {spec} cannot be imported: {error}") from error
    if not isinstance(network, torch.nn.Module):
        raise InvalidArgument(f"the encoder {spec} gave {type(network).__name__}, not a torch.nn.Module")
    digest = hashlib.sha256(f"{spec} {_written(network)}".encode())
    for key, value in network.state_dict().items():
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Encoder(spec, network.to(device).eval(), digest.hexdigest(), device)


def _written(network: Any) -> str:
    """A network as text: its printed modules, and the source of each class that is not PyTorch's own."""
    kinds = dict.fromkeys(kind for part in network.modules() for kind in type(part).__mro__)
    parts = [re.sub(r" at 0x[0-9a-f]+", "", repr(network))]  # an address is another one in each process
    for kind in kinds:
        if kind.__module__.partition(".")[0] not in ("torch", "builtins"):
            parts.append(f"{kind.__module__}.{kind.__qualname__}")
            with suppress(OSError, TypeError):  # made in a session, or without a file
                parts.append(inspect.getsource(kind))
    return "\n".join(parts)


def encoded(dataset: Dataset, encoder: Encoder, cache: Path, progress: Progress | None) -> Dataset:
    """The data set with features in place of its images.

    Each image passes through the network once. Features are cached by the hash of the weights and of the image.

    Args:
        dataset: A data set of images, in the input format of the network.
        encoder: The network.
        cache: The folder for features.
        progress: Called with "features", the number of encoded images, and their total number.

    Returns:
        The data set; an item is a vector of D float32 numbers.

    Raises:
        InvalidArgument: The network cannot take the images, or returns no features of shape (n, D).
        InvalidData: A feature is not finite.
    """
    content = {record.id: str(record.sha256) for record in dataset.records}
    total = len(dataset.train) + len(dataset.test)
    done = 0

    def advance(n: int) -> None:
        nonlocal done
        done += n
        if progress:
            progress("features", done, total)

    if encoder.input is not None:
        fitting = _Fitting(encoder.input, dataset.preprocessing, encoder.network)
        encoder = replace(encoder, network=fitting)
    about = (encoder.sha256, encoder.device, dataset.preprocessing)
    train, test = (
        _features(pool, encoder, content, cache / "features", about, advance) if len(pool) else pool
        for pool in (dataset.train, dataset.test)
    )
    (width,) = next(train.batches(np.zeros(1, np.intp), 1))[1].shape[1:]
    preprocessing = {
        "kind": "features",
        "shape": [width],
        "encoder": encoder.spec,
        "sha256": encoder.sha256,
        "input": dataset.preprocessing,
    }
    return replace(dataset, train=train, test=test, preprocessing=preprocessing)


@dataclass(frozen=True)
class _Fitting:
    """A network whose images are brought into the form that it was trained with.

    Args:
        input: That form.
        preprocessing: The form of the images of the data.
        network: The network.
    """

    input: hugging_face.Input
    preprocessing: Mapping[str, Any]
    network: Callable[[Any], Any]

    def __call__(self, x: Any) -> Any:
        import torch

        def channels(values: Sequence[float]) -> Any:
            return torch.tensor(values, dtype=torch.float32, device=x.device).reshape(-1, 1, 1)

        if x.ndim != 4:
            raise InvalidArgument(f"the encoder takes images, not items of shape {tuple(x.shape[1:])}")
        told = self.preprocessing
        pixels = x.float() * channels(told.get("std", (1.0,))) + channels(told.get("mean", (0.0,)))  # 0 to 1
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, 3, -1, -1)
        side = self.input.size
        if pixels.shape[2:] != (side, side):
            pixels = torch.nn.functional.interpolate(
                pixels, size=(side, side), mode="bilinear", antialias=True
            )
        return self.network((pixels - channels(self.input.mean)) / channels(self.input.std))


def _features(
    pool: Pool,
    encoder: Encoder,
    content: Mapping[str, str],
    folder: Path,
    about: tuple[Any, ...],
    advance: Callable[[int], None],
) -> Pool:
    ids = list(pool.ids)
    paths, spans = [], cut(ids, _BLOCK_ITEMS)
    for span in spans:
        positions = np.arange(span.start, span.stop)
        if content:
            hashes = [content[ids[i]] for i in span]
        else:
            ((_, x),) = pool.batches(positions, len(span))
            hashes = [digest.hex() for digest in digests(x.numpy())]
        make = partial(_run, encoder, pool, positions)
        path, _ = block(folder, key_of("features 1", about, hashes), make)
        paths.append(path)
        advance(len(span))
    rows = gather(paths, [len(span) for span in spans])
    return ArrayPool(rows, tuple(ids), None if pool.groups is None else tuple(pool.groups))


def _run(encoder: Encoder, pool: Pool, positions: Positions) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """The features of some items, in batches."""
    import torch

    found = []
    with torch.inference_mode():
        for _, x in pool.batches(positions, _BATCH):
            try:
                features = encoder.network(x.to(encoder.device))
            except (RuntimeError, AssertionError, ValueError, TypeError) as error:
                raise InvalidArgument(
                    f"the encoder {encoder.spec} cannot take images of shape {tuple(x.shape)}: {error}."
                    " Set the image size that it needs, and export it with a dynamic batch axis"
                ) from error
            if not isinstance(features, torch.Tensor) or features.shape[:-1] != x.shape[:1]:
                what = (
                    tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
                )
                raise InvalidArgument(
                    f"the encoder {encoder.spec} gives {what} for {len(x)} images; features of shape"
                    f" ({len(x)}, D) are needed. Average over height and width, and return one tensor"
                )
            found.append(features.float().cpu().numpy())
    rows = np.concatenate(found)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = pool.ids[int(positions[finite.argmin()])]
        raise InvalidData(f"the encoder {encoder.spec} gives NaN or an infinite feature for {bad}")
    return rows, {"features": int(rows.shape[1])}


def _exported(spec: str, device: str) -> Encoder:
    import torch

    path = Path(spec).expanduser()
    if not path.is_file():
        raise DataNotFound(f"there is no encoder {path}; write one with torch.export.save")
    try:
        program = torch.export.load(path)
    except Exception as error:  # on damaged bytes it may raise anything
        raise InvalidData(f"{path} is not an exported program: {error}") from error
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return Encoder(spec, program.module(), sha256_of(path), device)
