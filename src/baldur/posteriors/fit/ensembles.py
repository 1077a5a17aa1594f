"""Deep ensembles: the same fit several times, from other weights and in another order.

Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017; the switches are the factors of Beluch et al., "The power of
ensembles for active learning in image classification", CVPR 2018.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from torch import nn

from baldur import posteriors
from baldur.errors import InvalidArgument
from baldur.posteriors.ensemble import member_seed
from baldur.posteriors.fit.dropout import deterministic
from baldur.protocols import Labelled, Posterior
from baldur.training import AfterEpoch, Penalty, Recipe, weights_hash
from baldur.training.contract import (
    Asked,
    Fitting,
    Together,
    Train,
    TrainsTogether,
    WrappingTrain,
    options_of,
)

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

    Where their weights are stacked, every step is one pass for all. Members then end where they would in turn, up to
    rounding, as long as nothing is dropped; dropout has other masks, independent ones all the same.

    Args:
        members: M.
        init: Whether members begin with other weights or the same.
        order: Whether they see the items in another order (with other augmentation and dropout) or the same. With
            both shared, all members are one function.
        capacity: The share of its units that each hidden layer keeps, 1/√M for about the parameters of one
            network. Below 1 the learner's factory of networks must take `width=`.
        each: The posterior that a member is: `mc_dropout` for an ensemble of dropout networks.
        together: How members are trained. "turn" is one after the other. "stacked" is all at once, in the first
            training that each of them asks for; with a warning in turn, where PyTorch cannot vectorise the network or
            something is added to the loss. "auto" stacks what is faster so: small dense networks.

    Returns:
        A posterior function for `Supervised`. An ensemble of one is what `each` fits alone with the same seed, and a
        larger one begins with the members of a smaller one, where they are trained in turn.

    Raises:
        InvalidArgument: There is no member, or a value is out of its domain.
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


def spread(fitting: Fitting, begin: Begin) -> Fitting:
    """Fit the members of an ensemble side by side, where they would be trained in turn.

    Args:
        fitting: What `ensemble` gave; any other posterior function stays as it is.
        begin: Begins the fit of a member elsewhere, given a call that can be pickled.

    Returns:
        A posterior function that fits the same members. There may be no warm start and no checkpoint.
    """
    return replace(fitting, begin=begin) if isinstance(fitting, EnsembleFitting) else fitting


@dataclass(frozen=True)
class EnsembleFitting:
    members: int
    init: Sharing
    order: Sharing
    capacity: float
    each: Fitting
    how: Together
    begin: Begin | None = None

    @property
    def options(self) -> Mapping[str, Any]:
        """What networks are built with."""
        return {**options_of(self.each), **({"width": self.capacity} if self.capacity < 1 else {})}

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        return posteriors.Ensemble(_Members(train, labelled, seed, self).fit())


class _Members:
    """The members as they are fitted: each goes as far as its first training, all are trained, and each goes on.

    A member waits inside its call: there it lets the next one begin, and the last one trains them all. So one thread
    is enough, and an error leaves through all of them.
    """

    def __init__(self, train: Train, labelled: Labelled, seed: int, plan: EnsembleFitting) -> None:
        self.train, self.labelled, self.seed, self.plan = train, labelled, seed, plan
        self.begun: set[str] = set()  # hashes of initial weights
        self.asked: list[Asked] = []
        self.fitted: dict[int, Posterior] = {}
        self.elsewhere: dict[int, Callable[[], tuple[Posterior, set[str]]]] = {}
        self.waiting = plan.members > 1 and plan.how != "turn" and not isinstance(plan.each, EnsembleFitting)
        if self.waiting and not isinstance(train, TrainsTogether):
            self.waiting = False
            if plan.how == "stacked":
                warnings.warn("members are trained in turn: the learner trains one at a time", stacklevel=2)

    def fit(self) -> list[Posterior]:
        """Fit all of them, in order."""
        self._go_on(0)
        return [self.fitted[number] for number in range(self.plan.members)]

    def _go_on(self, number: int) -> None:
        """Fit this member and those after it, as far as they are not fitted yet."""
        while number < self.plan.members:
            if number in self.elsewhere:
                self.fitted[number], begun = self.elsewhere.pop(number)()
                for initial in begun:
                    self.begin_with(initial)
                number += 1
                continue
            member = _Member(self, number)
            self.fitted[number] = self.plan.each(member, self.labelled, self.seed)
            if self.waiting and member.came:
                return
            number += 1
        if self.asked:
            assert isinstance(self.train, TrainsTogether)
            self.train.together(self.asked, self.plan.how)
            self.asked = []

    def came(self, number: int, asked: Asked) -> bool:
        """Take in a network to be trained; False where it is not worth waiting for the others."""
        if self.waiting and not self.asked:
            self.waiting = isinstance(self.train, TrainsTogether) and self.train.worth(asked, self.plan.how)
        if self.waiting:
            self.asked.append(asked)
            self._go_on(number + 1)
        elif number == 0 and self.plan.begin is not None:  # the first is trained here meanwhile
            alone = replace(self.plan, begin=None, how="turn")
            for other in range(1, self.plan.members):
                fit = partial(_alone, alone, self.train, self.labelled, self.seed, other)
                self.elsewhere[other] = self.plan.begin(fit)
        return self.waiting

    def begin_with(self, initial: str) -> None:
        """Take note of a member's initial weights, and refuse those that another one had."""
        if initial in self.begun and self.plan.init != "shared":
            raise InvalidArgument(
                "the members of the ensemble begin with the same weights; give the learner a factory that draws them, "
                'or say init="shared"'
            )
        self.begun.add(initial)


def _alone(
    plan: EnsembleFitting, train: Train, labelled: Labelled, seed: int, number: int
) -> tuple[Posterior, set[str]]:
    """Fit one member, with the hashes of the weights that its networks began with."""
    members = _Members(train, labelled, seed, plan)
    return plan.each(_Member(members, number), labelled, seed), members.begun


class _Member(WrappingTrain):
    """How one member is trained: its own seeds where they are not shared; see `Train`."""

    def __init__(self, members: _Members, number: int) -> None:
        self.members = members
        self.train = members.train
        self.plan = members.plan
        self.number = number
        self.came = False  # as far as its first training

    def _seed(self, seed: int) -> int:
        return member_seed(seed, self.number, self.plan.members)

    def _order_seed(self, seed: int) -> int:
        return seed if self.plan.order == "shared" else self._seed(seed)

    def build(self, seed: int, **options: Any) -> nn.Module:
        shared = self.plan.init == "shared"
        width = {"width": self.plan.capacity} if self.plan.capacity < 1 else {}
        network = self.train.build(seed if shared else self._seed(seed), **width, **options)
        self.members.begin_with(weights_hash(network))
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
        seed = self._order_seed(seed)
        if not self.came:
            self.came = True
            if self.members.came(self.number, Asked(seed, network, penalty, after_epoch, recipe)):
                return network
        return self.train(seed, network=network, penalty=penalty, after_epoch=after_epoch, recipe=recipe)

    def worth(self, asked: Asked, how: Together) -> bool:
        return isinstance(self.train, TrainsTogether) and self.train.worth(asked, how)

    def together(self, asked: Sequence[Asked], how: Together) -> None:
        assert isinstance(self.train, TrainsTogether)
        self.train.together([replace(one, seed=self._order_seed(one.seed)) for one in asked], how)
