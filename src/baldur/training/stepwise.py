"""Posterior functions that pause at each training, so that networks of several can be trained at once."""

import inspect
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial, update_wrapper
from typing import Concatenate, Generic, ParamSpec, TypeVar, get_args

from torch import nn

from baldur.protocols import Labelled, Posterior
from baldur.training.contract import Fitting, Train, TrainingRequest

Options = ParamSpec("Options")
Fitted = TypeVar("Fitted", bound=Posterior)

Steps = Generator[TrainingRequest, nn.Module, Fitted]
"""Yields a request for each training, receives the trained network, and returns the posterior."""


class Stepwise(Generic[Options, Fitted]):
    """A posterior function written as a generator, which yields a request for each training.

    A normal call carries out the requests one after the other. `ensemble` uses `steps` instead: it advances all members
    to their first training, trains all networks at once, and continues with each member.

    Args:
        function: A generator function `(train, labelled, seed, *, options)`. It is pickled by its name.
    """

    def __init__(self, function: Callable[Concatenate[Train, Labelled, int, Options], Steps[Fitted]]) -> None:
        update_wrapper(self, function)
        self.steps = function
        signature = inspect.signature(function)
        *_, returned = get_args(signature.return_annotation) or (signature.empty,)
        self.__signature__ = signature.replace(return_annotation=returned)

    def __call__(
        self, train: Train, labelled: Labelled, seed: int, *args: Options.args, **options: Options.kwargs
    ) -> Fitted:
        """Fit on what is labelled, one training after the other.

        Args:
            train: Trains a network.
            labelled: What it trains on.
            seed: Of everything random.
            args: Further arguments of the function.
            options: Options of the function.

        Returns:
            The posterior.
        """
        return finish(self.steps(train, labelled, seed, *args, **options), train)

    def __reduce__(self) -> str:
        return self.steps.__qualname__


def finish(steps: Steps[Fitted], train: Train, trained: nn.Module | None = None) -> Fitted:
    """Carry out all remaining steps, one training after the other.

    Args:
        steps: The steps, either new or waiting for a network.
        train: Trains the requested networks.
        trained: The network that the steps wait for; None for new steps.

    Returns:
        The posterior.
    """
    with closing(steps):
        while True:
            try:
                request = next(steps) if trained is None else steps.send(trained)
            except StopIteration as end:
                posterior: Fitted = end.value
                return posterior
            trained = request.by(train)


def steps_of(fitting: Fitting) -> Callable[[Train, Labelled, int], Steps[Posterior]] | None:
    """The stepwise form of a posterior function.

    Args:
        fitting: A posterior function, or a `functools.partial` of one.

    Returns:
        A function `(train, labelled, seed) -> steps`; None if the posterior function is not stepwise.
    """
    if isinstance(fitting, partial):
        steps = steps_of(fitting.func)
        return None if steps is None else partial(steps, *fitting.args, **fitting.keywords)
    return fitting.steps if isinstance(fitting, Stepwise) else None
