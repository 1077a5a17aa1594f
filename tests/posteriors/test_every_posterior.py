"""Every posterior by its name: a round with each way of choosing, and what is refused of a saved one."""

import json
import pickle

import numpy as np
import pytest
import torch
from tests.tiny_runs import QUICK, blobs
from torch import nn

from baldur import data, posteriors, score
from baldur.errors import BaldurError, DamagedArtefact, OneClassOnly, TrainingDiverged
from baldur.learners import Supervised
from baldur.protocols import Labelled, View
from baldur.runs import run
from baldur.runs.names import POSTERIORS, fitting_named
from baldur.store import Store
from baldur.testing import verify_learner, verify_posterior
from baldur.training import Recipe

OPTIONS = {
    "swag": "swag(collections=3)",
    "multi_swag": "multi-swag(members=2, collections=3)",
    "dropconnect": "dropconnect(p=0.5)",
    "ensemble": "ensemble(members=2)",
}
NAMES = [OPTIONS.get(n, n) for n in POSTERIORS]
NAMES += ["ensemble(members=2, each='laplace')"]
SETTINGS = {**QUICK, "seeds": 1, "rounds": 1, "members": 2}

X, Y = blobs(40)
POOL = data.from_arrays(X)


def network():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def without_dropout():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def labelled(n=16, y=Y):
    return Labelled(
        View(POOL, np.arange(n)),
        y[:n].astype(np.int64),
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
        ("oracle",) * n,
    )


def supervised(name, **options):
    made = without_dropout if "inserted" in name else network
    quick = {"epochs": 3, "epoch_size": 64, "batch_size": 8, "learning_rate": 0.01, "device": "cpu"}
    recipe = Recipe(**{**quick, **options})
    return Supervised(made, classes=3, recipe=recipe, posterior=fitting_named(name, 2))


@pytest.mark.usefixtures("without_charts")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::baldur.errors.TieBreakWarning")  # one function never disagrees
def test_a_round_with_every_choice(name, tmp_path):
    chosen = ["bald", "batchbald", "core_set"]
    run.run(
        (torch.from_numpy(X), Y),
        tmp_path,
        posterior=name,
        network=lambda shape, classes: (without_dropout if "inserted" in name else network)(),
        strategies=chosen,
        **SETTINGS,
    )
    with Store.open(tmp_path) as store:
        told = {(m.strategy, m.labels): m.value for m in store.metrics("test") if m.metric == "nll"}
    assert set(told) == {(strategy, labels) for strategy in chosen for labels in (6, 10)}
    assert all(np.isfinite(value) for value in told.values())


@pytest.fixture(params=NAMES)
def saved(request, tmp_path):
    posterior = supervised(request.param).fit(labelled(), View(POOL, np.arange(16, 40)), seed=0, round=0)
    posterior.save(tmp_path)
    return tmp_path, without_dropout if "inserted" in request.param else network


def refused(folder, made, words=None):
    with pytest.raises(DamagedArtefact, match=words):
        posteriors.load(folder, made())


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was read",))


def test_what_is_saved_comes_back_or_is_refused(saved):
    saved, made = saved
    assert not list(saved.rglob("*.pkl")) + list(saved.rglob("*.pt"))
    posteriors.load(saved, made())
    with pytest.raises(DamagedArtefact):
        posteriors.load(saved, nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Dropout(0.3), nn.Linear(7, 3)))
    for file in sorted(saved.rglob("*")):
        if not file.is_file():
            continue
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        refused(saved, made)
        file.write_bytes(pickle.dumps(Bomb()))
        refused(saved, made)
        file.unlink()
        refused(saved, made)
        if file.name == "posterior.json":
            about = json.loads(whole)
            file.write_text(json.dumps({**about, "format": 99}))
            refused(saved, made, "format 99")
            file.write_text(json.dumps({**about, "kind": "oracle"}))
            refused(saved, made)
            file.write_text("[]")
            refused(saved, made)
        file.write_bytes(whole)
    posteriors.load(saved, made())


@pytest.mark.parametrize("name", NAMES)
def test_one_class_is_a_warning_and_few_labels_are_enough(name):
    rest = View(POOL, np.arange(16, 40))
    with pytest.warns(OneClassOnly):
        alone = supervised(name).fit(labelled(3, np.ones(40, int)), rest, seed=0, round=0)
    assert alone.draw(seed=0)(torch.from_numpy(X)).exp().mean(1).argmax(1).eq(1).float().mean() > 0.5
    everything = supervised(name).fit(labelled(40), View(POOL, np.arange(0)), seed=0, round=0)
    assert everything.draw(seed=0)(torch.from_numpy(X)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_contracts_hold(name):
    rest = View(POOL, np.arange(16, 40))
    verify_learner(lambda: supervised(name).but(interval=0.0), labelled(), rest)
    made = without_dropout if "inserted" in name else network
    posterior = supervised(name).fit(labelled(), rest, seed=0, round=0)
    T = min(4, getattr(posterior, "functions", None) or 4)
    other_seeds = not name.startswith("ensemble(members=2)") and T > 1
    verify_posterior(
        lambda _: posterior,
        made(),
        torch.from_numpy(X),
        lambda f: posteriors.load(f, made()),
        T if other_seeds else 1,
    )


@pytest.mark.parametrize("name", NAMES)
def test_scores_in_bfloat16_are_near_those_in_float32(name):
    posterior = supervised(name).fit(labelled(), View(POOL, np.arange(16, 40)), seed=0, round=0)
    draws = posterior.draw(seed=0)
    exact, near = score.predict(draws, X), score.predict(draws, X, precision="bfloat16")
    assert near.dtype == np.float32
    assert np.exp(near) == pytest.approx(np.exp(exact), abs=0.03)
    assert np.exp(near).sum(2) == pytest.approx(1, abs=1e-5)
    features = score.features(draws, X)
    assert score.features(draws, X, precision="bfloat16") == pytest.approx(features, rel=0.05, abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_batch_has_no_answers(name):
    draws = supervised(name).fit(labelled(), View(POOL, np.arange(16, 40)), seed=0, round=0).draw(seed=0)
    x = torch.from_numpy(X)
    whole = draws(x[:3])
    assert draws(x[:0]).shape == (0, *whole.shape[1:])


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_that_diverges_is_named(name):
    learner = supervised(name, learning_rate=1e30, optimizer="sgd", epochs=5)
    with pytest.raises(TrainingDiverged, match="learning rate"):
        learner.fit(labelled(), View(POOL, np.arange(16, 40)), seed=0, round=0)


def test_a_run_whose_fit_diverges_loses_nothing(tmp_path):
    with pytest.raises(BaldurError, match="learning rate"):
        run.run(
            (torch.from_numpy(X), Y),
            tmp_path,
            network=lambda *_: network(),
            learning_rate=1e30,
            optimizer="sgd",
            **SETTINGS,
        )
    with Store.open(tmp_path) as store:
        assert [trial.state for trial in store.trials()] == ["failed"]
        assert len(store.labels()) == SETTINGS["initial"]
