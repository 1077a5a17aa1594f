"""Devices, and PyTorch's random generators without changes of global state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from baldur.errors import InvalidArgument


def pick_device(name: str) -> torch.device:
    """The device of that name.

    Args:
        name: "auto" is a GPU if there is one, else the processor. Other names: "cpu", "cuda", "cuda:1", ...

    Returns:
        The device.

    Raises:
        InvalidArgument: This machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InvalidArgument(f"there is no device {name!r}; use auto, cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InvalidArgument(
            f"device {name!r} is not here: PyTorch sees {torch.cuda.device_count()} GPUs; use auto"
        )
    return device


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's generators of the processor and of one GPU, and restore them at the end.

    On a GPU, convolutions are deterministic inside.

    Args:
        seed: Seed of both generators.
        device: The device that is used inside.

    Yields:
        Nothing.
    """
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    cudnn = torch.backends.cudnn
    flags = cudnn.deterministic, cudnn.benchmark
    with torch.cuda.device(device), torch.random.fork_rng(devices=[torch.cuda.current_device()]):
        torch.default_generator.manual_seed(seed)
        torch.cuda.manual_seed(seed)
        cudnn.deterministic, cudnn.benchmark = True, False
        try:
            yield
        finally:
            cudnn.deterministic, cudnn.benchmark = flags
