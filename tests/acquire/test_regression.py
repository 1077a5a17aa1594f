import inspect
import math

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.acquire import regression
from baldur.errors import InvalidArgument, InvalidPredictions, NonFiniteScore, TieBreakWarning

MEANS, VARIANCES = np.array([[0.0, 1.0, 2.0]]), np.array([[0.5, 0.25, 1.0]])


def random(shape=(30, 6, 3), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * rng.uniform(0.1, 3, size=(shape[0], *[1] * (len(shape) - 1)))


def test_worked_numbers():
    """The gain is .458146 if the noise is averaged as log σ², which is not the moment-matched Gaussian."""
    assert acquire.variance(MEANS) == pytest.approx([0.666667], abs=1e-6)
    assert acquire.gaussian_information_gain(MEANS, VARIANCES) == pytest.approx([0.381070], abs=1e-6)


def test_the_variance_of_the_mixture_is_the_sum_of_its_parts():
    means, variances = random(), random(seed=1) ** 2
    draws = np.mean(variances + means**2, axis=1) - np.mean(means, axis=1) ** 2
    total = acquire.variance(means, reduce="sum") + np.sum(np.mean(variances, axis=1), axis=1)
    assert total == pytest.approx(np.sum(draws, axis=1), abs=1e-12)


def test_reductions():
    means = random()
    spread = means.var(axis=1)
    for reduce in ("mean", "sum", "max"):
        expected = getattr(np, reduce)(spread, axis=1)
        assert acquire.variance(means, reduce=reduce) == pytest.approx(expected, abs=1e-12)
    expected = [np.linalg.slogdet(np.cov(m.T, bias=True))[1] for m in means]
    assert acquire.variance(means, reduce="logdet") == pytest.approx(expected, abs=1e-10)
    assert acquire.variance(means[:, :, 0], reduce="logdet") == pytest.approx(np.log(spread[:, 0]), abs=1e-12)


def test_each_reduction_has_its_own_favourite():
    """Independent outputs of spread (2, 0.1), (1.2, 1.2), and dependent ones of spread (1.3, 1.3)."""
    up, cross = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    means = np.stack([np.stack(x, 1) for x in ((2 * up, 0.1 * cross), (1.2 * up, 1.2 * cross))])
    means = np.concatenate([means, np.stack([1.5 * up, 1.5 * up + 0.01 * cross], 1)[None]])
    favourites = [int(np.argmax(acquire.variance(means, reduce=r))) for r in ("max", "sum", "logdet")]
    assert favourites == [0, 2, 1]


def test_the_gain_does_not_depend_on_units():
    """Variance would ask about the output in millimetres only."""
    means, variances, units = random(), random(seed=1) ** 2 + 0.1, np.array([1.0, 1000.0, 0.01])
    gain = acquire.gaussian_information_gain(means, variances)
    assert acquire.gaussian_information_gain(means * units, variances * units**2) == pytest.approx(gain)
    variance = acquire.variance(means * units)
    assert np.argmax(variance) == np.argmax(means[:, :, 1].var(axis=1))


def test_noise_is_no_reason_to_ask():
    means = np.array([[0.0, 1.0], [0.0, 1.1]])
    variances = np.array([[0.01, 0.01], [9.0, 9.0]])
    assert int(np.argmax(acquire.variance(means))) == 1
    assert int(np.argmax(acquire.gaussian_information_gain(means, variances))) == 0


def test_small_disagreement_on_large_means_keeps_its_digits():
    """Pitfall: a difference of moments, which is 0 or negative here."""
    assert acquire.variance(1e8 + MEANS * 1e-3) == pytest.approx([2 / 3 * 1e-6], rel=1e-4)
    gain = acquire.gaussian_information_gain(MEANS * 1e-9, VARIANCES)
    assert gain == pytest.approx([0.5 * 2 / 3 * 1e-18 / VARIANCES.mean()], rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_identical_samples_are_worth_exactly_nothing(dtype):
    means = np.repeat(random((20, 1, 3)), 7, axis=1).astype(dtype)
    assert np.all(acquire.variance(means) == 0)
    assert np.all(acquire.gaussian_information_gain(means, np.ones_like(means)) == 0)


@pytest.mark.parametrize(
    "function",
    [
        acquire.variance,
        lambda m: acquire.gaussian_information_gain(m, m * m + 1),
        lambda m: acquire.variance(m, reduce="logdet"),
    ],
)
def test_invariances_and_kinds_of_array(function, monkeypatch):
    means = random((40, 6, 3, 2, 5))
    before, scores = means.copy(), function(means)
    assert scores.shape == (40, 2, 5)
    assert scores.dtype == np.float64
    assert function(means[:, ::-1, ::-1]) == pytest.approx(scores, abs=1e-12)
    assert function(means[:, :, :, 1, 4]) == pytest.approx(scores[:, 1, 4], abs=1e-12)
    assert function(means[::-1]) == pytest.approx(scores[::-1], abs=1e-12)
    assert function(torch.tensor(means)).numpy() == pytest.approx(scores, abs=1e-12)
    single = function(torch.tensor(means, dtype=torch.float32))
    assert single.dtype == torch.float64
    assert single.numpy() == pytest.approx(scores, abs=1e-4)
    monkeypatch.setattr(regression, "_CPU_BLOCK", 200)
    assert function(means) == pytest.approx(scores, abs=1e-12)
    assert function(means[:0]).shape == (0, 2, 5)
    assert np.array_equal(means, before)


def test_one_sample_cannot_disagree():
    with pytest.warns(TieBreakWarning, match="variance measures"):
        assert acquire.variance(MEANS[:, :1]).tolist() == [0]
    with pytest.warns(TieBreakWarning, match="gaussian_information_gain measures"):
        assert acquire.gaussian_information_gain(MEANS[:, :1], VARIANCES[:, :1]).tolist() == [0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bad_values_are_named(value):
    means = random()
    means[3, 1, 2] = value
    with pytest.raises(InvalidPredictions, match="item 3, sample 1 of the means"):
        acquire.variance(means)
    with pytest.raises(InvalidPredictions, match="item 3, sample 1 of the variances is"):
        acquire.gaussian_information_gain(random(), np.abs(means))


def test_what_does_not_fit_is_refused():
    gain, variance = (inspect.unwrap(f) for f in (acquire.gaussian_information_gain, acquire.variance))
    with pytest.raises(InvalidPredictions, match="item 0, sample 2 of the variances is 0"):
        gain(MEANS, VARIANCES * [1, 1, 0])
    with pytest.raises(InvalidArgument, match="of one library and shape"):
        gain(MEANS, VARIANCES[:, :2])
    with pytest.raises(InvalidArgument, match="'logdet', not 'median'"):
        variance(MEANS, reduce="median")
    with pytest.raises(InvalidArgument, match="not 3 for 3"):
        variance(random((4, 3, 3)), reduce="logdet")
    with pytest.raises(InvalidPredictions, match="int64"):
        variance(MEANS.astype(int))
    with pytest.raises(InvalidPredictions, match="at least one sample"):
        variance(MEANS[0])
    with pytest.raises(NonFiniteScore, match="item 1 is -inf"):
        variance(np.stack([random((6, 2)), np.zeros((6, 2))]), reduce="logdet")


def test_a_map_without_places():
    assert acquire.variance(np.zeros((3, 4, 2, 0))).shape == (3, 0)


def test_two_sure_opposites():
    assert acquire.gaussian_information_gain(np.array([[-1.0, 1.0]]), np.ones((1, 2))) == pytest.approx(
        [0.5 * math.log(2)]
    )
