"""Deep ensembles: several fits that differ in their initial weights and the order of the items.

Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017; the switches are the factors of Beluch et al., "The power of
ensembles for active learning in image classification", CVPR 2018.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import nn

from baldur import posteriors
from baldur.errors import InvalidArgument
from baldur.posteriors.ensemble import member_seed
from baldur.posteriors.fit.dropout import deterministic, mc_dropout
from baldur.protocols import Labelled, Posterior
from baldur.training import AfterEpoch, Penalty, Recipe, weights_hash
from baldur.training.contract import (
    Fitting,
    Together,
    Train,
    TrainingRequest,
    TrainsTogether,
    WrappingTrain,
    options_of,
)
from baldur.training.stepwise import Steps, finish, steps_of

Sharing = Literal["independent", "shared"]

Begin = Callable[[Callable[[], Any]], Callable[[], Any]]
"""Begins a call somewhere else, and gives a function that waits for its result."""


def ensemble(
    members: int = 5,
    *,
    init: Sharing = "independent",
    order: Sharing = "independent",
    capacity: float = 1.0,
    each: Fitting = deterministic,
    together: Together = "auto",
) -> Fitting:
    """M networks, each trained on all labelled items.

    Stacked members need one pass for each step. Without dropout, the result equals that of training one after the
    other, up to rounding. With dropout, the masks differ but are still independent.

    Args:
        members: M.
        init: Whether members start from different weights.
        order: Whether members get the items in different orders, with different augmentation and dropout. Without
            `init` and `order`, all members are the same function.
        capacity: Share of the units in each hidden layer; 1/√M gives about the parameters of one network. Below 1, the
            learner's factory of networks must accept `width=`.
        each: The posterior function of each member, such as `mc_dropout` for an ensemble of dropout networks.
        together: How members are trained. "turn" means one after the other. "stacked" means all at once, for the first
            training of each member. If PyTorch cannot vectorise the network, or something is added to the loss, they
            are trained in turn, with a warning. "auto" stacks only small dense networks, for which this is faster.

    Returns:
        A posterior function for `Supervised`. An ensemble of one equals the result of `each` with the same seed. If
        trained in turn, a larger ensemble begins with the members of a smaller one.

    Raises:
        InvalidArgument: There are no members, or a value is not valid.
    """
    if members < 1:
        raise InvalidArgument(f"an ensemble has at least one member, not {members}")
    if not {init, order} <= {"independent", "shared"}:
        raise InvalidArgument(f"init and order are independent or shared, not {init!r} and {order!r}")
    if not 0 < capacity <= 1:
        raise InvalidArgument(f"capacity is {capacity}; it must be above 0 and at most 1")
    if together not in ("auto", "stacked", "turn"):
        raise InvalidArgument(f"members are trained together by auto, stacked or turn, not {together!r}")
    return EnsembleFitting(members, init, order, capacity, each, together)


def dropout_ensemble(
    members: int = 5,
    *,
    init: Sharing = "independent",
    order: Sharing = "independent",
    capacity: float = 1.0,
    together: Together = "auto",
) -> Fitting:
    """M networks with dropout, each sampled with its own masks: `ensemble(each=mc_dropout)`.

    Args:
        members: M.
        init: See `ensemble`.
        order: See `ensemble`.
        capacity: See `ensemble`.
        together: See `ensemble`.

    Returns:
        A posterior function for `Supervised`.

    Raises:
        InvalidArgument: There is no member, or a value is not valid.
    """
    return ensemble(members, init=init, order=order, capacity=capacity, each=mc_dropout, together=together)


def spread(fitting: Fitting, begin: Begin) -> Fitting:
    """Fit the members of an ensemble side by side instead of in turn.

    Args:
        fitting: The result of `ensemble`. Other posterior functions are returned unchanged.
        begin: Begins the fit of a member elsewhere, given a call that can be pickled.

    Returns:
        A posterior function that fits the same members. There may be no warm start and no checkpoint.
    """
    return replace(fitting, begin=begin) if isinstance(fitting, EnsembleFitting) else fitting


@dataclass(frozen=True)
class EnsembleFitting:
    """The posterior function of an ensemble; see `ensemble`."""

    members: int
    init: Sharing
    order: Sharing
    capacity: float
    each: Fitting
    how: Together
    begin: Begin | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the factory of networks."""
        return {**options_of(self.each), **({"width": self.capacity} if self.capacity < 1 else {})}

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        return posteriors.Ensemble(_EnsembleFit(self, train, labelled, seed).members())


