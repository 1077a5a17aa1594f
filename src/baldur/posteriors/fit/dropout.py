"""Posterior functions for MC-dropout, inserted dropout and a single network."""

from baldur.core.trees import take
from baldur.posteriors.deterministic import Deterministic
from baldur.posteriors.dropout.insertion import insert_dropout
from baldur.posteriors.dropout.posterior import MCDropout
from baldur.posteriors.ensemble import Ensemble
from baldur.protocols import Labelled, Posterior
from baldur.training.contract import Fitting, Train, TrainingRequest, WrappingFitting
from baldur.training.stepwise import Steps, Stepwise


@Stepwise
def inserted_dropout(
    train: Train, labelled: Labelled, seed: int, *, rate: float = 0.5, where: str = "last"
) -> Steps[MCDropout]:
    """MC-dropout for a network without dropout: dropout is inserted before the training.

    (Gal & Ghahramani, ICML 2016.)

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        rate: The probability of dropping, in training and in sampling.
        where: "last", before the last layer; or "every", after each layer but the last. See
            `posteriors.insert_dropout`.

    Returns:
        An `MCDropout` with that rate.

    Raises:
        InvalidArgument: The rate is not a probability.
        NoStochasticSite: The network has no place for dropout.
        UnsupportedNetwork: The layers do not run in the order in which they are registered.
    """
    network = insert_dropout(train.build(seed), rate, where)
    MCDropout(network).plan(take(train.data()[0], slice(0, 2)))  # refused now, not after the training
    network = yield TrainingRequest(seed, network)
    return MCDropout(network, likelihood=train.likelihood)


@Stepwise
def mc_dropout(train: Train, labelled: Labelled, seed: int) -> Steps[MCDropout]:
    """MC-dropout with the dropout layers of the network.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.

    Returns:
        An `MCDropout`.
    """
    network = yield TrainingRequest(seed, train.build(seed))
    return MCDropout(network, likelihood=train.likelihood)


@Stepwise
def deterministic(train: Train, labelled: Labelled, seed: int) -> Steps[Deterministic]:
    """A single network without uncertainty about its weights.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.

    Returns:
        A `Deterministic`.
    """
    network = yield TrainingRequest(seed, train.build(seed))
    return Deterministic(network, likelihood=train.likelihood)


class OneMaskASequence(WrappingFitting):
    """A posterior function whose dropout between recurrent layers is sampled as by Baldur 0.1, for its runs.

    Args:
        inner: The posterior function.
    """

    def __init__(self, inner: Fitting) -> None:
        self.inner = inner

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        return _as_before(self.inner(train, labelled, seed))


def _as_before(posterior: Posterior) -> Posterior:
    if isinstance(posterior, Ensemble):
        return Ensemble([_as_before(member) for member in posterior.members])
    return posterior.with_one_mask_a_sequence() if isinstance(posterior, MCDropout) else posterior
