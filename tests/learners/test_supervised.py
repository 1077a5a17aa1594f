"""The supervised learner."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from baldur import data, networks
from baldur.errors import (
    EmptyLabelledSet,
    InvalidArgument,
    InvalidLabel,
    OneClassOnly,
    Unsupported,
    UnsupportedNetwork,
)
from baldur.learners import Supervised
from baldur.learners.supervised import gather
from baldur.posteriors import load
from baldur.posteriors.fit import bayes_by_backprop, deterministic, ensemble, mc_dropout, swag
from baldur.protocols import Labelled, Posterior, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, initialise, weights_hash

RNG = np.random.default_rng(0)
Y = np.arange(60) % 3
X = (np.eye(3, 5)[Y] + 0.2 * RNG.standard_normal((60, 5))).astype(np.float32)
POOL = data.from_arrays(X, ids=[f"item-{i}" for i in range(60)])
UNLABELLED = View(POOL, np.arange(30, 60))
SHORT = Recipe(epochs=4, epoch_size=1)
factory = partial(networks.mlp, (5,), 3)


def labelled(n=30, labels=Y, weights=None, groups=None):
    pool = View(data.from_arrays(X, groups=groups) if groups else POOL, np.arange(n))
    weights = np.ones(n, np.float32) if weights is None else weights
    return Labelled(pool, labels[:n].astype(np.int64), np.zeros(n, np.int64), weights, ("oracle",) * n)


def learner(network=factory, **kwargs):
    return Supervised(network, classes=3, **{"recipe": SHORT, "interval": 0.0} | kwargs)


def fitted(given=None, seed=0, previous=None, **kwargs):
    fits = []
    made = learner(record=fits.append, **kwargs)
    posterior = made.fit(
        labelled() if given is None else given, UNLABELLED, seed=seed, round=2, previous=previous
    )
    return posterior, fits


@pytest.mark.parametrize(
    "kwargs",
    [
        {},
        {"posterior": deterministic},
        {"validation": 6},
        {"recipe": Recipe(epochs=4, epoch_size=1, optimizer="sgd")},
    ],
    ids=["mc-dropout", "deterministic", "validation", "sgd"],
)
def test_the_supervised_learner_is_a_learner(kwargs):
    verify_learner(partial(learner, **kwargs), labelled(), UNLABELLED)


def test_an_instance_is_reset_to_its_weights_and_left_alone():
    network = factory()
    before = weights_hash(network)
    verify_learner(partial(learner, network), labelled(), UNLABELLED)
    assert weights_hash(network) == before
    assert network.training
    initial = {fit.initial_hash for seed in (0, 1) for fit in fitted(network=network, seed=seed)[1]}
    assert initial == {before}


def test_every_seed_begins_with_other_weights():
    assert fitted(seed=0)[1][0].initial_hash != fitted(seed=1)[1][0].initial_hash


def test_what_is_recorded_of_a_fit():
    posterior, (fit,) = fitted(validation=7)
    assert (fit.round, fit.seed, fit.training, fit.validation, fit.free) == (2, 0, 23, 7, False)
    assert fit.weights_hash == weights_hash(posterior.network) != fit.initial_hash
    assert fit.result.epochs == 4
    assert fit.result.accuracy is not None


def test_a_free_validation_set_costs_no_labels():
    _, (fit,) = fitted(validation_set=labelled(12))
    assert (fit.training, fit.validation, fit.free) == (30, 12, True)


def test_groups_are_not_divided_by_the_validation():
    _, (fit,) = fitted(labelled(groups=[str(i // 5) for i in range(60)]), validation=8)
    assert (fit.training, fit.validation) == (25, 5)


def test_the_weights_of_items_count():
    weights = np.where(np.arange(30) < 15, 1, 3).astype(np.float32)
    assert fitted(labelled(weights=weights))[1][0].weights_hash != fitted()[1][0].weights_hash
    assert (
        fitted(labelled(weights=2 * np.ones(30, np.float32)))[1][0].weights_hash
        == fitted()[1][0].weights_hash
    )


def test_a_warm_start_begins_where_the_last_round_ended():
    previous, (first,) = fitted()
    assert fitted(previous=previous, warm_start=True)[1][0].initial_hash == first.weights_hash
    assert fitted(previous=previous)[1][0].initial_hash == first.initial_hash
    assert fitted(warm_start=True)[1][0].initial_hash == first.initial_hash
    with pytest.raises(Unsupported, match="over networks, not Committee"):
        fitted(previous=Committee(), warm_start=True)


class Committee(Posterior):
    def draw(self, T=None, seed=0):
        raise NotImplementedError

    def save(self, folder):
        raise NotImplementedError


def test_a_posterior_may_train_as_often_as_it_needs():
    trained = []

    def pair(train, given, seed):
        trained.extend(train(seed + i) for i in range(2))
        return deterministic(train, given, seed)

    _, fits = fitted(posterior=pair)
    assert len({weights_hash(network) for network in trained}) == 2
    assert [fit.seed for fit in fits] == [0, 1, 0]


def test_progress_tells_of_epochs():
    seen = []
    fitted(progress=lambda *args: seen.append(args))
    assert seen == [("training", i, 4) for i in (1, 2, 3, 4)]


def test_an_empty_labelled_set_is_refused():
    with pytest.raises(EmptyLabelledSet, match="no labelled items"):
        fitted(labelled(0))


def test_one_class_is_trained_on_with_a_warning():
    with pytest.warns(OneClassOnly, match="all 30 labels are of class 1"):
        fitted(labelled(labels=np.ones(60, np.int64)))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_that_is_no_class_is_refused(label):
    with pytest.raises(InvalidLabel, match="must be from 0 to 2"):
        fitted(labelled(labels=np.where(np.arange(60) == 5, label, Y)))


def test_a_network_of_other_classes_is_refused():
    with pytest.raises(UnsupportedNetwork, match="4 columns for 3 classes"):
        fitted(network=partial(networks.mlp, (5,), 4))


def test_arguments_that_contradict_each_other_are_refused():
    with pytest.raises(InvalidArgument, match="not both"):
        learner(validation=3, validation_set=labelled(3))
    with pytest.raises(InvalidArgument, match="at least 2"):
        Supervised(factory, classes=1)
    with pytest.raises(InvalidArgument, match="hold out at most 27"):
        fitted(validation=28)


def test_trees_are_gathered_in_order():
    pool = data.from_arrays((X, {"again": 2 * X}))
    x = gather(View(pool, np.arange(59, -1, -1)))
    assert torch.equal(x[0], torch.from_numpy(X[::-1].copy()))
    assert torch.equal(x[1]["again"], 2 * x[0])


class OfTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Sequential(nn.Dropout(0.1), nn.Linear(5, 3))

    def forward(self, a, b):
        return self.layer(a + b)


def test_a_network_of_two_inputs_is_fitted():
    pool = View(data.from_arrays((X, X)), np.arange(30))
    given = Labelled(pool, Y[:30], np.zeros(30, np.int64), np.ones(30, np.float32), ("oracle",) * 30)
    fits = []
    learner(OfTwo, record=fits.append).fit(given, pool, seed=0, round=0)
    assert fits[0].initial_hash != fits[0].weights_hash
    assert isinstance(initialise(OfTwo, 0), OfTwo)


def normalised():
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.mark.filterwarnings("ignore::baldur.errors.OneClassOnly")
@pytest.mark.parametrize(
    "fitting",
    [mc_dropout, swag, bayes_by_backprop, ensemble(2, together="stacked")],
    ids=["mc_dropout", "swag", "bayes_by_backprop", "ensemble"],
)
@pytest.mark.parametrize(
    ("n", "epoch", "batch"), [(30, 1, 1), (2, 1, 1), (7, 1, 3), (1, 4, 1), (1, 1, 8), (1, 1, 1)]
)
def test_batch_normalisation_gets_two_items_or_more(fitting, n, epoch, batch):
    recipe = Recipe(epochs=2, epoch_size=epoch, batch_size=batch, device="cpu")
    if fitting is swag and n == 1:
        with pytest.raises(InvalidArgument, match="SWAG needs two inputs or more"):
            fitted(labelled(n), network=normalised, recipe=recipe, posterior=fitting)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the members are trained in turn")
        posterior, fits = fitted(labelled(n), network=normalised, recipe=recipe, posterior=fitting)
    assert posterior.draw(2)(torch.from_numpy(X)).isfinite().all()
    assert all(np.isfinite(fit.result.loss) for fit in fits)


def test_steps_stay_as_they_are_where_one_item_is_enough():
    seen = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.drop, self.out = nn.BatchNorm2d(1), nn.Dropout(0.5), nn.Linear(5, 3)

        def forward(self, x):
            seen.append(len(x))
            return self.out(self.drop(self.norm(x[:, None, None]).flatten(1)))

    fitted(labelled(3), network=Watching, recipe=Recipe(epochs=1, epoch_size=1, batch_size=1, device="cpu"))
    assert seen[-2:] == [1, 2], "as ever, only a last item that would be alone is merged"


@pytest.mark.parametrize("given", ["factory", "network"])
def test_lazy_layers_get_their_shapes_from_the_data(given, tmp_path):
    def lazy():
        return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Dropout(0.5), nn.LazyLinear(3))

    made = learner(lazy if given == "factory" else lazy())
    first, again = (made.fit(labelled(), UNLABELLED, seed=4, round=0) for _ in range(2))
    assert torch.equal(first.draw(3)(torch.from_numpy(X)), again.draw(3)(torch.from_numpy(X)))
    first.save(tmp_path)
    assert torch.equal(made.load(tmp_path).draw(3)(torch.from_numpy(X)), first.draw(3)(torch.from_numpy(X)))


def test_a_network_in_half_precision_is_trained_and_kept_in_float32(tmp_path):
    made = learner(lambda: factory().bfloat16())
    posterior = made.fit(labelled(), UNLABELLED, seed=4, round=0)
    posterior.save(tmp_path)
    expected = posterior.draw(3)(torch.from_numpy(X))
    for network in (made.load(tmp_path), load(tmp_path, factory().bfloat16())):
        assert torch.equal(network.draw(3)(torch.from_numpy(X)), expected)