class _EnsembleFit:
    """One fit of an ensemble."""

    def __init__(self, ensemble: EnsembleFitting, train: Train, labelled: Labelled, seed: int) -> None:
        self.ensemble = ensemble
        self.train, self.labelled, self.seed = train, labelled, seed
        self.begun: set[str] = set()  # hashes of the weights that networks began with

    def members(self) -> list[Posterior]:
        """Fit all members, in two passes if their networks are trained at once, and otherwise in turn.

        The first pass advances each member to its first training. Then all these networks are trained together. The
        second pass finishes each member, beginning with the last, because checkpoints have this order.
        """
        steps_of_each = steps_of(self.ensemble.each)
        self._say_why_in_turn(steps_of_each is not None)
        if steps_of_each is None:
            return self._in_turn([], partial(self.fit, 0))
        fitted: dict[int, Posterior] = {}
        waiting: list[tuple[int, Steps[Posterior], TrainingRequest]] = []
        with ExitStack() as unfinished:
            for number in range(self.ensemble.members):
                train = _MemberTrain(self, number)
                steps = unfinished.enter_context(closing(steps_of_each(train, self.labelled, self.seed)))
                try:
                    request = train.own(next(steps))
                except StopIteration as end:  # it trains nothing
                    fitted[number] = end.value
                    continue
                if not waiting and not self._worth(request):
                    first = partial(self._go_on, number, steps, request)
                    return self._in_turn(list(fitted.values()), first)
                waiting.append((number, steps, request))
            if waiting and isinstance(self.train, TrainsTogether):
                self.train.together([request for *_, request in waiting], self.ensemble.how)
            for number, steps, request in reversed(waiting):
                fitted[number] = finish(steps, _MemberTrain(self, number), request.network)
        return [fitted[number] for number in range(self.ensemble.members)]

    def fit(self, number: int) -> Posterior:
        """Fit one whole member."""
        return self.ensemble.each(_MemberTrain(self, number), self.labelled, self.seed)

    def begin_with(self, initial: str) -> None:
        """Record the initial weights of a member. Raise an error if another member had the same."""
        if initial in self.begun and self.ensemble.init != "shared":
            raise InvalidArgument(
                "the members of the ensemble begin with the same weights; give the learner a factory that draws them, "
                'or say init="shared"'
            )
        self.begun.add(initial)

    def _worth(self, request: TrainingRequest) -> bool:
        """Whether to train the networks at once, given the first request."""
        if self.ensemble.members == 1 or self.ensemble.how == "turn":
            return False
        return isinstance(self.train, TrainsTogether) and self.train.worth(request, self.ensemble.how)

    def _go_on(self, number: int, steps: Steps[Posterior], request: TrainingRequest) -> Posterior:
        """Train the requested network of a member, and finish the member."""
        return finish(steps, _MemberTrain(self, number), request.by(self.train))

    def _in_turn(self, fitted: list[Posterior], fit_next: Callable[[], Posterior]) -> list[Posterior]:
        """Fit the remaining members one after the other, or the first one here and the others elsewhere."""
        others = range(len(fitted) + 1, self.ensemble.members)
        if self.ensemble.begin is None or fitted:
            return [*fitted, fit_next(), *map(self.fit, others)]
        alone = replace(self.ensemble, begin=None, how="turn")
        calls = [partial(_alone, alone, self.train, self.labelled, self.seed, number) for number in others]
        elsewhere = [self.ensemble.begin(call) for call in calls]
        fitted = [fit_next()]
        for wait in elsewhere:
            posterior, begun = wait()
            for initial in begun:
                self.begin_with(initial)
            fitted.append(posterior)
        return fitted

    def _say_why_in_turn(self, in_steps: bool) -> None:
        """Warn if stacking was requested but is impossible."""
        each = self.ensemble.each
        if self.ensemble.how != "stacked" or self.ensemble.members == 1 or isinstance(each, EnsembleFitting):
            return
        if not in_steps:
            why = "their posterior function does not yield its trainings (see training.stepwise)"
        elif not isinstance(self.train, TrainsTogether):
            why = "the learner trains one at a time"
        else:
            return
        warnings.warn(f"members are trained in turn: {why}", stacklevel=2)


def _alone(
    ensemble: EnsembleFitting, train: Train, labelled: Labelled, seed: int, number: int
) -> tuple[Posterior, set[str]]:
    """Fit one member. Also returns the hashes of its initial weights."""
    fit = _EnsembleFit(ensemble, train, labelled, seed)
    return fit.fit(number), fit.begun


class _MemberTrain(WrappingTrain):
    """The training of one member, with its own seeds unless they are shared; see `Train`."""

    def __init__(self, fit: _EnsembleFit, number: int) -> None:
        self.fit = fit
        self.train = fit.train
        self.ensemble = fit.ensemble
        self.number = number

    def _seed(self, seed: int) -> int:
        return member_seed(seed, self.number, self.ensemble.members)

    def own(self, request: TrainingRequest) -> TrainingRequest:
        """The request of a member, with its own seed for the order unless this is shared."""
        shared = self.ensemble.order == "shared"
        return request if shared else replace(request, seed=self._seed(request.seed))

    def build(self, seed: int, **options: Any) -> nn.Module:
        shared = self.ensemble.init == "shared"
        width = {"width": self.ensemble.capacity} if self.ensemble.capacity < 1 else {}
        network = self.train.build(seed if shared else self._seed(seed), **width, **options)
        self.fit.begin_with(weights_hash(network))
        return network

    def __call__(
        self,
        seed: int,
        *,
        network: nn.Module | None = None,
        penalty: Penalty | None = None,
        after_epoch: AfterEpoch | None = None,
        recipe: Recipe | None = None,
    ) -> nn.Module:
        network = self.build(seed) if network is None else network
        return self.own(TrainingRequest(seed, network, penalty, after_epoch, recipe)).by(self.train)

    def worth(self, request: TrainingRequest, how: Together) -> bool:
        return isinstance(self.train, TrainsTogether) and self.train.worth(request, how)

    def together(self, requests: Sequence[TrainingRequest], how: Together) -> None:
        assert isinstance(self.train, TrainsTogether)
        self.train.together([self.own(one) for one in requests], how)
