import inspect
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire, select
from baldur.acquire import prediction
from baldur.errors import InvalidArgument, InvalidPredictions, TieBreakWarning

EPIG = [0, 0.129136536, 0, 0.026260203, 0.129136536, 0.088214640]
unchecked = inspect.unwrap(acquire.epig)


def random(seed, items, draws, classes, sharpness=2.0):
    logits = np.random.default_rng(seed).normal(size=(items, draws, classes)) * sharpness
    return acquire.from_logits(logits)


def by_definition(pool, targets, weights):
    """Every joint probability, and the divergence from independence, one term after the other."""
    scores = np.zeros(len(pool))
    for n, p in enumerate(np.exp(pool)):
        for w, q in zip(weights, np.exp(targets), strict=True):
            for c in range(p.shape[1]):
                for d in range(q.shape[1]):
                    joint = np.mean(p[:, c] * q[:, d])
                    apart = np.mean(p[:, c]) * np.mean(q[:, d])
                    scores[n] += w * joint * math.log(joint / apart) if joint > 0 else 0
    return scores / len(targets)


def test_worked_numbers(tensor_a):
    log_probs = acquire.from_probs(tensor_a)
    assert np.asarray(acquire.epig(log_probs, log_probs[[3, 5], ...])) == pytest.approx(EPIG, abs=1e-6)


def test_an_item_tells_less_about_its_own_label_than_about_the_parameters(tensor_a):
    item = acquire.from_probs(tensor_a)[5:, ...]
    assert float(acquire.epig(item, item)[0]) == pytest.approx(0.138379277, abs=1e-7)
    assert float(acquire.bald(item)[0]) == pytest.approx(0.279288370, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 6), st.integers(2, 4), st.integers(2, 4), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_definition_and_the_bounds(draws, classes, others, targets, seed):
    pool, target = random(seed, 6, draws, classes), random(seed + 1, targets, draws, others, 5.0)
    weights = np.random.default_rng(seed).dirichlet([1.0] * targets) * targets
    scores = acquire.epig(pool, target, weights)
    assert scores == pytest.approx(by_definition(pool, target, weights), abs=1e-12)
    assert np.all(scores >= 0)
    assert np.all(scores <= acquire.bald(pool) + 1e-12)
    assert np.all(scores <= np.mean(weights * acquire.bald(target)) + 1e-12)


def test_invariances():
    pool, target = random(0, 9, 5, 3), random(1, 4, 5, 3)
    scores = acquire.epig(pool, target)
    samples, items, classes = ([4, 2, 0, 1, 3], np.arange(9)[::-1], [2, 0, 1])
    assert acquire.epig(pool[:, samples], target[:, samples]) == pytest.approx(scores, abs=1e-13)
    assert acquire.epig(pool[items], target[::-1]) == pytest.approx(scores[items], abs=1e-13)
    assert acquire.epig(pool[:, :, classes], target) == pytest.approx(scores, abs=1e-13)
    twice = [np.concatenate([x, x], axis=1) for x in (pool, target)]
    assert acquire.epig(*twice) == pytest.approx(scores, abs=1e-13)


def test_it_is_linear_in_the_targets():
    pool, target = random(0, 9, 5, 3), random(1, 4, 5, 3)
    each = [acquire.epig(pool, target[m : m + 1]) for m in range(4)]
    assert acquire.epig(pool, target) == pytest.approx(np.mean(each, axis=0), abs=1e-13)
    weighted = (each[0] + 3 * each[2]) / 4
    assert acquire.epig(pool, target, np.array([1, 0, 3, 0])) == pytest.approx(weighted, abs=1e-13)


def test_targets_of_which_the_model_is_sure_make_every_score_zero():
    constant = np.repeat(random(1, 4, 1, 3), 5, axis=1)
    assert np.all(acquire.epig(random(0, 9, 5, 3), constant) == 0)
    assert np.all(acquire.epig(constant.astype(np.float32), random(0, 9, 5, 3).astype(np.float32)) == 0)


