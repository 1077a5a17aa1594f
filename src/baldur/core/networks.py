"""Functions for any network: initialise it, apply it, name its tensors."""

import copy
import hashlib
import inspect
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from baldur.core.devices import seeded
from baldur.core.trees import bits, map_tree, take
from baldur.errors import BaldurError, InvalidArgument, UnsupportedNetwork

HALF = (torch.float16, torch.bfloat16)
"""Types of half precision."""


@runtime_checkable
class _NamedTuple(Protocol):
    def _asdict(self) -> dict[Any, Any]: ...


def initialise(network: Any, seed: int) -> nn.Module:
    """A network with initial weights, ready for training.

    Args:
        network: A factory, which is called with a seeded generator; or a network, which is copied with its weights.
        seed: Seed of the initial weights.

    Returns:
        A network that shares no tensor with the given one.

    Raises:
        InvalidArgument: The factory cannot be called without arguments, raises an error, or returns something else.
        UnsupportedNetwork: See `duplicate`.
    """
    if isinstance(network, nn.Module) or not callable(network) or _is_program(network):
        return duplicate(network)
    try:
        with suppress(ValueError):  # no known signature
            signature = inspect.signature(network)
            signature.bind()
    except TypeError:
        raise InvalidArgument(
            f"a factory of networks is called without arguments here, but it takes {signature}; give a function "
            "without arguments, such as functools.partial(factory, shape, classes)"
        ) from None
    try:
        with seeded(seed, torch.device("cpu")):
            made: Any = network()
    except BaldurError:
        raise
    except Exception as error:
        given = network.args if isinstance(network, partial) and not any(map(callable, network.args)) else ()
        raise InvalidArgument(
            f"the factory of networks (network=){f', called with {given},' if given else ''} raised "
            f"{type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, nn.Module):
        raise InvalidArgument(
            f"the factory of networks (network=) returned {_named(made)}; it must return the network, a torch.nn.Module"
        )
    return _plain(made)


def duplicate(network: Any) -> nn.Module:
    """A copy of a network, without the wrappers of `torch.compile`, and in float32 where it has half precision.

    Args:
        network: Any network.

    Returns:
        The copy. Its values are those of the network.

    Raises:
        UnsupportedNetwork: It is no module, or one of TorchScript, or it cannot be copied.
    """
    if not isinstance(network, nn.Module):
        raise UnsupportedNetwork(
            f"a torch.nn.Module was expected, not {_named(network)}"
            + ("; give its .module()" if _is_program(network) else "")
        )
    _refuse_scripted(network)
    try:
        return _plain(copy.deepcopy(_uncompiled(network)))
    except RuntimeError as error:
        raise UnsupportedNetwork(f"the network cannot be copied: {error}") from None


def _plain(network: nn.Module) -> nn.Module:
    """The network, changed in place: without the wrappers of `torch.compile`, and without half precision."""
    _refuse_scripted(network)
    network = _uncompiled(network)
    for module in list(network.modules()):
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = _uncompiled(child)
    in_full(network)
    return network


def in_full(network: nn.Module) -> None:
    """Turn half precision into float32, with the same values.

    Args:
        network: Changed in place.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dtype in HALF:
            tensor.data = tensor.data.float()


def _uncompiled(network: nn.Module) -> nn.Module:
    while type(network).__name__ == "OptimizedModule":  # importing its class takes a second
        network = network.get_submodule("_orig_mod")
    return network


def _refuse_scripted(network: nn.Module) -> None:
    for path, module in network.named_modules():
        if isinstance(module, torch.jit.ScriptModule):
            raise UnsupportedNetwork(
                f"{repr(path) if path else 'the network'} is a TorchScript module (torch.jit), which shows neither its "
                "dropout nor its layers; give the module that it was made from"
            )


def _is_program(thing: Any) -> bool:
    return type(thing).__name__ == "ExportedProgram"  # of torch.export, which takes a second to import


def _named(thing: Any) -> str:
    return "None" if thing is None else f"an object of the type {type(thing).__name__}"


def is_lazy(network: nn.Module) -> bool:
    """Whether a network has weights whose shapes its first batch decides.

    Args:
        network: Any network.

    Returns:
        True if so.
    """
    return any(nn.parameter.is_lazy(t) for t in (*network.parameters(), *network.buffers()))


def call(network: nn.Module, x: Any) -> Any:
    """Apply a network to a batch: a tensor as it is, a tuple or list as arguments, a dict as named arguments.

    Args:
        network: Any network.
        x: A batch of a pool.

    Returns:
        What the network gives; see `logits_of`.

    Raises:
        UnsupportedNetwork: The network takes other arguments.
    """
    try:
        return _apply(network, x)
    except RuntimeError as error:
        if not wants_channels_first(error) or not channels_first(network):
            raise
        return _apply(network, x)


def _apply(network: nn.Module, x: Any) -> Any:
    args, kwargs = arguments_of(network, x)
    try:
        return logits_of(network(*args, **kwargs))
    except TypeError:
        _refuse_others(network, args, kwargs)
        raise


def least_items(network: nn.Module, x: Any, seed: int, device: torch.device) -> int:
    """How many items a batch needs in training: two where batch normalisation has no other values, else one.

    Args:
        network: The network; its mode and buffers are those of before afterwards.
        x: A batch of one item or more.
        seed: Seed of dropout.
        device: The device of the network.

    Returns:
        1 or 2.
    """
    before = {name: buffer.detach().clone() for name, buffer in network.named_buffers()}
    modes = [(module, module.training) for module in network.modules()]
    network.train()
    try:
        with seeded(seed, device), torch.no_grad():
            call(network, take(x, slice(1)))
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            return 2
        raise
    finally:
        for module, training in modes:
            module.training = training
        restore(network, before)
    return 1


def arguments_of(network: nn.Module, x: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments by which a network takes a batch, as precise as the network is.

    Args:
        network: Any network.
        x: A tensor as it is, a tuple or list as arguments, a dict as named arguments.

    Returns:
        Arguments by position and by name.
    """
    x = as_precise(network, x)
    if isinstance(x, Mapping):
        return bound(network, (), dict(x))
    return (tuple(x) if isinstance(x, tuple | list) else (x,)), {}


def as_precise(network: nn.Module, x: Any) -> Any:
    """A batch with numbers in double precision for a network in it, and not in half precision for one in float32.

    Args:
        network: Any network.
        x: A batch.

    Returns:
        A batch of the same form.
    """
    first = next(iter(network.parameters()), None)
    if first is None or first.dtype not in (torch.float32, torch.float64):
        return x
    exact, others = first.dtype, HALF if first.dtype == torch.float32 else (torch.float32, *HALF)
    return map_tree(lambda leaf: leaf.to(exact) if leaf.dtype in others else leaf, x)


def bound(
    network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The same arguments, but a single one of another name by position.

    Args:
        network: Any network.
        args: By position.
        kwargs: By name.

    Returns:
        Arguments by position and by name.
    """
    if args or len(kwargs) != 1:
        return args, kwargs
    try:
        inspect.signature(network.forward).bind(**kwargs)
    except TypeError:
        return tuple(kwargs.values()), {}
    except ValueError:  # no known signature
        pass
    return args, kwargs


def _refuse_others(network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise an error if the network cannot be called with such arguments at all."""
    try:
        signature = inspect.signature(network.forward)
    except ValueError:  # no known signature
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        given = f"the parts {', '.join(kwargs)}" if kwargs else f"{len(args)} part" + "s" * (len(args) != 1)
        raise UnsupportedNetwork(
            f"{type(network).__name__}.forward takes {signature}, but an item has {given} ({error}); give items as "
            "forward takes them: a tensor, a tuple of its arguments, or a dict with the names of its arguments"
        ) from None


def logits_of(outputs: Any) -> Any:
    """The logits in what a network gives: "logits" of a dict or of a named tuple, or the only value.

    Args:
        outputs: A tensor, or a dict or tuple of tensors, such as those of the library transformers.

    Returns:
        The logits; other outputs unchanged.
    """
    if isinstance(outputs, Mapping):
        named = dict(outputs)
    elif isinstance(outputs, tuple):
        named = outputs._asdict() if isinstance(outputs, _NamedTuple) else dict(enumerate(outputs))
    else:
        return outputs
    if "logits" in named:
        return named["logits"]
    values = [value for value in named.values() if value is not None]
    return values[0] if len(values) == 1 else outputs


def wants_channels_first(error: RuntimeError) -> bool:
    """Whether a network failed because `h.view(n, -1)` does not accept channels-last tensors.

    Args:
        error: The error of the network.

    Returns:
        True for this error.
    """
    return "view size is not compatible" in str(error)


def channels_first(network: nn.Module) -> bool:
    """Undo `channels_last`.

    Args:
        network: Its memory layout changes in place; its values stay.

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


def channels_last(network: nn.Module) -> nn.Module:
    """Store the weights of two-dimensional convolutions channels-last, which is faster on processors and GPUs.

    Outputs take the format of the weights, so no other code changes.

    Args:
        network: Its memory layout changes in place; its values stay.

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


def tensors(network: nn.Module) -> dict[str, Tensor]:
    """All weights and buffers by name. A shared tensor occurs once.

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
        values: New values by name; see `tensors`. Other tensors stay.
    """
    with torch.no_grad():
        own = tensors(network)
        for name, tensor in values.items():
            own[name].copy_(tensor)


def device_of(network: nn.Module) -> torch.device:
    """The device of the first parameter or buffer; the CPU for a network that has none.

    Args:
        network: Any network.

    Returns:
        A device.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    return torch.device("cpu")
