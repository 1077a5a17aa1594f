"""Networks without dropout, trained and sampled with some."""

from baldur._modules import take
from baldur.learners.train import Train
from baldur.posteriors._insertion import insert_dropout
from baldur.posteriors.mc_dropout import MCDropout
from baldur.protocols import Labelled


def inserted_dropout(
    train: Train, labelled: Labelled, seed: int, *, rate: float = 0.5, where: str = "last"
) -> MCDropout:
    """One network with dropout inserted, trained with it, whose dropout is the posterior.

    (Gal & Ghahramani, ICML 2016.)

    Args:
        train: Trains a network.
        labelled: What it is trained on.
        seed: Of the training.
        rate: The probability of dropping, in training and in sampling.
        where: In front of the "last" layer, or behind "every" one but the last; see `posteriors.insert_dropout`.

    Returns:
        An `MCDropout` with that rate.

    Raises:
        InvalidArgument: The rate is no probability.
        NoStochasticSite: There is no place for it.
        UnsupportedNetwork: The layers do not run in the order in which they are registered.
    """
    network = insert_dropout(train.build(seed), rate, where)
    MCDropout(network).plan(take(train.data()[0], slice(0, 2)))  # refused now, not after the training
    return MCDropout(train(seed, network=network), likelihood=train.likelihood)
