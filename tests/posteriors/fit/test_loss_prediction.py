"""The module that learns which items the network gets wrong."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from baldur import data, networks, posteriors, strategies
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.supervised import Supervised
from baldur.posteriors.fit import ensembles
from baldur.posteriors.fit.dropout import deterministic, mc_dropout
from baldur.posteriors.fit.loss_prediction import Watched, channels_of, learning_loss, ranking
from baldur.posteriors.fit.variational import bayes_by_backprop
from baldur.posteriors.learning_loss import KIND, LossModule, load
from baldur.protocols import Labelled, View
from baldur.score.scorer import PoolScorer
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, weights_hash

Y = np.arange(60) % 3
X = (np.eye(3, 5)[Y] + 0.3 * np.random.default_rng(0).standard_normal((60, 5))).astype(np.float32)
POOL = data.from_arrays(X)
LABELLED = Labelled(
    View(POOL, np.arange(25)), Y[:25], np.zeros(25, np.int64), np.ones(25, np.float32), ("oracle",) * 25
)
UNLABELLED = View(POOL, np.arange(25, 60))


@pytest.fixture(autouse=True)
def _known(monkeypatch):
    monkeypatch.setitem(posteriors._LOADERS, KIND, load)


factory = partial(networks.mlp, (5,), 3)


def learner(epochs=4, network=factory, posterior=learning_loss, **options):
    recipe = Recipe(epochs=epochs, epoch_size=1, batch_size=8, learning_rate=0.02)
    made = partial(posterior, **({"width": 6} | options)) if posterior is learning_loss else posterior
    return Supervised(network, classes=3, posterior=made, recipe=recipe, interval=0.0)


def fitted(*args, **kwargs):
    return learner(*args, **kwargs).fit(LABELLED, UNLABELLED, seed=0, round=0)


def test_the_worked_example():
    """Losses (2, .5, 1, 1.2), predicted (1, .8, .2, .9), pairs (1, 4) and (2, 3): .9 and 1.6, together 1.25."""
    order = torch.tensor([0, 3, 1, 2])
    losses, predicted = torch.tensor([2, 0.5, 1, 1.2])[order], torch.tensor([1, 0.8, 0.2, 0.9])[order]
    assert float(ranking(predicted[:2], losses[:2])) == pytest.approx(0.9)
    assert float(ranking(predicted[2:], losses[2:])) == pytest.approx(1.6)
    assert float(ranking(predicted, losses)) == pytest.approx(1.25)


VALUES = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=9)


@given(VALUES, st.floats(-5, 5), st.integers(0, 2**30))
def test_the_ranking_loss_ignores_a_shift_and_is_that_of_the_pairs(losses, shift, seed):
    true = torch.tensor(losses, dtype=torch.float64)
    predicted = torch.randn(len(true), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    pairs = [(i, i + 1) for i in range(0, len(true) - 1, 2)]
    signs = [np.sign(losses[i] - losses[j]) for i, j in pairs]
    gaps = [float(predicted[i] - predicted[j]) for i, j in pairs]
    expected = [abs(sign) * max(0.0, 1 - sign * gap) for sign, gap in zip(signs, gaps, strict=True)]
    assert float(ranking(predicted, true)) == pytest.approx(np.mean(expected))
    assert float(ranking(predicted + shift, true)) == pytest.approx(np.mean(expected))


def test_pairs_in_order_by_the_margin_cost_nothing():
    losses = torch.tensor([2.0, 1, 0, 3])
    assert float(ranking(torch.tensor([5.0, 4, -1, 0]), losses)) == 0
    assert float(ranking(torch.tensor([5.0, 4.1, -1, 0]), losses)) == pytest.approx(0.05)
    assert float(ranking(torch.ones(1), torch.ones(1))) == 0


def test_after_the_stop_the_network_gets_no_gradient():
    with torch.random.fork_rng():
        torch.manual_seed(0)  # some weights would leave no unit of the module active
        network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
        watched = Watched(network, LossModule([4], 3), ["1"]).train()
    losses = torch.arange(6.0)
    for constant in (False, True):
        watched.zero_grad()
        watched(torch.from_numpy(X[:6]))
        torch.autograd.backward(ranking(watched.predict(constant=constant), losses))
        assert float(watched.module.layers[0].weight.grad.abs().sum()) > 0
        assert (network[0].weight.grad is None) == constant


def test_a_module_that_never_shapes_the_network_leaves_it_as_it_is_bit_for_bit():
    plain = weights_hash(fitted(posterior=deterministic).network)
    assert weights_hash(fitted(stop=0.0).network) == plain
    assert weights_hash(fitted(weight=0.0).network) == plain
    assert weights_hash(fitted(stop=0.5).network) != plain


def test_the_target_losses_are_constants():
    """Else the network would be trained to have losses that are easy to order."""
    seen = []

    def look(train, labelled, seed):
        def penalty(network, step):
            seen.append((network, step.losses.requires_grad))
            return torch.zeros(())

        return posteriors.Deterministic(train(seed, penalty=penalty))

    plain = weights_hash(fitted(posterior=deterministic).network)
    made = fitted(each=look, stop=0.0)
    assert weights_hash(made.network) == plain
    assert all(isinstance(network, nn.Sequential) and graph for network, graph in seen)


@pytest.mark.parametrize("each", [deterministic, mc_dropout, bayes_by_backprop])
def test_it_is_a_learner(each):
    verify_learner(partial(learner, each=each), LABELLED, UNLABELLED)


def test_layers_go_by_their_names_in_the_plain_network():
    assert fitted(each=bayes_by_backprop).layers == ("5",)
    assert fitted(each=bayes_by_backprop, layers=["1", "5"]).layers == ("1", "5")


def test_a_second_training_of_the_network_goes_on_with_its_module():
    states = []

    def twice(train, labelled, seed):
        network = train(seed)
        again = train(seed + 1, network=network, after_epoch=Watcher())
        assert again is network
        return posteriors.Deterministic(again)

    class Watcher:
        def __call__(self, network, epoch):
            states.append(network)

        def state(self):
            return {}

        def load(self, state):
            return None

    verify_learner(partial(learner, each=twice), LABELLED, UNLABELLED)
    assert all(isinstance(network, nn.Sequential) for network in states)


def test_the_strategy_picks_the_items_whose_loss_it_predicts():
    """Items of the two classes that differ by noise alone are those that the network gets wrong."""
    rng = np.random.default_rng(1)
    y = np.arange(600) % 3
    centres = np.array([[3.0, 0], [-3, 0], [-3, 0]])
    x = (centres[y] + 0.5 * rng.standard_normal((600, 2))).astype(np.float32)
    pool = data.from_arrays(x)
    labelled = Labelled(
        View(pool, np.arange(200)),
        y[:200],
        np.zeros(200, np.int64),
        np.ones(200, np.float32),
        ("oracle",) * 200,
    )
    rest = View(pool, np.arange(200, 600))
    made = Supervised(
        partial(networks.mlp, (2,), 3),
        classes=3,
        posterior=partial(learning_loss, width=16),
        recipe=Recipe(epochs=20, epoch_size=1, batch_size=32, learning_rate=0.01),
    )
    posterior = made.fit(labelled, rest, seed=0, round=0)
    choice = strategies.learning_loss(
        posterior, labelled, rest, 60, np.random.default_rng(0), PoolScorer(None)
    )
    chosen = [int(i) for i in choice.ids]
    assert np.mean(y[chosen] > 0) > 0.95


def test_the_layers_are_the_last_of_each_width():
    digits = networks.batchbald2019((1, 28, 28), 10)
    assert channels_of(digits, torch.randn(2, 1, 28, 28)) == {"3": 32, "7": 64, "11": 128}
    residual = channels_of(networks.resnet18((3, 16, 16), 10), torch.randn(2, 3, 16, 16))
    assert residual == {"stage1": 64, "stage2": 128, "stage3": 256, "pool": 512}
    assert channels_of(nn.Sequential(nn.Linear(5, 3)), torch.randn(2, 5)) == {}
    assert fitted().layers == ("5",)
    assert fitted(layers=["1", "5"]).layers == ("1", "5")


def test_what_cannot_be_watched_is_refused():
    fits = []
    with pytest.raises(Unsupported, match=r"ensemble\(each=learning_loss\)"):
        learner(each=ensembles.ensemble(2)).but(record=fits.append).fit(LABELLED, UNLABELLED, seed=0, round=0)
    with pytest.raises(Unsupported, match="draws=1"):
        fitted(each=partial(bayes_by_backprop, draws=2))
    assert not fits
    with pytest.raises(Unsupported, match="no module 'other'"):
        fitted(layers=["other"])
    with pytest.raises(Unsupported, match="none of the network's modules"):
        fitted(network=partial(nn.Linear, 5, 3))
    with pytest.raises(Unsupported, match="trained no network"):
        fitted(each=lambda train, labelled, seed: posteriors.Deterministic(train.build(seed)))


def test_an_ensemble_may_be_made_of_them():
    members = fitted(posterior=ensembles.ensemble(2, each=partial(learning_loss, width=6))).members
    assert [m.draw(None).names[-1] for m in members] == ["loss", "loss"]


@pytest.mark.parametrize(
    "values", [{"width": 0}, {"margin": -1.0}, {"weight": -1.0}, {"stop": 2.0}, {"layers": []}]
)
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises(InvalidArgument):
        fitted(**values)
