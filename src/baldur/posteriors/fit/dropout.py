"""Networks without dropout, trained and sampled with some."""

from baldur.core.trees import take
from baldur.posteriors.deterministic import Deterministic
from baldur.posteriors.dropout.insertion import insert_dropout
from baldur.posteriors.dropout.posterior import MCDropout
from baldur.protocols import Labelled
from baldur.training.contract import Train, TrainingRequest
from baldur.training.stepwise import Steps, Stepwise


@Stepwise
def inserted_dropout(
    train: Train, labelled: Labelled, seed: int, *, rate: float = 0.5, where: str = "last"
) -> Steps[MCDropout]:
    """One network with dropout inserted, trained with it, whose dropout is the posterior.

    (Gal & Ghahramani, ICML 2016.)

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        rate: The probability of dropping, in training and in sampling.
        where: In front of the "last" layer, or behind "every" one but the last; see `posteriors.insert_dropout`.

    Returns:
        An `MCDropout` with that rate.

    Raises:
        InvalidArgument: The rate is not a probability.
        NoStochasticSite: There is no place for it.
        UnsupportedNetwork: The layers do not run in the order in which they are registered.
    """
    network = insert_dropout(train.build(seed), rate, where)
    MCDropout(network).plan(take(train.data()[0], slice(0, 2)))  # refused now, not after the training
    network = yield TrainingRequest(seed, network)
    return MCDropout(network, likelihood=train.likelihood)


@Stepwise
def mc_dropout(train: Train, labelled: Labelled, seed: int) -> Steps[MCDropout]:
    """One network, whose dropout is the posterior.

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
    """One network, taken at its word.

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.

    Returns:
        A `Deterministic`.
    """
    network = yield TrainingRequest(seed, train.build(seed))
    return Deterministic(network, likelihood=train.likelihood)
