"""The networks that fits begin with."""

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from torch import nn

from baldur.errors import Unsupported
from baldur.learners.building import build, go_on_from, networks_of
from baldur.posteriors import Deterministic, Ensemble, MCDropout
from baldur.posteriors.estimators.posterior import Estimators


def wide(width=1.0):
    return nn.Sequential(nn.Linear(3, int(8 * width)), nn.Dropout(0.5), nn.Linear(int(8 * width), 2))


def test_a_factory_is_given_the_options_and_the_seed():
    half = build(wide, 1, {"width": 0.5})
    assert half[0].out_features == 4
    assert torch.equal(half[0].weight, build(wide, 1, {"width": 0.5})[0].weight)
    assert not torch.equal(half[0].weight, build(wide, 2, {"width": 0.5})[0].weight)
    with pytest.raises(Unsupported, match="must accept depth"):
        build(wide, 1, {"depth": 2})
    with pytest.raises(Unsupported, match="give the learner a factory"):
        build(wide(), 1, {"width": 0.5})


def test_the_networks_of_a_posterior_come_in_the_order_in_which_they_were_built():
    first, second, third = (Deterministic(wide()) for _ in range(3))
    nested = Ensemble([first, Ensemble([second, third])])
    assert networks_of(nested) == [first.network, second.network, third.network]
    assert networks_of(mc := MCDropout(wide())) == [mc.network]


def test_a_warm_start_needs_networks_of_the_same_kind():
    table = DummyClassifier().fit(np.eye(2), [0, 1])
    with pytest.raises(Unsupported, match="not Estimators"):
        networks_of(Estimators([table], 2))
    with pytest.raises(Unsupported, match="same network"):
        go_on_from(wide(), wide(0.5))
