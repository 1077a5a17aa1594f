"""One batch without a run."""

import numpy as np
import pytest
import torch
from torch import nn

import baldur
from baldur import acquire, posteriors, score, select
from baldur.errors import InvalidArgument, InvalidSettings


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 3))


X = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))
Y = np.arange(12) % 3


def test_the_batch_is_that_of_the_functions_below(network):
    posterior = posteriors.MCDropout(network)
    choice = baldur.choose(posterior, X, k=5, strategy="bald", seed=3)
    scores = score.predict(posterior.draw(20, seed=3), X, reduce=acquire.bald)
    assert choice.ids == tuple(map(str, select.top(scores, 5).indices))


@pytest.mark.parametrize("strategy", ["badge", "core_set", "power_bald(beta=2)", "typiclust", "batchbald"])
@pytest.mark.parametrize("known", [None, (X[:12], Y)])
def test_any_strategy_with_and_without_labels(network, strategy, known):
    posterior = posteriors.MCDropout(network)
    first, again = (
        baldur.choose(posterior, X[12:], k=4, strategy=strategy, labelled=known, seed=1) for _ in range(2)
    )
    assert first.ids == again.ids
    assert len(set(first.ids)) == 4


def test_core_set_looks_at_what_is_labelled(network):
    posterior = posteriors.MCDropout(network)
    told = {"k": 4, "strategy": "core_set"}
    near = (X[12:40], Y[:1].repeat(28))
    without, with_ = (baldur.choose(posterior, X[12:], labelled=known, **told) for known in (None, near))
    assert without.ids != with_.ids
    assert all(int(i) >= 28 for i in with_.ids[:3])


def test_a_small_pool_is_chosen_whole(network):
    assert len(baldur.choose(posteriors.MCDropout(network), X[:3], k=10).ids) == 3


def test_mistakes_are_named(network):
    with pytest.raises(InvalidArgument, match=r"posteriors\.MCDropout\(network\)"):
        baldur.choose(network, X)
    with pytest.raises(InvalidSettings, match="did you mean badge"):
        baldur.choose(posteriors.MCDropout(network), X, strategy="bagde")
    with pytest.raises(InvalidArgument, match="at least 1, not 0"):
        baldur.choose(posteriors.MCDropout(network), X, k=0)
    with pytest.raises(InvalidArgument, match="one label for each"):
        baldur.choose(posteriors.MCDropout(network), X, labelled=(X[:3], [0, 1]))
