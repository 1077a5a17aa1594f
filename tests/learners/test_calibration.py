"""A learner that calibrates on held-out items."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from baldur import data, evaluate, networks
from baldur.errors import EmptyLabelledSet, InvalidArgument, Unsupported
from baldur.learners import Supervised
from baldur.learners.calibration import calibrated
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.posteriors.calibrated import Calibrated
from baldur.posteriors.fit import deterministic
from baldur.protocols import Labelled, View, WrappingLearner
from baldur.testing.learner import verify_learner
from baldur.training import Recipe

N = 60
RNG = np.random.default_rng(0)
Y = np.arange(400) % 3
X = (np.eye(3, 5)[Y] + 0.8 * RNG.standard_normal((400, 5))).astype(np.float32)
POOL = data.from_arrays(X)


def labelled(labels=Y, n=N, sources=None):
    ones = np.ones(n, np.float32)
    sources = ("oracle",) * n if sources is None else sources
    return Labelled(View(POOL, np.arange(n)), labels[:n], np.zeros(n, np.int64), ones, sources)


def supervised(epochs=3, **options):
    recipe = Recipe(epochs=epochs, epoch_size=1, batch_size=16, learning_rate=0.02)
    return Supervised(
        partial(networks.mlp, (5,), options.get("classes", 3)),
        **{"classes": 3, "recipe": recipe, "interval": 0.0} | options,
    )


class Spy(WrappingLearner):
    """Notes what it is given to learn from."""

    def __init__(self, learner):
        self.learner, self.seen = learner, []

    def fit(self, labelled, unlabelled, **options):
        self.seen.append((labelled, options.get("previous")))
        return self.learner.fit(labelled, unlabelled, **options)

    def load(self, folder):
        return self.learner.load(folder)


class Silent:
    """Does not say what it predicts, and is never fitted."""

    def fit(self, labelled, unlabelled, **options):
        raise AssertionError("nothing is to be trained")

    def load(self, folder):
        raise AssertionError("nothing was saved")


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_the_contract_holds(method):
    verify_learner(lambda: calibrated(supervised(), method=method), labelled(), View(POOL, np.arange(N, 100)))


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
def test_it_mends_a_model_that_is_too_sure(method):
    learner = supervised(epochs=150, posterior=deterministic)
    posterior = calibrated(learner, method=method, share=0.4).fit(labelled(n=150), POOL, seed=0, round=0)
    x, y = torch.from_numpy(X[200:]), Y[200:]
    plain, mended = (
        evaluate.nll(evaluate.predictive(p.draw()(x)).numpy(), y) for p in (posterior.posterior, posterior)
    )
    assert mended < plain - 0.1


def test_the_temperature_is_the_best_one_on_what_is_held_out():
    spy = Spy(supervised(epochs=60, posterior=deterministic))
    posterior = calibrated(spy, items=15).fit(labelled(), POOL, seed=0, round=0)
    trained = set(spy.seen[0][0].pool.ids)
    held = [i for i in range(N) if str(POOL.ids[i]) not in trained]
    assert len(held) == 15
    log_probs = posterior.posterior.draw()(torch.from_numpy(X[held])).double().numpy()
    expected = evaluate.temperature(log_probs, Y[held], strength=1)
    assert posterior.parameters["temperature"] == pytest.approx(expected, rel=1e-4)


def test_a_dozen_items_that_are_all_right_do_not_decide_alone():
    """Their likelihood is best at τ = 0, so the search ended at its bound e⁻³."""
    learner = calibrated(supervised(epochs=60, posterior=deterministic), items=12)
    apart = data.from_arrays(3 * np.eye(3, 5, dtype=np.float32)[Y])
    given = replace(labelled(), pool=View(apart, np.arange(N)))
    found = learner.fit(given, apart, seed=0, round=0)
    assert 0.3 < found.parameters["temperature"] < 1.01
    with pytest.raises(InvalidArgument, match="strength must be a number"):
        calibrated(supervised(), strength=-1)


def test_what_is_held_out_stays_so_and_self_made_labels_never_are():
    spy = Spy(supervised())
    learner = calibrated(spy)
    sources = ("oracle",) * N + ("pseudo",) * N
    first = learner.fit(labelled(), POOL, seed=0, round=0)
    learner.fit(labelled(n=2 * N, sources=sources), POOL, seed=1, round=1, previous=first)
    (one, _), (two, previous) = spy.seen
    assert len(one) == 48
    assert set(two.pool.ids) == set(one.pool.ids) | set(View(POOL, np.arange(N, 2 * N)).ids)
    assert two.sources.count("pseudo") == N
    assert previous is first.posterior


def test_groups_are_not_divided():
    class Grouped(View):
        @property
        def groups(self):
            return [f"g{p // 3}" for p in self.positions]

    spy = Spy(supervised())
    given = labelled(np.arange(400) // 3 % 3)
    given = Labelled(
        Grouped(POOL, np.arange(N)),
        given.labels,
        given.rounds,
        given.weights,
        ("oracle", "pseudo", "oracle") * 20,
    )
    calibrated(spy, items=6).fit(given, POOL, seed=0, round=0)
    kept = np.array([int(i) for i in spy.seen[0][0].pool.ids])
    assert all(np.isin(kept // 3, g).sum() == 3 for g in np.unique(kept // 3))


def test_labels_are_tempered_and_numbers_refused():
    many = np.stack([Y == 0, Y > 0, X[:, 2] > 0], 1).astype(np.int64)
    posterior = calibrated(supervised(likelihood=BERNOULLI)).fit(labelled(many), POOL, seed=0, round=0)
    assert isinstance(posterior, Calibrated)
    assert posterior.draw(2).kind == "bernoulli"


@pytest.mark.parametrize(
    ("likelihood", "method"), [(BERNOULLI, "dirichlet"), (GAUSSIAN, "dirichlet"), (GAUSSIAN, "temperature")]
)
def test_what_cannot_be_calibrated_is_refused_before_training(likelihood, method):
    learner = supervised(likelihood=likelihood)
    for given in (learner, Spy(learner)):
        with pytest.raises(Unsupported, match="not"):
            calibrated(given, method=method)
    with pytest.raises(Unsupported, match="numbers"):  # it does not say what it learns
        calibrated(Spy(Silent())).fit(labelled(X[:, 0]), POOL, seed=0, round=0)


@pytest.mark.parametrize("method", ["temperature", "dirichlet"])
@pytest.mark.parametrize(("n", "items"), [(3, None), (N, 58)])
def test_where_too_little_is_labelled_nothing_is_corrected(method, n, items, tmp_path):
    spy = Spy(supervised(posterior=deterministic))
    learner = calibrated(spy, method=method, items=items)
    with pytest.warns(UserWarning, match="nothing is calibrated"):
        posterior = learner.fit(labelled(n=n), POOL, seed=0, round=0)
    assert len(spy.seen[0][0]) == n
    x = torch.from_numpy(X)
    torch.testing.assert_close(posterior.draw()(x), posterior.posterior.draw()(x))
    posterior.save(tmp_path)
    assert torch.equal(learner.load(tmp_path).draw()(x), posterior.draw()(x))


def test_values_out_of_their_domain_are_refused():
    for options in ({"share": 0.0}, {"share": 1.0}, {"items": 0}):
        with pytest.raises(InvalidArgument, match="share must be between"):
            calibrated(supervised(), **options)
    with pytest.raises(EmptyLabelledSet):
        calibrated(supervised()).fit(labelled(n=0), POOL, seed=0, round=0)
