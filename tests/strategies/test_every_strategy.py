"""Every strategy by its name: the contract, and predictions that it does not read."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from tests.strategies.pools import OF_NUMBERS, setting
from tests.tiny_runs import WithLoss, blobs
from torch import nn

from baldur.data import from_arrays
from baldur.errors import Unsupported
from baldur.likelihoods import GAUSSIAN
from baldur.posteriors import MCDropout
from baldur.runs.names import STRATEGIES
from baldur.testing import verify_strategy


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_contract_holds(name):
    posterior, labelled, unlabelled, scorer = setting(20)
    strategy, told = STRATEGIES[name], posterior
    if name == "discriminative":  # one query, and sides that a classifier soon tells apart
        strategy, labelled = (
            partial(strategy, queries=1),
            replace(labelled, pool=from_arrays(blobs(8)[0] + 9)),
        )
    if name == "learning_loss":
        told = WithLoss(posterior)
    rest = labelled, unlabelled, scorer
    if name in OF_NUMBERS:
        with pytest.raises(
            Unsupported, match="reads gaussian predictions, and the posterior's are categorical"
        ):
            verify_strategy(strategy, told, *rest)
        told = MCDropout(
            nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 2)), likelihood=GAUSSIAN
        )
    verify_strategy(strategy, told, *rest)


@pytest.mark.parametrize(
    "name",
    [
        "badge",
        "bait",
        "batch_epig",
        "batchbald",
        "ceal",
        "cluster_margin",
        "emoc",
        "epig",
        "expected_gradient_length",
        "power_epig",
        "prob_cover",
        "rare_class",
        "two_stage",
    ],
)
def test_numbers_are_not_read_as_classes(name):
    _, *rest = setting()
    told = MCDropout(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), likelihood=GAUSSIAN)
    with pytest.raises(Unsupported, match="for numbers there are variance"):
        STRATEGIES[name](told, *rest[:2], 3, np.random.default_rng(0), rest[2])
