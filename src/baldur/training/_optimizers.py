"""Adam, AdamW and SGD with the functions of `torch.optim`, without its classes.

In each step, the classes cost as much time as a small layer. Their first use also loads PyTorch's compiler, which takes
a second. The results are the same, bit for bit.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from baldur.errors import UnsupportedNetwork
from baldur.training.recipe import Recipe

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class Optimizer:
    """The optimiser of a recipe over some parameters.

    Args:
        parameters: The trainable parameters.
        recipe: The recipe with the optimiser and its settings.

    Raises:
        UnsupportedNetwork: There are no trainable parameters, or a parameter is not real.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], recipe: Recipe) -> None:
        self.parameters = list(parameters)
        self.rate = recipe.learning_rate
        self.moments: list[dict[str, Tensor]] = [{} for _ in self.parameters]
        self._recipe = recipe
        if not self.parameters:
            raise UnsupportedNetwork(
                "the network has no parameters that require gradients, so nothing can be trained"
            )
        if odd := {str(p.dtype) for p in self.parameters if not p.is_floating_point()}:
            raise UnsupportedNetwork(f"parameters must be real numbers to be trained, not {', '.join(odd)}")

    def clear(self) -> None:
        """Clear all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    def step(self) -> None:
        """Update every parameter that has a gradient.

        Raises:
            UnsupportedNetwork: A gradient is sparse.
        """
        parameters: list[Tensor] = []
        gradients: list[Tensor] = []
        moments: list[dict[str, Tensor]] = []
        for parameter, own in zip(self.parameters, self.moments, strict=True):
            if parameter.grad is not None:
                if parameter.grad.is_sparse:
                    raise UnsupportedNetwork("a layer has sparse gradients; build it with sparse=False")
                parameters.append(parameter)
                gradients.append(parameter.grad)
                moments.append(own)
        with torch.no_grad():
            move = self._by_sgd if self._recipe.optimizer == "sgd" else self._by_adam
            move(parameters, gradients, moments)

    def _by_adam(
        self, parameters: list[Tensor], gradients: list[Tensor], moments: list[dict[str, Tensor]]
    ) -> None:
        for parameter, own in zip(parameters, moments, strict=True):
            if not own:
                own["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                own["exp_avg"] = torch.zeros_like(parameter)
                own["exp_avg_sq"] = torch.zeros_like(parameter)
        move = adamw if self._recipe.optimizer == "adamw" else adam
        move(
            parameters,
            gradients,
            [own["exp_avg"] for own in moments],
            [own["exp_avg_sq"] for own in moments],
            [],
            [own["step"] for own in moments],
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self.rate,
            weight_decay=self._recipe.weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def _by_sgd(
        self, parameters: list[Tensor], gradients: list[Tensor], moments: list[dict[str, Tensor]]
    ) -> None:
        momentum = self._recipe.momentum
        buffers: list[Tensor | None] = [own.get("momentum_buffer") for own in moments] if momentum else []
        sgd(
            parameters,
            gradients,
            buffers,
            fused=True,
            weight_decay=self._recipe.weight_decay,
            momentum=momentum,
            lr=self.rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
        for own, buffer in zip(moments, buffers, strict=momentum > 0):
            assert buffer is not None  # `sgd` has made those that were not there
            own["momentum_buffer"] = buffer

    def load(self, moments: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Restore the moments.

        Args:
            moments: Earlier values of `moments`, by the number of the parameter. They are copied.
        """
        for number, (parameter, own) in enumerate(zip(self.parameters, self.moments, strict=True)):
            own.clear()
            for name, moment in moments.get(number, {}).items():
                # the kernels walk over memory, so a moment must lie as its parameter does
                like = parameter if moment.shape == parameter.shape else moment
                own[name] = torch.empty_like(like, dtype=moment.dtype, device=parameter.device).copy_(moment)
