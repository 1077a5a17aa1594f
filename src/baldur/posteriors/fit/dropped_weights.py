"""The posterior function for DropConnect."""

from baldur.posteriors.dropconnect import LAYERS, DropConnect, Layers, weights_dropped
from baldur.protocols import Labelled
from baldur.training.contract import Train, TrainingRequest
from baldur.training.stepwise import Steps, Stepwise


@Stepwise
def dropconnect(
    train: Train, labelled: Labelled, seed: int, *, p: float = 0.3, layers: Layers = LAYERS
) -> Steps[DropConnect]:
    """DropConnect: one network, trained with a new mask on its weights in each step, and sampled with masks.

    W ⊙ M / (1 - p), M ~ Bernoulli(1 - p), shared by the items of a step. The stored weights are W, and early
    stopping also uses W. (Wan et al., ICML 2013; Mobiny et al., Scientific Reports 11, 2021.)

    Args:
        train: Trains networks.
        labelled: The labelled items.
        seed: Seed of the training.
        p: The probability of dropping a weight, in training and in sampling.
        layers: The layers with masked weights, as types or paths.

    Returns:
        A `DropConnect`.

    Raises:
        InvalidArgument: p is not a probability, or there is no layer of that path.
        NoStochasticSite: The network has no such layers.
        UnsupportedNetwork: A layer computes its weights from others.
    """
    network = train.build(seed)
    with weights_dropped(network, p, layers):
        yield TrainingRequest(seed, network)
    return DropConnect(network, p, layers, likelihood=train.likelihood)
