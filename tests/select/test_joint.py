import itertools
import math

import numpy as np
import pytest
import torch
from bench.pools import heads

from baldur import acquire, select
from baldur.errors import InvalidArgument, InvalidPredictions, TieBreakWarning
from baldur.select import joint
from baldur.select._candidates import mean_information, prepare
from baldur.select._configurations import nothing_known, with_every_label, with_one_label, with_repeats

AGREE, DISAGREE = [0.9, 0.05, 0.05], [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]]
TENSOR_A = np.array(
    [
        [AGREE] * 3,
        DISAGREE,
        [[0.4, 0.35, 0.25]] * 3,
        [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]],
        DISAGREE,
        [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]],
    ]
)


def information(probs, items):
    """I(y_S; ω) by its definition, over all label vectors."""
    _, draws, classes = probs.shape
    total = 0.0
    for labels in itertools.product(range(classes), repeat=len(items)):
        each = np.prod([probs[i, :, y] for i, y in zip(items, labels, strict=True)], axis=0)
        total += sum(p * math.log(p / each.mean()) for p in each if p > 0) / draws
    return total


def greedy(probs, k):
    """Plain greedy, by definition; the lowest index of equal gains."""
    chosen, last = [], 0.0
    gains = []
    for _ in range(k):
        values = [-math.inf if i in chosen else information(probs, [*chosen, i]) for i in range(len(probs))]
        best = next(i for i, value in enumerate(values) if value >= max(values) - 1e-11)
        gains.append(values[best] - last)
        last = values[best]
        chosen.append(best)
    return chosen, gains


def pool(seed, shape, scale=2.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=shape) * scale
    return logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))


def joint_of(log_probs, items):
    """The information that the library claims for these items, in this order."""
    return select.batchbald(log_probs[np.array(items)], len(items)).info["information"][-1]


@pytest.mark.parametrize("kind", ["numpy", "numpy float32", "torch", "torch float32"])
def test_the_worked_example(kind):
    library, _, dtype = kind.partition(" ")
    log_probs = np.log(TENSOR_A).astype(dtype or "float64")
    picks = select.batchbald(log_probs if library == "numpy" else torch.from_numpy(log_probs), 4)
    assert picks.indices.tolist() == [1, 4, 5, 3]
    assert picks.indices.dtype == np.intp
    expected = np.array([0.70421460, 0.91694027, 0.96225303, 0.97090700])
    tolerance = 1e-6 if dtype else 1e-8
    assert picks.info["information"] == pytest.approx(expected, abs=tolerance)
    assert picks.scores == pytest.approx(np.diff(expected, prepend=0), abs=2 * tolerance)
    assert picks.info["saturation"] == pytest.approx(expected / math.log(3), abs=tolerance)
    assert (picks.info["gap"], picks.info["exact"], picks.info["filled"]) == (0.0, 4, 0)
    assert select.batchbald(log_probs, 99).info["information"][-1] == pytest.approx(0.97090700, abs=tolerance)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ((1, 4), 0.91694027),
        ((1, 5), 0.78927351),
        ((1, 3), 0.73021982),
        ((3, 5), 0.33128721),
        ((1, 4, 5), 0.96225303),
        ((1, 3, 5), 0.80909526),
    ],
)
def test_joint_information_of_the_example(items, expected):
    assert joint_of(np.log(TENSOR_A), items) == pytest.approx(expected, abs=1e-8)
    assert joint_of(np.log(np.repeat(TENSOR_A, 2, axis=1)), items) == pytest.approx(expected, abs=1e-8)


def test_samples_must_be_the_same_for_all_items():
    """Pitfall: masks that are tied to the place in a batch re-order the samples of one item: BALD cannot tell."""
    moved = TENSOR_A.copy()
    for order, expected in (((1, 2, 0), 0.36859363), ((2, 0, 1), 0.34054413)):
        moved[5] = TENSOR_A[5][list(order)]
        assert acquire.bald(np.log(moved))[5] == pytest.approx(0.27928837, abs=1e-8)
        assert joint_of(np.log(moved), (3, 5)) == pytest.approx(expected, abs=1e-8)
        everywhere = np.log(TENSOR_A[:, list(order)])
        assert joint_of(everywhere, (3, 5)) == pytest.approx(0.33128721, abs=1e-8)


