"""The steps of a traced network by kind: the kind says whether a dropout mask can be moved past the step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

TensorFunction = Callable[[Tensor], Tensor]
Pair = tuple[int, int]

_DROPOUT_MODULES = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_DROPOUT_CALLS = {functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d}
_DROPOUT_CALLS |= {functional.alpha_dropout, functional.feature_alpha_dropout}
# max(0, c x) = c max(0, x) for c >= 0: a mask may be moved behind these.
_HOMOGENEOUS_MODULES = (nn.ReLU, nn.LeakyReLU, nn.Identity)
_HOMOGENEOUS_CALLS = {functional.relu, torch.relu, functional.leaky_relu}
_POOL_MODULES = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
_POOL_CALLS: set[Any] = {functional.max_pool2d, torch.max_pool2d, functional.avg_pool2d}
_POOL_CALLS |= {functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d}
_POINTWISE_MODULES = (nn.GELU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.ELU, nn.SELU, nn.Softplus)
_POINTWISE_CALLS = {functional.gelu, torch.tanh, torch.sigmoid, functional.silu, functional.elu}
_LOG_SOFTMAX_CALLS = {functional.log_softmax, torch.log_softmax}


@dataclass(frozen=True)
class Pooling:
    """A pooling function.

    Args:
        function: On (n, channels, height, width).
        window: The sides of the windows, where it is the maximum over windows side by side; else None.
    """

    function: TensorFunction
    window: Pair | None

    def __call__(self, h: Tensor) -> Tensor:
        return self.function(h)


def step(node: fx.Node, modules: dict[str, nn.Module]) -> tuple[str, Any]:
    """The kind of a node.

    Args:
        node: Of a traced network.
        modules: Its modules by name.

    Returns:
        "dropout", "identity", "flatten", "linear", "convolution", "norm", "homogeneous", "pool", "pointwise",
        "log_softmax" or "other"; and the module, or a function out of place.
    """
    if node.op == "call_module":
        return _module_step(modules[str(node.target)])
    if node.op == "call_function":
        return _call_step(node)
    if node.op == "call_method":
        if node.target == "flatten" and node.args[1:] == (1,) and not node.kwargs:
            return "flatten", None
        # (n, -1), or (-1, d): that d is the width is seen where the chain is compared with the network.
        if node.target in ("view", "reshape") and len(node.args) == 3 and -1 in node.args[1:]:
            return "flatten", None
        if node.target in ("relu", "relu_"):
            return "homogeneous", torch.relu
    return "other", None


def _module_step(module: nn.Module) -> tuple[str, Any]:
    if isinstance(module, _DROPOUT_MODULES):
        return ("dropout" if module.training else "identity"), module
    if isinstance(module, nn.Flatten):
        return ("flatten" if (module.start_dim, module.end_dim) == (1, -1) else "other"), module
    if isinstance(module, _POOL_MODULES):
        window = None
        if isinstance(module, nn.MaxPool2d):
            window = _window(
                module.kernel_size, module.stride, module.padding, module.dilation, module.ceil_mode
            )
        several = isinstance(module, nn.MaxPool2d | nn.AdaptiveMaxPool2d) and module.return_indices
        return ("other" if several else "pool"), Pooling(module, window)
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return ("other" if module.training else "norm"), module
    if isinstance(module, nn.LogSoftmax):
        return ("log_softmax" if module.dim in (1, -1) else "other"), module
    for kind, types in (("linear", nn.Linear), ("convolution", nn.Conv2d)):
        if isinstance(module, types):
            return kind, module
    # In place would be wrong here: a layer's input is shared by all samples.
    if isinstance(module, _HOMOGENEOUS_MODULES):
        return "homogeneous", _out_of_place(module)
    return ("pointwise" if isinstance(module, _POINTWISE_MODULES) else "other"), _out_of_place(module)


def _call_step(node: fx.Node) -> tuple[str, Any]:
    target: Any = node.target
    more: Sequence[Any] = node.args[1:]
    if len(node.all_input_nodes) != 1:
        return "other", None
    if target in _DROPOUT_CALLS:
        training = more[1] if len(more) > 1 else node.kwargs.get("training", True)
        return ("dropout" if training else "identity"), target
    if target is torch.flatten:
        return ("flatten" if (*more, *node.kwargs.values()) == (1,) else "other"), target
    settings: dict[str, Any] = {
        key: value for key, value in node.kwargs.items() if key not in ("input", "inplace")
    }
    if target in _POOL_CALLS and not settings.get("return_indices"):
        largest = target in (functional.max_pool2d, torch.max_pool2d)
        window = _window(*more, **settings) if largest else None
        return "pool", Pooling(_bound(target, more, settings), window)
    if target in _HOMOGENEOUS_CALLS:
        return "homogeneous", _bound(target, () if target is functional.relu else more[:1], settings)
    if target in _POINTWISE_CALLS and not more and not node.kwargs:
        return "pointwise", target
    classes = (*more, settings.get("dim"))[0] in (1, -1)
    return ("log_softmax" if target in _LOG_SOFTMAX_CALLS and classes else "other"), target


def _bound(target: Any, more: Sequence[Any], settings: dict[str, Any]) -> TensorFunction:
    return lambda x: target(x, *more, **settings)


def _window(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pair | None:
    """The sides of the windows of a pooling with these arguments, if they lie side by side from the corner on."""
    sides, *others = (
        (side, side) if isinstance(side, int) else (*side, *side)[:2]  # (2,) is (2, 2)
        for side in (kernel_size, stride or kernel_size, padding, dilation)
    )
    plain = others == [sides, (0, 0), (1, 1)] and not ceil_mode
    return (sides[0], sides[1]) if plain else None


def _out_of_place(module: nn.Module) -> TensorFunction:
    if isinstance(module, nn.ReLU):
        return torch.relu
    if isinstance(module, nn.LeakyReLU):
        return partial(functional.leaky_relu, negative_slope=module.negative_slope)
    if isinstance(module, nn.ELU):
        return partial(functional.elu, alpha=module.alpha)
    if isinstance(module, nn.SELU):
        return torch.selu
    if isinstance(module, nn.SiLU):
        return functional.silu
    return module
