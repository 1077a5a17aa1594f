import inspect

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions

MAPS = acquire.from_logits(np.random.default_rng(0).normal(size=(3, 7, 4, 5, 2)) * 3)


def streamed(log_probs, cuts=(1, 2, 5)):
    running = acquire.Running()
    for start, stop in zip((0, *cuts), (*cuts, log_probs.shape[1]), strict=True):
        running.add(log_probs[:, start:stop, ...])
    assert len(running) == log_probs.shape[1]
    return running


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
@pytest.mark.parametrize("cuts", [(), (3,), (1, 2, 3, 4, 5, 6)])
def test_the_same_as_the_whole(library, cuts):
    maps = library(MAPS)
    running = streamed(maps, cuts)
    for actual, expected in (
        (running.bald(), acquire.bald(maps)),
        (running.expected_entropy(), acquire.expected_entropy(maps)),
        (acquire.entropy(running.mean()), acquire.entropy(maps)),
        (acquire.margin(running.mean()), acquire.margin(maps)),
        (acquire.least_confidence(running.mean()), acquire.least_confidence(maps)),
    ):
        assert type(actual) is type(expected)
        assert actual.shape == (3, 5, 2)
        assert np.asarray(actual).dtype == np.float64
        assert np.asarray(actual) == pytest.approx(np.asarray(expected), abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_zeros_and_saturated_predictions(seed):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([0.02] * 4, size=(6, 7))
    probs[:2] = np.eye(4)[rng.integers(4, size=(2, 7))]
    log_probs = acquire.from_probs(probs)
    running = streamed(log_probs)
    assert running.bald() == pytest.approx(acquire.bald(log_probs), abs=1e-11)
    assert running.expected_entropy() == pytest.approx(acquire.expected_entropy(log_probs), abs=1e-11)
    assert acquire.entropy(running.mean()) == pytest.approx(acquire.entropy(log_probs), abs=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_identical_samples_are_worth_exactly_nothing(dtype):
    """A difference of running entropies would leave noise."""
    one = torch.log_softmax(torch.randn(20, 1, 10, generator=torch.Generator().manual_seed(0)) * 5, 2).to(
        dtype
    )
    assert torch.all(streamed(one.expand(20, 20, 10)).bald() == 0)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_precisions(kind):
    maps = MAPS.astype(kind)
    assert streamed(maps).bald() == pytest.approx(acquire.bald(maps), abs=1e-7)
    assert acquire.entropy(streamed(maps).mean()) == pytest.approx(acquire.entropy(maps), abs=1e-7)


def test_one_sample_leaves_everything_open():
    running = streamed(MAPS[:, :1], ())
    assert np.all(running.bald() == 0)
    assert running.expected_entropy() == pytest.approx(acquire.entropy(MAPS[:, :1]), abs=1e-12)


def test_what_was_added_may_change_afterwards():
    """A reused buffer of the caller."""
    buffer, running = MAPS[:, :1].copy(), acquire.Running()
    for t in range(7):
        buffer[:] = MAPS[:, t : t + 1]
        running.add(buffer)
    assert running.bald() == pytest.approx(acquire.bald(MAPS), abs=1e-12)


def test_what_is_refused_is_not_added():
    running = streamed(MAPS)
    broken = MAPS[:, :2].copy()
    broken[2, 1, 3, 4, 1] = np.nan
    with pytest.raises(InvalidPredictions, match=r"item 2, sample \d at \(4, 1\)"):
        running.add(broken)
    for other in (MAPS[:2], MAPS[:, :, :, :4], MAPS.astype(np.float32), torch.tensor(MAPS), MAPS[:, :0]):
        with pytest.raises(InvalidPredictions):
            inspect.unwrap(acquire.Running.add)(running, other)
    assert running.bald() == pytest.approx(acquire.bald(MAPS), abs=1e-12)


def test_nothing_added():
    for ask in (acquire.Running().bald, acquire.Running().mean, acquire.Running().expected_entropy):
        with pytest.raises(InvalidArgument, match="no sample"):
            ask()
