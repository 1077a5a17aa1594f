"""Encoders trained without labels."""

import shutil
from importlib import import_module

import numpy as np
import pytest
import torch
from tests.learners.moons import LABELLED, POOL, UNLABELLED, learner, network
from torch import nn

from baldur import data, networks
from baldur.core.tensorfiles import read_tensors, write_tensors
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.unlabelled.contrastive import NTXent, contrastive
from baldur.learners.unlabelled.pools import FileSlot
from baldur.posteriors import Deterministic
from baldur.posteriors.fit.ensembles import ensemble
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import weights_hash


def made(posterior=None, network=network, cache=None, **options):
    tiny = {"epochs": 2, "batch_size": 64, "projection": 8} | options
    inner = learner(network=network) if posterior is None else learner(posterior, network)
    return contrastive(inner, cache=cache, **tiny)


def begun(learner, labelled=LABELLED, unlabelled=UNLABELLED, seed=0):
    """The network as a fit begins with it."""
    found = []

    def look(train, labelled, seed):
        found.append(train.build(seed))
        return Deterministic(found[0])

    learner.but(posterior=type(learner.posterior)(look, learner.network)).fit(
        labelled, unlabelled, seed=seed, round=0
    )
    return found[0]


class Flat(nn.Module):
    """Logits without a linear layer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2))

    def forward(self, x):
        return x @ self.weight


@pytest.mark.parametrize("posterior", [None, ensemble(2)], ids=["one", "ensemble"])
def test_it_is_a_learner(posterior):
    verify_learner(lambda: made(posterior), LABELLED, UNLABELLED)


def test_the_loss_by_hand():
    """Three items, six views, brute force over Chen et al.'s equation 1."""
    outputs = torch.randn(3, 10, generator=torch.Generator().manual_seed(0))
    z = [row for part in outputs.chunk(2, 1) for row in part]

    def s(i, j):
        return float(torch.exp(torch.cosine_similarity(z[i], z[j], dim=0) / 0.5))

    def loss(i, j):
        return -np.log(s(i, j) / sum(s(i, k) for k in range(6) if k != i))

    by_hand = [(loss(i, i + 3) + loss(i + 3, i)) / 2 for i in range(3)]
    found = NTXent(0.5).losses(outputs, torch.zeros(3))
    assert found.tolist() == pytest.approx(by_hand, rel=1e-5)


def test_networks_begin_with_one_encoder_and_last_layers_of_their_own():
    learner = made()
    one, other = begun(learner, seed=0), begun(learner, seed=1)
    assert torch.equal(one[0].weight, other[0].weight)
    assert torch.equal(one[1].running_mean, other[1].running_mean)
    assert not torch.equal(one[4].weight, other[4].weight)
    untrained = learner.network()  # no items are shown
    assert not torch.equal(untrained[0].weight, one[0].weight)


def test_a_network_instead_of_a_factory_keeps_its_last_layer():
    given = network()
    one = begun(made(network=given))
    assert torch.equal(one[4].weight, given[4].weight)
    assert not torch.equal(one[0].weight, given[0].weight)
    with pytest.raises(Unsupported, match="factory"):
        made(ensemble(1, capacity=0.5), network=given).fit(LABELLED, UNLABELLED, seed=0, round=0)


def test_the_encoder_depends_on_the_items_and_not_on_which_are_labelled():
    """So a run that is started again in a later round trains the same one."""
    n = 40
    many = Labelled(
        View(POOL, np.arange(n)[::-1]),
        np.arange(n) % 2,
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
        ("oracle",) * n,
    )
    first = begun(made())[0].weight
    assert torch.equal(begun(made(), many, View(POOL, np.arange(n, 240)))[0].weight, first)
    assert not torch.equal(begun(made(), many, View(POOL, np.arange(n, 200)))[0].weight, first)
    assert not torch.equal(begun(made(seed=1))[0].weight, first)


def test_it_is_trained_once_and_kept_in_a_folder(tmp_path):
    told = []
    learner = made(cache=tmp_path)
    learner.network.progress = lambda what, done, total: told.append(done)
    first = weights_hash(begun(learner))
    assert weights_hash(begun(learner)) == first
    assert told == [1, 2]
    again = made(cache=tmp_path)
    again.network.progress = learner.network.progress
    assert weights_hash(begun(again)) == first
    assert told == [1, 2]
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])  # a damaged file is trained anew
    third = made(cache=tmp_path)
    third.network.progress = learner.network.progress
    assert weights_hash(begun(third)) == first
    assert told == [1, 2, 1, 2]


def test_training_that_is_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    monkeypatch.setattr(import_module(NTXent.__module__), "_INTERVAL", 0.0)
    whole = weights_hash(begun(made(epochs=3)))
    epochs = []

    def killer(what, done, total):
        epochs.append(done)
        if epochs == [1, 2]:
            raise Killed

    for _ in range(2):
        learner = made(epochs=3, cache=tmp_path)
        learner.network.progress = killer
        try:
            found = weights_hash(begun(learner))
        except Killed:
            found = ""
    assert found == whole
    assert epochs == [1, 2, 2, 3]


def test_a_checkpoint_that_another_process_takes_away_is_none(tmp_path, monkeypatch):
    told = []
    one, other = tmp_path / "one", tmp_path / "other"
    first = weights_hash(begun(made(cache=one)))
    (kept,) = one.iterdir()
    latest = FileSlot.latest

    def overtaken(slot):
        found = latest(slot)
        if found is not None:
            found.unlink()
            shutil.copy(kept, other)
        return found

    monkeypatch.setattr(FileSlot, "latest", overtaken)
    other.mkdir()
    (other / kept.with_suffix(".checkpoint").name).write_bytes(b"begun")
    learner = made(cache=other)
    learner.network.progress = lambda *about: told.append(about)
    assert weights_hash(begun(learner)) == first
    assert told == []


def test_the_encoder_of_a_faster_process_is_taken(tmp_path):
    learner, slower = made(cache=tmp_path), made(cache=tmp_path)
    first = begun(learner)
    (kept,) = tmp_path.iterdir()
    groups, said = read_tensors(kept)
    kept.unlink()
    groups["encoder"]["0.weight"] += 1
    slower.network.progress = lambda *_: write_tensors(kept, groups, said)
    assert torch.equal(begun(slower)[0].weight, first[0].weight + 1)


def test_another_precision_is_another_encoder():
    plans = [
        contrastive(learner(precision=precision)).network.pretraining.identity()
        for precision in ("auto", "float32", "bfloat16")
    ]
    assert len(set(plans)) == 3


def test_features_group_what_looks_alike():
    """Four patterns with noise: neighbours in the encoder's features share the pattern."""
    rng = np.random.default_rng(0)
    kind = np.arange(160) % 4
    x = (2 * np.eye(4, 12)[kind] + 0.4 * rng.standard_normal((160, 12))).astype(np.float32)
    pool = data.from_arrays(x)
    encoder = made(network=lambda: networks.mlp((12,), 4), epochs=10).network
    encoder.show(View(pool, np.arange(4)), View(pool, np.arange(4, 160)))
    features = encoder.features(pool)
    assert features.shape == (160, 128)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    nearest = (features @ features.T - 2 * np.eye(160)).argmax(1)
    assert (kind[nearest] == kind).mean() > 0.9


def test_what_it_cannot_do():
    with pytest.raises(InvalidArgument, match="batch_size"):
        made(batch_size=1)
    with pytest.raises(Unsupported, match=r"nn\.Linear"):
        begun(made(network=Flat))
