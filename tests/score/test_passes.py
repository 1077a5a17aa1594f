import errno
import os

import numpy as np
import pytest
import torch
from torch import nn

from baldur import acquire, score
from baldur.core.arrays import predictive
from baldur.data import from_arrays
from baldur.errors import (
    DiskFull,
    IdenticalDraws,
    InvalidArgument,
    InvalidPredictions,
    InvalidSettings,
    TieBreakWarning,
    UnreadableItems,
)
from baldur.posteriors import Deterministic, MCDropout
from baldur.runs import measuring, settings


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=(101, 2, 3)).astype(np.float32)


@pytest.fixture
def draws():
    return MCDropout(network()).draw(5, seed=1)


def test_scores_are_those_of_the_whole_tensor(draws, inputs):
    log_probs = draws(torch.from_numpy(inputs))
    for size in (1, 7, 512):
        scores = score.predict(draws, inputs, reduce=acquire.bald, batch_size=size)
        assert scores.dtype == np.float64
        assert scores == pytest.approx(acquire.bald(log_probs).numpy(), abs=1e-6)


def test_without_reduce_the_log_probabilities_come_back(draws, inputs):
    log_probs = score.predict(draws, from_arrays(inputs))
    assert log_probs.shape == (101, 5, 3)
    assert log_probs == pytest.approx(draws(torch.from_numpy(inputs)).numpy(), abs=1e-6)


def test_over_budget_the_result_is_mapped_from_a_file_without_a_name(draws, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    log_probs = score.predict(draws, inputs, memory="8KiB")
    assert isinstance(log_probs, np.memmap)
    assert list(tmp_path.iterdir()) == []
    assert log_probs == pytest.approx(score.predict(draws, inputs), abs=1e-6)


def test_the_budget_bounds_the_batch(inputs):
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            seen.append(len(x))
            return self.inner(x)

    posterior = Deterministic(Watched())
    score.predict(posterior.draw(), inputs, reduce=acquire.entropy, memory="64KiB")
    assert 1 < max(seen) < 12
    assert (
        sum(seen) == 101 + 1 + 2
    )  # one tells the size of an item, two whether the network changes its input


def test_features(draws, inputs):
    features = score.features(draws, inputs, batch_size=7)
    assert features.shape == (101, 8)
    assert features == pytest.approx(draws.features(torch.from_numpy(inputs)).numpy(), abs=1e-6)


class Products(nn.Module):
    """Remembers in what its products are computed."""

    def __init__(self):
        super().__init__()
        self.inner, self.seen = network(), []

    def forward(self, x):
        logits = self.inner(x)
        self.seen.append(logits.dtype)
        return logits


def test_precision_is_that_of_the_draws_and_of_nothing_else(inputs):
    posterior = Deterministic(Products())
    for_float32, for_bfloat16 = score.PoolScorer(), score.PoolScorer(precision="bfloat16")
    pool = from_arrays(inputs)

    def reduce(log_probs):
        assert log_probs.dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        return acquire.entropy(log_probs)

    exact = for_float32.predict(posterior, pool, reduce)
    assert set(posterior.network.seen) == {torch.float32}
    near = for_bfloat16.predict(posterior, pool, reduce)
    assert torch.bfloat16 in posterior.network.seen
    assert near.dtype == np.float64
    assert near == pytest.approx(exact, abs=0.01)
    assert for_bfloat16.features(posterior, pool).dtype == np.float32
    with pytest.raises(Exception, match="int8"):  # where types are checked, by that check
        score.predict(posterior.draw(), inputs, precision="int8")


@pytest.mark.parametrize(
    ("wanted", "device", "has", "precision"),
    [
        ("auto", "cpu", True, "float32"),
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda", False, "float32"),
        ("bfloat16", "cpu", False, "bfloat16"),
        ("float32", "cuda", True, "float32"),
    ],
)
def test_the_precision_of_a_run(wanted, device, has, precision, monkeypatch):
    monkeypatch.setattr(measuring, "pick_device", lambda name: torch.device(device))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert measuring.precision_of(settings.create(score_precision=wanted).score, "auto") == precision


def test_progress_counts_items(draws, inputs):
    told = []
    score.predict(draws, inputs, reduce=acquire.bald, batch_size=40, progress=lambda *p: told.append(p))
    assert told == [(40, 101), (80, 101), (101, 101)]


def test_an_empty_pool(draws):
    assert score.predict(draws, np.empty((0, 2, 3), np.float32), reduce=acquire.bald).shape == (0,)


class Dead(nn.Module):
    """A network with dropout that its outputs do not depend on."""

    def __init__(self, factor):
        super().__init__()
        self.drop, self.out, self.factor = nn.Dropout(0.5), nn.Linear(6, 3), factor

    def forward(self, x):
        dropped = self.drop(x.flatten(1)).sum(1, keepdim=True)
        return self.out(x.flatten(1)) + (0 if self.factor is None else self.factor * dropped)


@pytest.mark.parametrize("factor", [None, 0])
def test_dropout_that_never_acts_is_an_error(inputs, factor):
    with pytest.raises(IdenticalDraws, match=r"do not depend on its dropout \('drop' \(unit\)\)"):
        score.predict(MCDropout(Dead(factor)).draw(3), inputs, reduce=acquire.bald)


class Silent(nn.Module):
    """Its hidden units are 0, so that masks change nothing although they act."""

    def __init__(self):
        super().__init__()
        self.drop, self.out = nn.Dropout(0.5), nn.Linear(6, 3)

    def forward(self, x):
        flat = x.flatten(1)
        return self.out(self.drop(torch.relu(-flat.abs()))) + flat[:, :3]


def test_samples_that_agree_are_measured_and_ties_are_warned_of(inputs):
    draws = MCDropout(Silent()).draw(3)
    single = score.predict(draws[:1], inputs, reduce=predictive)
    assert score.predict(draws, inputs, reduce=predictive) == pytest.approx(single, abs=1e-6)
    assert np.ptp(score.predict(draws, inputs, reduce=acquire.entropy)) > 0.01
    for reduce in (acquire.bald, None):
        with pytest.warns(TieBreakWarning, match="agree on every item"):
            score.predict(draws, inputs, reduce=reduce)


def test_one_sample_is_no_disagreement_and_no_error(inputs):
    scores = score.predict(Deterministic(network()).draw(), inputs, reduce=acquire.entropy)
    assert (scores > 0).all()


def test_predictions_that_are_nan_name_the_row(inputs):
    inputs[64] = np.nan
    with pytest.raises(InvalidPredictions, match="NaN"):
        score.predict(Deterministic(network()).draw(), inputs, reduce=acquire.entropy)


def test_named_arrays_are_a_pool_and_an_input_may_be_none(inputs):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, m=None, x=None):
            return self.inner(x if m is None else x * m)

    class Absent(type(from_arrays(inputs))):
        def batches(self, positions, size):
            return ((some, {"m": None, **x}) for some, x in super().batches(positions, size))

    draws = MCDropout(Named()).draw(5)
    scores = score.predict(draws, {"x": inputs}, acquire.bald)
    plain = from_arrays({"x": inputs})
    absent = Absent(plain.x, plain.ids, plain.groups, plain.labels, plain.transform)
    assert score.predict(draws, absent, acquire.bald, batch_size=40) == pytest.approx(scores, abs=1e-6)
    alone = score.predict(MCDropout(network()).draw(5), inputs, acquire.bald)
    assert scores == pytest.approx(alone, abs=1e-6)


