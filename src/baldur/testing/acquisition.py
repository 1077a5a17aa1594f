"""The verifier of pointwise acquisition functions."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.errors import InvalidPredictions
from baldur.testing._checks import require

Function = Callable[[Any], Any]
Array64 = NDArray[np.float64]


def verify_acquisition(
    function: Function, bounds: Callable[[int, int], tuple[float, float]], seed: int = 0
) -> None:
    """Check a pointwise acquisition function, (N, T, C, ...) to (N, ...), on random predictions.

    Scores must be float64 and finite, and lie in their bounds. They move with the items, do not depend on the order of
    samples and classes, and depend on one item alone. They are the same for NumPy and torch (where it is installed),
    for float32 and for any memory layout. Half precision is normalised again, and -inf is legal. NaN, +inf and rows
    that are not normalised are refused. The input is never changed.

    Args:
        function: Takes normalised log-probabilities and returns scores. A larger score means wanted more.
        bounds: Gives the smallest and largest possible score for T samples and C classes.
        seed: The seed of the random predictions.

    Raises:
        AssertionError: A check failed. The message names it.
    """
    rng = np.random.default_rng(seed)
    for shape in ((40, 5, 4), (30, 2, 2), (7, 20, 10)):
        log_probs = _random(rng, shape)
        scores = _scores(function, log_probs)
        _check_values(function, log_probs, scores, bounds(*shape[1:]))
        _check_order(function, log_probs, scores, rng)
        _check_types(function, log_probs, scores)
        _check_torch(function, log_probs, scores)
    _check_places(function, _random(rng, (3, 6, 4, 5, 2)))
    _check_alone(function, _random(rng, (7000, 6, 4)))
    _check_zeros(function, rng, bounds(6, 4))
    _check_refusals(function, _random(rng, (5, 3, 4)))


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> Array64:
    logits = rng.normal(size=shape) * rng.uniform(0.1, 8, size=(shape[0], *[1] * (len(shape) - 1)))
    return np.asarray(logits - np.log(np.sum(np.exp(logits), axis=2, keepdims=True)))


def _same(actual: Any, expected: Any, message: str, tolerance: float = 1e-11) -> None:
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance, err_msg=message)


def _scores(function: Function, log_probs: NDArray[Any]) -> Array64:
    before = log_probs.copy()
    scores = function(log_probs)
    require(isinstance(scores, np.ndarray), f"NumPy predictions gave {type(scores).__name__}")
    require(scores.dtype == np.float64, f"scores are {scores.dtype}, not float64")
    expected = (log_probs.shape[0], *log_probs.shape[3:])
    require(scores.shape == expected, f"scores have the shape {scores.shape}, not {expected}")
    require(np.isfinite(scores).all(), "a score is not finite")
    require(np.array_equal(before, log_probs), "the predictions were changed")
    return np.asarray(scores)


def _check_values(
    function: Function, log_probs: Array64, scores: Array64, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    require(scores.min() >= low - 1e-9, f"a score {scores.min()} is below the bound {low}")
    require(scores.max() <= high + 1e-9, f"a score {scores.max()} is above the bound {high}")
    require(scores.std() > 0, "every item has the same score")
    require(len(_scores(function, log_probs[:0])) == 0, "no items gave scores")


def _check_order(function: Function, log_probs: Array64, scores: Array64, rng: np.random.Generator) -> None:
    items, samples, classes = (rng.permutation(n) for n in log_probs.shape)
    _same(function(log_probs[items]), scores[items], "scores do not move with the items")
    _same(function(log_probs[:, samples]), scores, "scores depend on the order of the samples")
    _same(function(log_probs[:, :, classes]), scores, "scores depend on the order of the classes")


def _check_types(function: Function, log_probs: Array64, scores: Array64) -> None:
    single = log_probs.astype(np.float32)
    _same(_scores(function, single), scores, "float32 differs from float64", 1e-5)
    half = log_probs.astype(np.float16)
    exact = half.astype(np.float64)
    exact -= np.log(np.sum(np.exp(exact), axis=2, keepdims=True))
    _same(_scores(function, half), function(exact), "half precision is not renormalised", 1e-5)
    strided = np.zeros((*log_probs.shape[::-1], 2))[..., 0].T  # (N, T, C), every second number
    strided[:] = log_probs
    _same(_scores(function, strided), scores, "scores depend on the memory layout")
    _same(_scores(function, log_probs[::-1]), scores[::-1], "scores depend on the memory layout")


def _check_torch(function: Function, log_probs: Array64, scores: Array64) -> None:
    try:
        import torch
    except ImportError:
        return
    for dtype, tolerance in ((torch.float64, 1e-11), (torch.float32, 1e-5)):
        given = torch.tensor(log_probs, dtype=dtype)
        before = given.clone()
        result = function(given)
        require(isinstance(result, torch.Tensor), f"torch predictions gave {type(result).__name__}")
        require(result.dtype == torch.float64, f"scores are {result.dtype}, not float64")
        require(result.device == given.device, "scores are on another device")
        require(torch.equal(given, before), "the predictions were changed")
        _same(result, scores, f"torch {dtype} differs from NumPy", tolerance)
    brain = torch.tensor(log_probs, dtype=torch.bfloat16)
    exact = torch.log_softmax(brain.double(), dim=2)
    _same(function(brain), function(exact), "bfloat16 is not renormalised", 1e-5)
    strided = torch.tensor(np.ascontiguousarray(log_probs.T)).permute(2, 1, 0)  # (N, T, C)
    _same(function(strided), scores, "scores depend on the memory layout")


def _check_places(function: Function, log_probs: Array64) -> None:
    scores = _scores(function, log_probs)
    for place in np.ndindex(*log_probs.shape[3:]):
        here = (slice(None), slice(None), slice(None), *place)
        _same(function(log_probs[here]), scores[(slice(None), *place)], "a place depends on other places")


def _check_alone(function: Function, log_probs: Array64) -> None:
    scores = _scores(function, log_probs)
    parts = [function(part) for part in np.array_split(log_probs, [1, 4, 999, 6000])]
    _same(np.concatenate(parts), scores, "a score depends on the other items")


def _check_zeros(function: Function, rng: np.random.Generator, bounds: tuple[float, float]) -> None:
    sure = np.where(np.eye(4)[rng.integers(4, size=(50, 6))] == 1, 0.0, -np.inf)
    sure[0] = sure[0, 0]
    low, high = bounds
    for log_probs in (sure, np.where(np.isinf(sure), -1e4, sure), sure.astype(np.float32)):
        scores = _scores(function, log_probs)
        require(low - 1e-9 <= scores.min() and scores.max() <= high + 1e-9, "one-hot scores break the bounds")


def _check_refusals(function: Function, log_probs: Array64) -> None:
    for value in (np.nan, np.inf, 1.0):
        broken = log_probs.copy()
        broken[3, 1, 2] = value
        try:
            function(broken)
        except InvalidPredictions as error:
            require("item 3, sample 1" in str(error), f"the error does not name the row: {error}")
        else:
            raise AssertionError(f"a log-probability {value} was accepted")
