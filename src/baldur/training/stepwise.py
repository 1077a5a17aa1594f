"""Posterior functions that pause at each training, so that several of them can have their networks trained at once."""

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
"""Yields a request for each training, is sent the trained network, and returns the posterior."""


class Stepwise(Generic[Options, Fitted]):
    """A posterior function that is written as a generator, which yields each training that it needs.

    Called like any posterior function, it has `train` do one after the other. `ensemble` takes its `steps` instead: so
    it can bring all members as far as their first training, train all networks at once, and go on with each.

    Args:
        function: A generator function `(train, labelled, seed, *, options)`. It can be pickled by its name.
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
    """Take steps to their end, one training after the other.

    Args:
        steps: Just made, or waiting for a network.
        train: Trains the networks that they ask for.
        trained: The network that they wait for; None where they were just made.

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
    """How a posterior function is taken step by step.

    Args:
        fitting: A posterior function, or a `functools.partial` of one.

    Returns:
        `(train, labelled, seed)` to its steps; None where it trains its networks itself.
    """
    if isinstance(fitting, partial):
        steps = steps_of(fitting.func)
        return None if steps is None else partial(steps, *fitting.args, **fitting.keywords)
    return fitting.steps if isinstance(fitting, Stepwise) else None