def test_samples_are_shared_with_the_targets():
    """Pitfall: other masks for the targets than for the pool destroy the dependence."""
    pool = np.array([[[0.99, 0.01], [0.01, 0.99], [0.99, 0.01], [0.01, 0.99]]])
    other = pool[:, [0, 0, 1, 1]]
    pool, other = acquire.from_probs(pool), acquire.from_probs(other)
    assert acquire.epig(pool, pool)[0] > 0.5
    assert acquire.epig(pool, other)[0] == pytest.approx(0, abs=1e-15)


def test_the_targets_decide():
    """BALD wants item 0, which says nothing of the target; entropy wants item 2, which is noise."""
    sure, unsure = [0.95, 0.05], [0.3, 0.7]
    pool = [
        [sure, sure, sure[::-1], sure[::-1]],
        [sure, unsure, sure, unsure],
        [[0.5, 0.5]] * 4,
    ]
    target = [[[0.9, 0.1], [0.2, 0.8], [0.9, 0.1], [0.2, 0.8]]]
    pool, target = acquire.from_probs(np.array(pool)), acquire.from_probs(np.array(target))
    favourites = [int(np.argmax(f)) for f in (acquire.bald(pool), acquire.epig(pool, target))]
    assert favourites == [0, 1]
    assert acquire.epig(pool, target)[0] == pytest.approx(0, abs=1e-15)
    assert acquire.entropy(pool)[2] == pytest.approx(math.log(2))


def test_targets_are_always_said():
    """Pitfall: the labelled set as targets. It improves predictions where labels are known already."""
    for function in (acquire.epig, select.batch_epig):
        assert inspect.signature(function).parameters["target_log_probs"].default is inspect.Parameter.empty


def test_kinds_of_array_agree():
    pool, target = random(0, 50, 20, 10), random(1, 30, 20, 10)
    expected = acquire.epig(pool, target)
    assert expected.dtype == np.float64
    for convert, tolerance in (
        (lambda x: torch.tensor(x), 1e-13),
        (lambda x: torch.tensor(x, dtype=torch.float32), 1e-6),
        (lambda x: x.astype(np.float32), 1e-6),
        (lambda x: torch.tensor(np.ascontiguousarray(x.T)).permute(2, 1, 0), 1e-13),
    ):
        here, there = convert(pool), convert(target)
        before = here + 0, there + 0
        scores = acquire.epig(here, there)
        assert type(scores) is type(here)
        assert str(scores.dtype).endswith("float64")
        assert np.asarray(scores) == pytest.approx(expected, abs=tolerance)
        assert bool((here == before[0]).all())
        assert bool((there == before[1]).all())
    half = [torch.tensor(x).to(torch.bfloat16) for x in (pool, target)]
    exact = [torch.log_softmax(x.double(), 2) for x in half]
    assert acquire.epig(*half).numpy() == pytest.approx(acquire.epig(*exact).numpy(), abs=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4])
