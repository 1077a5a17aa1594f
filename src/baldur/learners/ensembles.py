"""Deep ensembles: the same fit several times, from other weights and in another order.

Lakshminarayanan, Pritzel & Blundell, NeurIPS 2017; the switches are the factors of Beluch et al., "The power of
ensembles for active learning in image classification", CVPR 2018.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from baldur import posteriors
from baldur.errors import InvalidArgument
from baldur.learners.supervised import deterministic
from baldur.learners.train import Fitting, Train
from baldur.posteriors.ensemble import member_seed
from baldur.protocols import Batch, Labelled, Posterior
from baldur.training import AfterEpoch, Penalty, Recipe, weights_hash

Sharing = Literal["independent", "shared"]


def ensemble(
    members: int = 5,
    *,
    init: Sharing = "independent",
    order: Sharing = "independent",
    capacity: float = 1.0,
    each: Fitting = deterministic,
) -> Fitting:
    """M networks, each trained on all labelled items; they are trained in turn.

    Args:
        members: M.
        init: Whether members begin with other weights or the same.
        order: Whether they see the items in another order (with other augmentation and dropout) or the same. With
            both shared, all members are one function.
        capacity: The share of its units that each hidden layer keeps, 1/√M for about the parameters of one
            network. Below 1 the learner's factory of networks must take `width=`.
        each: The posterior that a member is: `mc_dropout` for an ensemble of dropout networks.

    Returns:
        A posterior function for `Supervised`. An ensemble of one is what `each` fits alone with the same seed, and a
        larger one begins with the members of a smaller one.

    Raises:
        InvalidArgument: There is no member, or a value is out of its domain.
    """
    if members < 1:
        raise InvalidArgument(f"an ensemble has at least one member, not {members}")
    if not {init, order} <= {"independent", "shared"}:
        raise InvalidArgument(f"init and order are independent or shared, not {init!r} and {order!r}")
    if not 0 < capacity <= 1:
        raise InvalidArgument(f"capacity is {capacity}; it must be above 0 and at most 1")
    return _Ensembles(members, init, order, capacity, each)


@dataclass(frozen=True)
class _Ensembles:
    members: int
    init: Sharing
    order: Sharing
    capacity: float
    each: Fitting

    @property
    def options(self) -> Mapping[str, Any]:
        """What networks are built with."""
        own: Mapping[str, Any] = getattr(self.each, "options", {})
        return {**own, **({"width": self.capacity} if self.capacity < 1 else {})}

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        begun: set[str] = set()
        fitted = [
            self.each(_Member(train, number, self, begun), labelled, seed) for number in range(self.members)
        ]
        return posteriors.Ensemble(fitted)


class _Member:
    """How one member is trained: its own seeds where they are not shared; see `Train`."""

    def __init__(self, train: Train, number: int, plan: _Ensembles, begun: set[str]) -> None:
        self.train = train
        self.number = number
        self.plan = plan
        self.begun = begun

    def _seed(self, seed: int) -> int:
        return member_seed(seed, self.number, self.plan.members)

    @property
    def recipe(self) -> Recipe:
        return self.train.recipe

    def data(self) -> tuple[Batch, Tensor, Tensor]:
        return self.train.data()

    def build(self, seed: int, **options: Any) -> nn.Module:
        shared = self.plan.init == "shared"
        width = {"width": self.plan.capacity} if self.plan.capacity < 1 else {}
        network = self.train.build(seed if shared else self._seed(seed), **width, **options)
        initial = weights_hash(network)
        if initial in self.begun and not shared:
            raise InvalidArgument(
                "the members of the ensemble begin with the same weights; give the learner a factory that draws them, "
                'or say init="shared"'
            )
        self.begun.add(initial)
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
        return self.train(
            seed if self.plan.order == "shared" else self._seed(seed),
            network=self.build(seed) if network is None else network,
            penalty=penalty,
            after_epoch=after_epoch,
            recipe=recipe,
        )