def test_duplicates_are_not_always_redundant():
    """A second look at a noisy label informs; at a sure one it does not."""
    first, other = (
        [[0.1, 0.2, 0.3, 0.4], [0.15, 0.15, 0.3, 0.4]],
        [[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.16, 0.14]],
    )
    noisy = np.log(np.array([first, first, other]))
    picks = select.batchbald(noisy, 2)
    assert picks.indices.tolist() == [0, 1]
    assert picks.info["information"] == pytest.approx([0.00430878, 0.00858085], abs=1e-8)
    assert joint_of(noisy, (0, 2)) == pytest.approx(0.00707287, abs=1e-8)
    with np.errstate(divide="ignore"):
        sure = np.log(
            np.array([[[1.0, 0], [1, 0], [0, 1], [0, 1]]] * 2 + [[[0.5, 0.5], [1, 0], [0.5, 0.5], [1, 0]]])
        )
    assert select.batchbald(sure, 3).indices.tolist() == [0, 2, 1]
    assert joint_of(sure, (0, 1)) == pytest.approx(math.log(2), abs=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_lazy_greedy_is_plain_greedy(seed):
    """Pitfall: gains that are ranked again afterwards, so that the first pick is lost. With duplicates and ties."""
    rng = np.random.default_rng(seed)
    log_probs = pool(seed, (12, 6, 3), scale=rng.uniform(0.5, 1.5))
    log_probs = log_probs[rng.integers(12, size=16)]
    before = log_probs.copy()
    picks = select.batchbald(log_probs, 4)
    chosen, gains = greedy(np.exp(log_probs), 4)
    assert picks.info["filled"] == 0
    assert picks.indices.tolist() == chosen
    assert picks.scores == pytest.approx(gains, abs=1e-10)
    assert picks.indices[0] == np.argmax(acquire.bald(log_probs))
    assert (np.diff(picks.scores) <= 1e-12).all()
    assert picks.scores.sum() <= min(math.log(6), acquire.bald(log_probs)[picks.indices].sum()) + 1e-12
    assert np.array_equal(before, log_probs)


def test_lazy_greedy_computes_few_gains():
    log_probs = pool(3, (3000, 8, 4)) * 1.0
    log_probs[200:] = pool(4, (2800, 8, 4), scale=0.3)
    picks = select.batchbald(log_probs, 4)
    assert picks.info["evaluations"][1:].max() < 1000


@pytest.mark.parametrize("seed", range(8))
def test_greedy_is_near_the_best_batch(seed):
    log_probs = pool(seed, (8, 6, 3))
    best = max(information(np.exp(log_probs), s) for s in itertools.combinations(range(8), 3))
    assert 0.95 * best <= select.batchbald(log_probs, 3).scores.sum() <= best + 1e-12


def test_greedy_finds_the_best_batches_of_the_example():
    for k in (2, 3):
        best = max(itertools.combinations(range(6), k), key=lambda s: information(TENSOR_A, s))
        assert sorted(select.batchbald(np.log(TENSOR_A), k).indices.tolist()) == list(best)


def test_every_sibling_chooses_worse():
    """Copies of the best item, with sure labels: top-k BALD and entropy take the copies, BatchBALD does not."""
    rng = np.random.default_rng(0)
    sure = np.where(rng.integers(2, size=(5, 16, 1)) == np.arange(2), 0.95, 0.05)
    log_probs = np.log(np.concatenate([np.repeat(sure[:1], 6, axis=0) * [0.999, 1.001], sure[1:]]))
    log_probs -= np.log(np.exp(log_probs).sum(axis=2, keepdims=True))
    ours = select.batchbald(log_probs, 4).indices
    reached = information(np.exp(log_probs), ours)
    for scores in (acquire.bald(log_probs), acquire.entropy(log_probs)):
        assert reached > information(np.exp(log_probs), select.top(scores, 4).indices) + 0.05
    assert (
        reached
        > np.mean([information(np.exp(log_probs), select.random(10, 4, s).indices) for s in range(10)]) + 0.05
    )


def drawn(log_probs, chosen, repeats, seed=0):
    rows = prepare(log_probs).log_rows(np.array(chosen))
    return with_repeats(nothing_known(log_probs), rows, repeats, np.random.default_rng(seed))


def test_drawn_configurations_approach_all_of_them():
    """With M, as M^-1/2 or faster. Pitfall: M // T = 0; for fewer configurations than samples there is one for each."""
    log_probs = pool(0, (40, 6, 4), scale=1.0)
    candidates, items = prepare(log_probs), np.arange(3, 40)
    every = nothing_known(log_probs)
    for row in candidates.log_rows(np.arange(3)):
        every = with_every_label(every, row)
    exact = mean_information(candidates, items, every.weights, every.share)
    errors = []
    for repeats in (4, 64, 1024):
        each = [drawn(log_probs, [0, 1, 2], repeats, seed) for seed in range(8)]
        gains = [mean_information(candidates, items, known.weights, known.share) for known in each]
        errors.append(np.sqrt(np.mean((np.array(gains) - exact) ** 2)))
        assert np.mean([known.undecided for known in each]) == pytest.approx(
            every.undecided, abs=5 * errors[-1]
        )
    assert errors[1] < errors[0] / 3
    assert errors[2] < errors[1] / 3
    picks = select.batchbald(log_probs, 5, max_configurations=1)
    assert picks.info["configurations"].tolist() == [1, 6, 6, 6, 6]


def test_extended_configurations_are_drawn_from_the_same_distribution():
    log_probs = pool(1, (30, 5, 3), scale=1.0)
    candidates, items = prepare(log_probs), np.arange(2, 30)
    rows = candidates.log_rows(np.arange(2))
    at_once = drawn(log_probs, [0, 1], 2000)
    rng = np.random.default_rng(1)
    extended = with_one_label(with_repeats(nothing_known(log_probs), rows[:1], 2000, rng), rows[1], rng)
    shrunk = with_repeats(extended, rows, 1500, rng)
    grown = with_repeats(shrunk, rows, 2500, rng)
    assert [len(known) for known in (shrunk, grown)] == [7500, 12500]
    expected = mean_information(candidates, items, at_once.weights, at_once.share)
    for known in (extended, shrunk, grown):
        assert mean_information(candidates, items, known.weights, known.share) == pytest.approx(
            expected, abs=0.01
        )


@pytest.mark.parametrize(("seed", "repeats"), [*itertools.product(range(4), (1, 2, 20))])
def test_pruning_changes_nothing(seed, repeats):
    """The bounds hold for the very configurations drawn, so that the winner is the winner of all."""
    rng = np.random.default_rng(seed)
    log_probs = pool(seed, (600, 8, 4), scale=1.0) * np.where(rng.random((600, 1, 1)) < 0.5, 1.0, 0.2)
    log_probs -= np.log(np.exp(log_probs).sum(axis=2, keepdims=True))
    candidates, known = prepare(log_probs), drawn(log_probs, [0, 1, 2, 3][: seed + 1], repeats, seed)
    alive = np.arange(600) >= 4
    stale = candidates.bald * rng.uniform(0, 1, 600)
    leaders, evaluations = joint.leaders(candidates, known, stale, alive)
    gains = mean_information(candidates, np.flatnonzero(alive), known.weights, known.share)
    assert np.flatnonzero(alive)[np.argmax(gains)] in leaders
    assert evaluations < 596


def test_information_stays_below_log_t_and_the_rest_of_a_saturated_batch_is_drawn():
    """Pitfall: sums of noisy gains that pass log T; a ranking by samples that are told apart is noise."""
    log_probs = pool(5, (300, 10, 5), scale=3.0)
    picks = select.batchbald(log_probs, 40, max_configurations=200, rng=1)
    info = picks.info
    assert len(set(picks.indices.tolist())) == 40
    assert picks.scores.sum() <= math.log(10)
    assert info["information"] == pytest.approx(np.cumsum(picks.scores))
    assert info["saturation"].max() <= 1
    assert 30 < info["filled"] < 40
    assert (picks.scores >= 0).all()
    assert 0 < info["gap"] <= 0.05 + 6 * info["standard_error"].sum()
    again = select.batchbald(log_probs, 40, max_configurations=200, rng=np.random.default_rng(1))
    assert again.indices.tolist() == picks.indices.tolist()
    other = select.batchbald(log_probs, 40, max_configurations=200, rng=2)
    assert other.indices.tolist() != picks.indices.tolist()


def test_auto_keeps_its_standard_error():
    log_probs = pool(6, (200, 40, 6), scale=1.0)
    info = select.batchbald(log_probs, 12).info
    assert 0 < info["exact"] < 12
    drawn = info["standard_error"][info["exact"] :]
    assert drawn.max() <= 1.5 * joint.STANDARD_ERROR
    assert drawn.min() >= joint.STANDARD_ERROR / 1.5, "more configurations than needed"
    assert info["configurations"].max() <= 40_000
    assert info["gap"] > 0


def test_numpy_and_torch_agree():
    log_probs = pool(7, (400, 12, 5), scale=1.0).astype(np.float32)
    ours = select.batchbald(log_probs, 10, rng=3)
    theirs = select.batchbald(torch.from_numpy(log_probs), 10, rng=3)
    assert theirs.indices.tolist() == ours.indices.tolist()
    assert theirs.scores == pytest.approx(ours.scores, abs=1e-6)
    wide = select.batchbald(log_probs.astype(np.float64), 10, rng=3)
    assert wide.indices.tolist() == ours.indices.tolist()


def test_half_precision_is_renormalised():
    """bfloat16 stays in torch, so that the path of a device is run here too."""
    brain = torch.from_numpy(pool(10, (100, 12, 4), scale=1.0)).to(torch.bfloat16)
    exact = torch.log_softmax(brain.float(), dim=2)
    found, expected = select.batchbald(brain, 9, rng=1), select.batchbald(exact, 9, rng=1)
    assert found.info["exact"] == 7
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.scores == pytest.approx(expected.scores, abs=1e-5)


def test_a_pool_too_large_to_keep_gives_the_same(monkeypatch):
    log_probs = pool(8, (400, 12, 5), scale=1.0)
    kept = select.batchbald(log_probs, 8, rng=3)
    monkeypatch.setattr("baldur.select._candidates._STORED", 0)
    again = select.batchbald(log_probs, 8, rng=3)
    assert again.indices.tolist() == kept.indices.tolist()
    assert again.scores == pytest.approx(kept.scores, abs=1e-12)


def test_invariances():
    log_probs = pool(9, (60, 6, 3), scale=1.0)
    expected = select.batchbald(log_probs, 4)
    rng = np.random.default_rng(0)
    items, samples = rng.permutation(60), rng.permutation(6)
    assert items[select.batchbald(log_probs[items], 4).indices].tolist() == expected.indices.tolist()
    assert select.batchbald(log_probs[:, samples], 4).indices.tolist() == expected.indices.tolist()
    mixed = np.take_along_axis(log_probs, rng.permuted(np.tile(np.arange(3), (60, 1, 1)), axis=2), axis=2)
    assert select.batchbald(mixed, 4).scores == pytest.approx(expected.scores, abs=1e-10)


def test_zeros_are_legal():
    """Pitfall: 0 log 0 and exp(-inf) * -inf, which are NaN."""
    rng = np.random.default_rng(0)
    sure = np.where(np.eye(3)[rng.integers(3, size=(20, 9))] == 1, 0.0, -np.inf)
    for log_probs in (sure, sure.astype(np.float32), np.where(np.isinf(sure), -1e4, sure)):
        picks = select.batchbald(log_probs, 6)
        assert np.isfinite(picks.scores).all()
        assert picks.scores.sum() <= math.log(9) + 1e-12


def test_borders():
    log_probs = np.log(TENSOR_A)
    assert len(select.batchbald(log_probs, 0)) == 0
    assert len(select.batchbald(log_probs[:0], 3)) == 0
    assert sorted(select.batchbald(log_probs, 9).indices.tolist()) == list(range(6))
    with pytest.warns(TieBreakWarning, match="T is 1"):
        picks = select.batchbald(log_probs[:, :1], 3)
    assert picks.scores.tolist() == [0, 0, 0]
    assert picks.info["filled"] == 3
    same = select.batchbald(np.repeat(log_probs[:, :1], 4, axis=1), 3)
    assert same.scores == pytest.approx([0, 0, 0], abs=1e-12)


def test_bad_input_is_refused():
    log_probs = np.log(TENSOR_A)
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        select.batchbald(log_probs, -1)
    with pytest.raises(InvalidArgument, match="max_configurations is 'auto' or"):
        select.batchbald(log_probs, 1, max_configurations=0)
    broken = log_probs.copy()
    broken[2, 1, 0] = np.nan
    with pytest.raises(InvalidPredictions, match="item 2, sample 1"):
        select.batchbald(broken, 1)
    with pytest.raises(InvalidPredictions, match="item 0, sample 0"):
        select.batchbald(TENSOR_A, 1)


def streamed(log_probs, k, memory="1GiB", **options):
    """The same through reads, and which items were read."""
    seen = []

    def read(positions):
        seen.append(positions)
        return log_probs[positions]

    picks = select.streamed_batchbald(acquire.bald(log_probs), read, k, memory=memory, **options)
    assert all((np.diff(positions) > 0).all() for positions in seen)
    assert picks.info["read"] == sum(map(len, seen)) - 1  # the first tells the shape
    unread = np.setdiff1d(np.arange(len(log_probs)), np.concatenate(seen))
    assert picks.info["left_out"] == len(unread)
    assert picks.info["left_out_bald"] == pytest.approx(acquire.bald(log_probs)[unread].max(initial=0.0))
    return picks


@pytest.mark.parametrize("most", ["auto", 60])
@pytest.mark.parametrize("memory", ["1GiB", "100KiB"])
def test_streamed_picks_are_those_of_the_whole_pool(most, memory):
    """Exact and drawn configurations, and a batch that uses the samples up; with and without room for what is read."""
    for seed, spread, k in ((0, 0.5, 8), (1, 0.2, 5), (2, 3.0, 12)):
        log_probs = heads(1500, 20, 4, seed, spread)
        whole = select.batchbald(log_probs, k, most, rng=3)
        picks = streamed(log_probs, k, memory, max_configurations=most, rng=3)
        assert picks.indices.tolist() == whole.indices.tolist()
        assert picks.scores == pytest.approx(whole.scores, abs=1e-6)
        assert picks.info["gap"] == pytest.approx(whole.info["gap"])
    assert whole.info["filled"]


def test_what_cannot_win_is_not_read():
    log_probs = heads(6000, 20, 4, 0, 0.3)
    picks = streamed(log_probs, 4)
    assert picks.info["left_out"] > 3000
    assert picks.info["left_out_bald"] <= picks.scores.min() + 1e-6
    assert streamed(log_probs[:3], 5).indices.size == 3
    assert len(select.streamed_batchbald(np.zeros(0), log_probs.__getitem__, 3)) == 0
    with pytest.raises(InvalidArgument, match=r"\(2, 20, 4\), were expected, not \(1, 20, 4\)"):
        select.streamed_batchbald(np.array([0.1, 0.2, 0.3]), lambda positions: log_probs[:1], 2)
