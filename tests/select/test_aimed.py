import inspect
import itertools
import math

import numpy as np
import pytest
import torch

from baldur import acquire, select
from baldur.errors import InvalidArgument, InvalidPredictions


def pool(seed, shape, scale=1.0):
    logits = np.random.default_rng(seed).normal(size=shape) * scale
    return logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))


def information(probs, targets, items):
    """(1/M) Σ_m I(y_S; y_m) by its definition, over all label vectors."""
    total = 0.0
    for labels in itertools.product(range(probs.shape[2]), repeat=len(items)):
        each = np.prod([probs[i, :, y] for i, y in zip(items, labels, strict=True)], axis=0)
        both = np.einsum("t,mtk->mk", each, targets) / len(each)
        total += (both * np.log(both / (each.mean() * targets.mean(axis=1)))).sum() / len(targets)
    return total


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_two_labels_may_say_together_what_neither_says_alone(library):
    """So lazy greedy would not be exact here: gains rise."""
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    sure = [np.where(label[:, None] == np.arange(2), 0.99, 0.01) for label in (a, b, a ^ b)]
    log_probs, targets = np.log(sure[:2]), np.log(sure[2:])
    if library == "torch":
        log_probs, targets = torch.from_numpy(log_probs), torch.from_numpy(targets)
    picks = select.batch_epig(log_probs, 2, target_log_probs=targets)
    assert picks.scores == pytest.approx([0, 0.56048291], abs=1e-8)
    assert picks.indices.tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(4))
def test_greedy_by_definition(seed):
    log_probs, targets = pool(seed, (10, 6, 3), 1.5), pool(seed + 50, (4, 6, 2), 1.5)
    picks = select.batch_epig(log_probs, 3, target_log_probs=targets)
    chosen, last = [], 0.0
    for step in range(3):
        values = {
            i: information(np.exp(log_probs), np.exp(targets), [*chosen, i])
            for i in range(10)
            if i not in chosen
        }
        chosen.append(max(values, key=values.get))
        assert picks.scores[step] == pytest.approx(values[chosen[-1]] - last, abs=1e-10)
        last = values[chosen[-1]]
    assert picks.indices.tolist() == chosen
    assert picks.info["gap"] == 0
    scores = acquire.epig(log_probs, targets)
    assert picks.indices[0] == np.argmax(scores)
    assert picks.scores[0] == pytest.approx(scores.max(), abs=1e-10)


def test_drawn_configurations_approach_all_of_them():
    log_probs, targets = pool(0, (40, 8, 4), 1.5), pool(1, (5, 8, 4), 1.5)
    exact = select.batch_epig(log_probs, 4, target_log_probs=targets, max_configurations=64)
    drawn = select.batch_epig(log_probs, 4, target_log_probs=targets, max_configurations=3, rng=1)
    assert drawn.info["configurations"].tolist() == [1, 8, 8, 8]
    near = select.batch_epig(
        log_probs[exact.indices], 4, target_log_probs=targets, max_configurations=4000, rng=1
    )
    assert near.info["information"][-1] == pytest.approx(exact.info["information"][-1], abs=1e-10)
    auto = select.batch_epig(log_probs, 4, target_log_probs=targets, max_configurations="auto")
    assert auto.indices.tolist() == exact.indices.tolist()


def test_only_what_may_win_is_computed():
    log_probs = np.concatenate([pool(0, (20, 8, 4), 2.0), pool(1, (500, 8, 4), 0.05)])
    picks = select.batch_epig(log_probs, 2, target_log_probs=pool(2, (5, 8, 4), 2.0))
    assert picks.info["evaluations"].max() < 200


def test_targets_where_nothing_is_in_doubt_give_no_gain():
    targets = np.repeat(pool(0, (3, 1, 4)), 8, axis=1)
    picks = select.batch_epig(pool(1, (9, 8, 4)), 3, target_log_probs=targets)
    assert picks.scores == pytest.approx([0, 0, 0], abs=1e-12)
    assert len(set(picks.indices.tolist())) == 3


def test_borders_and_bad_input():
    log_probs, targets = pool(0, (5, 4, 3)), pool(1, (2, 4, 3))
    before = log_probs.copy()
    assert len(select.batch_epig(log_probs, 0, target_log_probs=targets)) == 0
    assert sorted(select.batch_epig(log_probs, 9, target_log_probs=targets).indices.tolist()) == list(
        range(5)
    )
    assert np.array_equal(before, log_probs)
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        select.batch_epig(log_probs, -1, target_log_probs=targets)
    with pytest.raises(InvalidArgument, match="4 samples and the targets have 3"):
        inspect.unwrap(select.batch_epig)(log_probs, 1, target_log_probs=targets[:, :3])
    with pytest.raises(InvalidArgument, match="M of at least 1"):
        select.batch_epig(log_probs, 1, target_log_probs=targets[:0])
    with pytest.raises(InvalidArgument, match="different libraries"):
        select.batch_epig(log_probs, 1, target_log_probs=torch.from_numpy(targets))
    with pytest.raises(InvalidPredictions, match="item 0, sample 0"):
        select.batch_epig(log_probs, 1, target_log_probs=np.exp(targets))
    assert math.isfinite(
        select.batch_epig(log_probs, 5, target_log_probs=targets, max_configurations=1).scores.sum()
    )
