"""The kernel in single precision gives what the formula gives."""

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.acquire import fused
from baldur.acquire.disagreement import mean_divergence
from baldur.acquire.pointwise import pointwise
from baldur.errors import InvalidPredictions


def predictions(n=300, draws=7, classes=5, scale=2.0, seed=0):
    logits = torch.randn(n, draws, classes, generator=torch.Generator().manual_seed(seed))
    return torch.log_softmax(logits * scale, 2)


@pytest.mark.parametrize("scale", [0.0, 1e-4, 0.01, 0.3, 3.0, 40.0])
def test_it_is_the_formula(scale, monkeypatch):
    monkeypatch.setattr(fused, "_CPU_BLOCK", 1000)  # several blocks, the last one shorter
    x = predictions(scale=scale) if scale else predictions()[:, :1].expand(-1, 7, -1)
    before = x.clone()
    exact = pointwise(x.double(), mean_divergence)
    assert fused.applies(x)
    torch.testing.assert_close(acquire.bald(x), exact, atol=1e-6, rtol=1e-3)
    small = exact < 1e-4  # from the formula itself, so that a logarithm of them means something
    torch.testing.assert_close(acquire.bald(x)[small], pointwise(x, mean_divergence)[small], atol=0, rtol=0)
    assert torch.equal(x, before)


def test_an_impossible_class_is_no_obstacle():
    x = predictions()
    x[::3] = torch.tensor([0.0, *[-torch.inf] * 4])
    x[1, :, 0] = -torch.inf
    x[1] = torch.log_softmax(x[1], 1)
    torch.testing.assert_close(acquire.bald(x), pointwise(x, mean_divergence), atol=1e-6, rtol=1e-3)
    assert (acquire.bald(x)[::3] == 0).all()


@pytest.mark.parametrize(("value", "word"), [(torch.nan, "NaN"), (0.7, "sums to"), (torch.inf, "inf")])
def test_a_bad_row_is_named(value, word):
    x = predictions()
    x[217, 3, 1] = value
    with pytest.raises(InvalidPredictions, match=rf"item 217, sample 3 .*{word}"):
        acquire.bald(x)


def test_a_large_array_and_a_strided_tensor():
    x = predictions(30_000, 7, 5)
    array = x.numpy()
    assert fused.applies(array)
    assert not fused.applies(array[:100])
    assert not fused.applies(x.double())
    scores = acquire.bald(array)
    assert isinstance(scores, np.ndarray)
    assert scores == pytest.approx(acquire.bald(x).numpy(), abs=1e-7)
    assert acquire.bald(array[::-1])[::-1] == pytest.approx(scores, abs=1e-6)  # torch has no negative strides
    strided = x.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    torch.testing.assert_close(acquire.bald(strided), acquire.bald(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scale", [0.01, 0.3, 3.0, 40.0])
def test_epig_is_the_formula(scale, monkeypatch):
    monkeypatch.setattr(fused, "_PRODUCT_BLOCK", 3000)
    x, targets = predictions(scale=scale), predictions(11, seed=1, scale=scale)
    before = x.clone(), targets.clone()
    exact = acquire.epig(x.double(), targets.double())
    torch.testing.assert_close(acquire.epig(x, targets), exact, atol=1e-6, rtol=1e-2)
    assert torch.equal(x, before[0])
    assert torch.equal(targets, before[1])
    same = predictions()[:, :1].expand(-1, 7, -1)
    assert (acquire.epig(same, targets) == 0).all()


def test_epig_of_impossible_classes_and_bad_rows():
    x, targets = predictions(), predictions(11, seed=1)
    x[::3] = torch.tensor([0.0, *[-torch.inf] * 4])
    torch.testing.assert_close(
        acquire.epig(x, targets), acquire.epig(x.double(), targets.double()), atol=1e-6, rtol=0
    )
    x[40, 2] = torch.nan
    with pytest.raises(InvalidPredictions, match=r"item 40, sample 2 .*NaN"):
        acquire.epig(x, targets)


def test_epig_of_a_large_array():
    x, targets = predictions(30_000, 7, 5), predictions(11, seed=1)
    scores = acquire.epig(x.numpy(), targets.numpy())
    assert scores == pytest.approx(acquire.epig(x, targets).numpy(), abs=1e-7)
    assert acquire.epig(x.numpy()[:, ::-1], targets.numpy()[:, ::-1]) == pytest.approx(scores, abs=1e-6)
