"""Networks trained with masked weights, and with dropout inserted."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import data
from baldur.errors import InvalidArgument, NoStochasticSite, UnsupportedNetwork
from baldur.learners import Supervised
from baldur.posteriors.fit.dropout import inserted_dropout
from baldur.posteriors.fit.dropped_weights import dropconnect
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, weights_hash

Y = np.arange(50) % 3
X = (np.eye(3, 5)[Y] + 0.2 * np.random.default_rng(0).standard_normal((50, 5))).astype(np.float32)
POOL = data.from_arrays(X)
LABELLED = Labelled(
    View(POOL, np.arange(24)), Y[:24], np.zeros(24, np.int64), np.ones(24, np.float32), ("oracle",) * 24
)
UNLABELLED = View(POOL, np.arange(24, 50))


def plain():
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 3))


class Backwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.out, self.a = nn.Linear(8, 3), nn.Linear(5, 8)

    def forward(self, x):
        return self.out(torch.relu(self.a(x)))


def learner(posterior, network=plain, **kwargs):
    recipe = Recipe(epochs=4, epoch_size=1, batch_size=8, learning_rate=0.02)
    return Supervised(network, classes=3, posterior=posterior, **{"recipe": recipe, "interval": 0.0} | kwargs)


def fitted(posterior, network=plain, **kwargs):
    fits = []
    made = learner(posterior, network, record=fits.append, **kwargs)
    return made.fit(LABELLED, UNLABELLED, seed=0, round=0), fits


POSTERIORS = {
    "dropconnect": partial(dropconnect, p=0.3),
    "dropconnect, last layer": partial(dropconnect, p=0.3, layers=("2",)),
    "inserted, last": inserted_dropout,
    "inserted, every": partial(inserted_dropout, rate=0.3, where="every"),
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_they_are_learners(name):
    verify_learner(partial(learner, POSTERIORS[name]), LABELLED, UNLABELLED)


def test_dropconnect_trains_with_masks_and_keeps_whole_weights():
    posterior, (fit,) = fitted(partial(dropconnect, p=0.3))
    assert weights_hash(posterior.network) == fit.weights_hash
    assert list(posterior.network.state_dict()) == list(plain().state_dict())
    with pytest.warns(UserWarning, match="p is 0"):
        whole, _ = fitted(partial(dropconnect, p=0))
    assert weights_hash(whole.network) != fit.weights_hash  # the masks made a difference
    long = Recipe(epochs=60, epoch_size=1, batch_size=8, learning_rate=0.02)
    trained, _ = fitted(partial(dropconnect, p=0.2), recipe=long)
    log_probs = trained.draw(20)(torch.from_numpy(X[24:])).exp().mean(1)
    assert float((log_probs.argmax(1) == torch.from_numpy(Y[24:])).float().mean()) > 0.9


def test_inserted_dropout_trains_with_it():
    posterior, (fit,) = fitted(partial(inserted_dropout, rate=0.3))
    assert posterior.inserted == (0.3, "last")
    assert weights_hash(posterior.network) == fit.weights_hash
    written = lambda: nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))  # noqa: E731
    from baldur.posteriors.fit import mc_dropout

    by_hand, _ = fitted(mc_dropout, written)
    x = torch.from_numpy(X[24:])
    assert torch.allclose(posterior.draw(5)(x), by_hand.draw(5)(x), atol=1e-6)


def test_a_warm_start_goes_on_from_plain_weights():
    made = learner(partial(inserted_dropout, rate=0.3), warm_start=True)
    first = made.fit(LABELLED, UNLABELLED, seed=0, round=0)
    second = made.fit(LABELLED, UNLABELLED, seed=0, round=1, previous=first)
    assert weights_hash(second.network) != weights_hash(first.network)


def test_what_cannot_be_is_refused_before_the_training():
    fits = []
    with pytest.raises(UnsupportedNetwork, match="last layer to run is 'out'"):
        learner(inserted_dropout, Backwards, record=fits.append).fit(LABELLED, UNLABELLED, seed=0, round=0)
    with pytest.raises(NoStochasticSite):
        learner(partial(dropconnect, p=0.5, layers=(nn.Conv2d,)), record=fits.append).fit(
            LABELLED, UNLABELLED, seed=0, round=0
        )
    with pytest.raises(InvalidArgument):
        learner(partial(dropconnect, p=-1), record=fits.append).fit(LABELLED, UNLABELLED, seed=0, round=0)
    assert not fits