def test_a_size_that_is_none(draws, inputs):
    with pytest.raises(InvalidSettings, match="1GiB"):
        score.predict(draws, inputs, memory="much")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_named_by_its_id(draws, inputs, value):
    sound = inputs.copy()
    inputs[17, 1, 2] = value
    ids = [f"i{n}" for n in range(len(inputs))]
    for reduce in (None, acquire.bald):
        with pytest.raises(UnreadableItems, match=r"^i17: holds NaN"):
            score.predict(draws, from_arrays(inputs, ids=ids), reduce)
    broken = network()
    torch.nn.init.constant_(broken[1].weight, float("nan"))
    with pytest.raises(InvalidPredictions, match=r"of i0 and of 100 more are NaN"):
        score.predict(Deterministic(broken).draw(), from_arrays(sound, ids=ids), acquire.entropy)


def test_no_room_for_predictions_is_a_sentence(draws, inputs, monkeypatch):
    def full(file, start, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull, match=r"no space for predictions of 0 MiB in .*TMPDIR.*start again"):
        score.predict(draws, inputs, memory="4KiB")


def test_items_of_another_shape_are_an_error_in_words(draws):
    with pytest.raises(
        InvalidArgument, match=r"cannot predict items of shape \(7,\).*that it was trained with"
    ):
        score.predict(draws, np.zeros((4, 7), np.float32))


def test_items_of_another_type_are_an_error_in_words(draws):
    with pytest.raises(InvalidArgument, match=r"items of the type int64: .*type that it was trained with"):
        score.predict(draws, np.zeros((4, 5), np.int64))
