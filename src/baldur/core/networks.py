"""What is done with any network: initialise it, apply it, name its tensors, seed what it draws."""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baldur.errors import InvalidArgument


def initialise(network: Callable[[], nn.Module] | nn.Module, seed: int) -> nn.Module:
    """A network to be trained, with fresh weights that the seed decides.

    Args:
        network: A factory, called where PyTorch's generator is seeded; or a network, which is copied as it
            is, so that each fit begins with its weights.
        seed: Of the initial weights.

    Returns:
        A network that shares nothing with the one given.
    """
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    with seeded(seed, torch.device("cpu")):
        return network()


def call(network: nn.Module, x: Any) -> Any:
    """Apply a network to a batch: a tensor as it is, a tuple or list as arguments, a dict as named arguments.

    Args:
        network: Any network.
        x: A batch as a pool gives it.

    Returns:
        What the network gives.
    """
    try:
        return _apply(network, x)
    except RuntimeError as error:
        if not wants_channels_first(error) or not channels_first(network):
            raise
        return _apply(network, x)


def _apply(network: nn.Module, x: Any) -> Any:
    if isinstance(x, dict):
        return network(**x)
    return network(*x) if isinstance(x, tuple | list) else network(x)


def wants_channels_first(error: RuntimeError) -> bool:
    """Whether a network failed since `h.view(n, -1)` cannot take a convolution's output with its channels last.

    Args:
        error: What it failed with.

    Returns:
        True if so.
    """
    return "view size is not compatible" in str(error)


def channels_first(network: nn.Module) -> bool:
    """Undo `channels_last`.

    Args:
        network: Changed in place; its values are not.

    Returns:
        Whether there was anything to undo.
    """
    changed = False
    with torch.inference_mode(False):
        for parameter in network.parameters():
            if parameter.ndim == 4:
                whole = parameter.data.contiguous().view(-1).view(parameter.shape)
                if whole.stride() != parameter.stride():
                    parameter.data = whole
                    changed = True
    return changed


def map_tree(function: Callable[[Tensor], Any], x: Any) -> Any:
    """Apply a function to every tensor of a tree.

    Args:
        function: Applied to each tensor.
        x: A tensor, or a tuple, list or dict of trees; None stays None.

    Returns:
        A tree of the same form.
    """
    if x is None:
        return None
    if isinstance(x, dict):
        return {key: map_tree(function, value) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return type(x)([map_tree(function, value) for value in x])
    return function(x)


def take(x: Any, which: Tensor | slice) -> Any:
    """Some items of a batch.

    Args:
        x: A tree of tensors with the item as first axis.
        which: Their positions.

    Returns:
        A tree of the same form.
    """
    return map_tree(lambda leaf: leaf[which], x)


def join(parts: Sequence[Any]) -> Any:
    """Batches of the same form one after the other, as one.

    Args:
        parts: Trees of tensors with the item as first axis, at least one.

    Returns:
        A tree of the same form.
    """
    first = parts[0]
    if isinstance(first, dict):
        return {key: join([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple | list):
        return type(first)([join(members) for members in zip(*parts, strict=True)])
    if first is None:
        return None
    return torch.cat(list(parts))


def place(x: Any, device: torch.device) -> Any:
    """A batch on a device.

    Args:
        x: A tree of tensors.
        device: Where they should be; those that are there already are not copied.

    Returns:
        A tree of the same form.
    """
    return map_tree(lambda leaf: leaf.to(device), x)


def channels_last(network: nn.Module) -> nn.Module:
    """Lay the weights of two-dimensional convolutions out with the channels last, which processors and GPUs prefer.

    Outputs take the format of the weights, so that nothing else needs to know.

    Args:
        network: Changed in place; its values are not.

    Returns:
        The network.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            last = parameter.data.contiguous(memory_format=torch.channels_last)
            if last.shape[1] == 1:  # both formats at once, and taken for the other one
                last = last.as_strided(last.shape, (last[0].numel(), 1, last.shape[3], 1))
            parameter.data = last
    return network


def pick_device(name: str) -> torch.device:
    """The device of that name.

    Args:
        name: "auto" takes a GPU where there is one; else "cpu", "cuda", "cuda:1", ...

    Returns:
        The device.

    Raises:
        InvalidArgument: There is no such device here.
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


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bits of all weights and buffers of a network.

    Args:
        network: Any network, on any device.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in tensors(network).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(bits(tensor))
    return digest.hexdigest()


def bits(tensor: Tensor) -> bytes:
    """The elements of a tensor as they lie in memory, row by row.

    Args:
        tensor: On any device.

    Returns:
        Its bytes.
    """
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers by name, a shared one once.

    Args:
        network: Any network.

    Returns:
        The tensors themselves, not copies.
    """
    return dict(network.named_parameters()) | dict(network.named_buffers())


def restore(network: nn.Module, values: dict[str, Tensor]) -> None:
    """Copy values into the weights and buffers of a network.

    Args:
        network: Changed in place.
        values: By name, as `tensors` gives them; what is not named stays.
    """
    with torch.no_grad():
        own = tensors(network)
        for name, tensor in values.items():
            own[name].copy_(tensor)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's generators of the processor and of one GPU; afterwards everything is as it was.

    On a GPU the convolutions are those that give the same bits each time.

    Args:
        seed: Of both generators.
        device: Which device is used inside.

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


def write_tensors(path: Path, groups: Mapping[str, Mapping[str, Tensor]], said: Mapping[str, Any]) -> None:
    """Write groups of named tensors and what is said of them to one safetensors file.

    Args:
        path: The file.
        groups: Tensors by group and name; a group's name holds no "/".
        said: Kept as JSON in the header.
    """
    from safetensors.torch import save

    named = {f"{group}/{name}": t for group, members in groups.items() for name, t in members.items()}
    whole = {name: t.detach().cpu().contiguous() for name, t in named.items()}
    path.write_bytes(save(whole, {"baldur": json.dumps(said)}))


def read_tensors(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Args:
        path: The file.

    Returns:
        The tensors by group and name, and what is said of them.

    Raises:
        ValueError: The file is not whole, or not one of these.
    """
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            said = dict(json.loads((file.metadata() or {})["baldur"]))
            names = file.keys()
            for name in names:
                group, member = name.split("/", 1)
                groups.setdefault(group, {})[member] = file.get_tensor(name).clone()  # off the mapped file
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(str(error)) from None
    return groups, said