def test_float32_keeps_its_digits_where_dependence_is_weak(scale):
    """A difference of three entropies in float32 would be lost in ±1e-6."""
    logits = np.random.default_rng(0).normal(size=(60, 10, 5))
    spread = np.random.default_rng(1).normal(size=(60, 10, 5)) * scale
    pool = acquire.from_logits((logits[:, :1] + spread).astype(np.float32))
    exact = acquire.epig(pool.astype(np.float64), pool[:40].astype(np.float64))
    assert acquire.epig(pool, pool[:40]) == pytest.approx(exact, rel=2e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_certainties_are_exact(dtype):
    """Two samples that are sure, and of different classes, for pool and target: one bit."""
    sure = acquire.from_probs(np.array([[[1, 0, 0], [0, 1, 0]], [[1, 0, 0], [1, 0, 0]]], dtype))
    assert acquire.epig(sure, sure[:1]) == pytest.approx(
        [math.log(2), 0], abs=1e-6 if dtype == np.float32 else 1e-14
    )
    far = np.where(np.isinf(sure), -1e4, sure).astype(dtype)
    assert acquire.epig(far, far[:1]) == pytest.approx(
        [math.log(2), 0], abs=1e-6 if dtype == np.float32 else 1e-14
    )


@pytest.mark.parametrize("block", [1, 100, 2**30])
def test_blocks_do_not_matter(monkeypatch, block):
    pool, target = random(0, 40, 6, 4), random(1, 7, 6, 4)
    expected = acquire.epig(pool, target)
    monkeypatch.setattr(prediction, "_CPU_BLOCK", block)
    assert acquire.epig(pool, target) == pytest.approx(expected, abs=1e-14)
    parts = [acquire.epig(part, target) for part in np.array_split(pool, [1, 17])]
    assert np.concatenate(parts) == pytest.approx(expected, abs=1e-14)


def test_memory_is_bounded():
    pool, target = random(0, 4000, 4, 4), random(1, 500, 4, 4)  # every joint probability: 256 MB
    tracemalloc.start()
    acquire.epig(pool, target)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6


def test_places_of_the_pool_are_kept():
    pool, target = random(0, 30, 6, 4).reshape(5, 3, 2, 6, 4), random(1, 7, 6, 4)
    scores = acquire.epig(np.moveaxis(pool, (3, 4), (1, 2)), target)
    assert scores.shape == (5, 3, 2)
    assert scores[4, 1, 0] == pytest.approx(acquire.epig(pool[4:5, 1, 0], target)[0], abs=1e-14)
    assert acquire.epig(pool[:0, 0, 0], target).shape == (0,)


def test_gradients_flow():
    logits = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    log_probs = torch.log_softmax(logits, 2)
    acquire.epig(log_probs, log_probs.detach()[:2]).sum().backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) > 0


def test_one_sample_shows_no_dependence():
    one = random(0, 4, 1, 3)
    with pytest.warns(TieBreakWarning, match="epig measures"):
        assert acquire.epig(one, one).tolist() == [0] * 4


@pytest.mark.parametrize("broken", [0, 1])
def test_bad_rows_are_named(broken):
    both = [random(0, 5, 4, 3), random(1, 5, 4, 3)]
    both[broken][3, 1, 2] = np.nan
    with pytest.raises(InvalidPredictions, match="item 3, sample 1"):
        acquire.epig(*both)


@pytest.mark.parametrize(
    ("target", "weights", "message"),
    [
        (random(1, 5, 3, 3), None, "the pool has 4 samples and the targets have 3"),
        (random(1, 0, 4, 3), None, "M of at least 1"),
        (random(1, 2, 4, 3)[..., None], None, "M of at least 1"),
        (random(1, 2, 4, 3), np.ones(3), "2 weights"),
        (random(1, 2, 4, 3), np.array([1.0, -1.0]), r"weight 1 is -1\.0"),
        (random(1, 2, 4, 3), np.array([np.nan, 1.0]), "weight 0 is nan"),
        (torch.tensor(random(1, 2, 4, 3)), None, "different libraries"),
    ],
)
def test_what_does_not_fit_is_refused(target, weights, message):
    with pytest.raises(InvalidArgument, match=message):
        unchecked(random(0, 5, 4, 3), target, weights)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_and_keeps_it_there():
    pool, target = (
        torch.tensor(x, dtype=torch.float32) for x in (random(0, 20_000, 20, 10), random(1, 50, 20, 10))
    )
    there = acquire.epig(pool.cuda(), target.cuda())
    assert there.device.type == "cuda"
    assert there.cpu().numpy() == pytest.approx(acquire.epig(pool, target).numpy(), abs=1e-6)
    with pytest.raises(InvalidArgument, match="move one"):
        acquire.epig(pool.cuda(), target)
