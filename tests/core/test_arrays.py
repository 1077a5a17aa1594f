import math
import tracemalloc

import numpy as np
import pytest
import torch

from baldur.core import arrays as _arrays
from baldur.core.arrays import (
    detached,
    log,
    log_sum_exp,
    map_samples,
    mean_probs,
    p_log_p,
    predictive,
    same_device,
    same_place,
    to_numpy,
    tolerance,
)
from baldur.errors import InvalidArgument, InvalidPredictions


def uniform(shape):
    return np.full(shape, -math.log(shape[2]))


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
def test_logarithms_of_sums_and_zeros(library):
    x = library(np.array([[-math.inf, -math.inf], [1000.0, 1000.0], [0.0, -math.inf]]))
    assert np.asarray(log_sum_exp(x, axis=1))[:, 0].tolist() == [-math.inf, 1000 + math.log(2), 0]
    p = library(np.array([0.0, 0.5, 1.0]))
    assert np.asarray(log(p)).tolist() == [-math.inf, math.log(0.5), 0]
    assert np.asarray(p_log_p(p)).tolist() == [0, 0.5 * math.log(0.5), 0]


def test_tolerances_and_types():
    assert tolerance(np.zeros(1)) == tolerance(torch.zeros(1)) == 1e-3
    assert tolerance(np.zeros(1, np.float16)) == tolerance(torch.zeros(1, dtype=torch.bfloat16)) == 2e-2
    for wrong in (np.zeros(1, int), np.zeros(1, complex), torch.zeros(1, dtype=torch.bool)):
        with pytest.raises(InvalidPredictions, match="floating type"):
            tolerance(wrong)


def test_to_numpy_leaves_gradient_and_bfloat16_behind():
    x = torch.ones(3, requires_grad=True, dtype=torch.bfloat16)
    assert to_numpy(x).dtype == np.float32
    with pytest.raises(InvalidArgument, match="not str"):
        _arrays.namespace("scores")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 3), r"\(4, 3\); from_probs"),
        ((4, 0, 3), "at least one posterior sample"),
        ((4, 3, 1), "from_sigmoid"),
    ],
)
def test_shapes_are_refused(shape, message):
    with pytest.raises(InvalidPredictions, match=message):
        mean_probs(np.zeros(shape))


@pytest.mark.parametrize("value", [math.nan, math.inf, 800.0, -800.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_first_bad_row_is_named(value, dtype):
    """Also where it lies beyond the first block."""
    log_probs = uniform((20_000, 3, 2)).astype(dtype)
    log_probs[17_000, 2, 1] = value
    log_probs[18_000, 0, 0] = math.nan
    with pytest.raises(InvalidPredictions, match="item 17000, sample 2"):
        mean_probs(log_probs)


@pytest.mark.parametrize("shape", [(3, 2, 2, 4, 5), (2, 3, 2, 300, 200)])
def test_a_bad_place_is_named(shape):
    log_probs = uniform(shape)
    log_probs[1, 1, 0, 3, 4] = 0.0
    with pytest.raises(InvalidPredictions, match=r"item 1, sample 1 at \(3, 4\)"):
        mean_probs(log_probs)


def test_a_row_is_shown_with_its_sum():
    log_probs = np.log(np.full((1, 1, 7), 0.2))
    with pytest.raises(InvalidPredictions, match=r"\.\.\.\] sums to 1\.4 .*within 0\.001"):
        mean_probs(log_probs)


def test_classes_are_kept_beside_places():
    rng = np.random.default_rng(0)
    probs = np.moveaxis(rng.dirichlet([1, 1, 1], size=(4, 5, 6, 7)), -1, 2)  # (4, 5, 3, 6, 7)
    assert mean_probs(np.log(probs)) == pytest.approx(probs.mean(axis=1), abs=1e-12)


@pytest.mark.parametrize("shape", [(0, 2, 3), (0, 2, 3, 4), (4, 2, 3, 0)])
def test_nothing_gives_nothing(shape):
    assert map_samples(np.zeros(shape), lambda s: s.mean[:, 0]).shape == (shape[0], *shape[3:])
    assert mean_probs(torch.zeros(shape)).shape == (shape[0], 3, *shape[3:])


@pytest.mark.parametrize("library", [np.asarray, torch.asarray])
def test_the_mean_in_log_space_keeps_what_is_improbable(library):
    log_probs = library(np.array([[[0.0, -1000.0], [0.0, -1000.0]], [[0.0, -math.inf], [0.0, -math.inf]]]))
    assert np.asarray(predictive(log_probs)).tolist() == [[0, -1000], [0, -math.inf]]
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], size=(4, 5))
    both = np.exp(np.asarray(predictive(library(np.log(probs)))))
    assert both == pytest.approx(np.asarray(mean_probs(library(np.log(probs)))), abs=1e-15)


def test_arrays_of_one_place_have_one_namespace():
    assert same_place(first=np.zeros(1), second=np.ones(2)) is _arrays.namespace(np.zeros(1))
    same_device(first=np.zeros(1), second=torch.zeros(1))
    with pytest.raises(InvalidArgument, match="pool and targets are arrays of different libraries"):
        same_place(pool=np.zeros(1), targets=torch.zeros(1))
    there = torch.zeros(1, device="meta")
    with pytest.raises(InvalidArgument, match=r"pool and targets are on different devices \(cpu and meta\)"):
        same_place(pool=torch.zeros(1), targets=there)
    with pytest.raises(InvalidArgument, match="not list"):
        same_device(pool=torch.zeros(1), targets=[1.0])


def test_a_detached_array_has_the_same_memory():
    x = torch.ones(2, requires_grad=True)
    assert not detached(x).requires_grad
    assert detached(x).data_ptr() == x.data_ptr()
    assert detached(y := np.ones(2)) is y


def test_blocks_join_without_a_seam():
    rows = _arrays._CPU_BLOCK // 4
    probs = np.random.default_rng(0).dirichlet([1, 1], size=(2 * rows + 1, 2))
    assert mean_probs(np.log(probs)) == pytest.approx(probs.mean(axis=1), abs=1e-12)


@pytest.mark.parametrize("shape", [(100_000, 10, 10), (2, 10, 10, 300, 150)])
def test_memory_does_not_grow_with_the_pool(shape):
    log_probs = uniform(shape).astype(np.float32)
    tracemalloc.start()
    map_samples(log_probs, lambda s: s.xp.max(s.mean, axis=1))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    item = log_probs[0].nbytes if len(shape) > 3 else 0  # one item is rearranged at a time
    assert peak < item + 6 * 2**20


def test_the_mean_prediction_keeps_what_is_improbable():
    log_probs = np.array([[[0.0, -1000.0], [0.0, -1000.0]], [[0.0, -np.inf], [0.0, -np.inf]]])
    assert predictive(log_probs)[:, 1].tolist() == pytest.approx([-1000, -math.inf])
    assert predictive(torch.tensor(log_probs)).tolist() == predictive(log_probs).tolist()


def test_the_mean_prediction_of_maps_is_that_of_each_place():
    probs = (
        np.random.default_rng(0).dirichlet(np.ones(3), size=(5, 4, 2)).transpose(0, 1, 3, 2)
    )  # (N, T, C, places)
    found = predictive(np.log(probs))
    assert found.shape == (5, 3, 2)
    assert np.exp(found) == pytest.approx(probs.mean(1))
