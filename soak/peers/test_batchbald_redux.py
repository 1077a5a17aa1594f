"""batchbald-redux 2.0.5: where it is right we agree, and where it is not a pool shows it."""

import itertools
import math

import numpy as np
import pytest
import torch

from baldur import acquire, select
from baldur.select._candidates import mean_information, prepare


def pool(seed, shape, scale=1.5):
    return acquire.from_logits(scale * np.random.default_rng(seed).normal(size=shape))


def information(log_probs, items):
    """I(y_S; ω) over all label vectors."""
    p, total = np.exp(log_probs), 0.0
    for labels in itertools.product(range(p.shape[2]), repeat=len(items)):
        each = np.prod([p[i, :, y] for i, y in zip(items, labels, strict=True)], axis=0)
        total += np.mean(each * np.log(each / each.mean()))
    return total


def theirs(redux, log_probs, k, samples, dtype=torch.double):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return redux.batchbald.get_batchbald_batch(torch.from_numpy(log_probs), k, samples, dtype=dtype)


def test_entropies_and_the_ranking_by_bald(redux):
    log_probs = pool(0, (300, 8, 5))
    tensor = torch.from_numpy(log_probs)
    entropy, conditional = (
        redux.batchbald.compute_entropy(tensor),
        redux.batchbald.compute_conditional_entropy(tensor),
    )
    assert acquire.entropy(log_probs) == pytest.approx(entropy.numpy(), abs=1e-12)
    assert acquire.expected_entropy(log_probs) == pytest.approx(conditional.numpy(), abs=1e-12)
    batch = redux.batchbald.get_bald_batch(tensor, 9)
    picks = select.top(acquire.bald(log_probs), 9)
    assert picks.indices.tolist() == batch.indices
    assert picks.scores == pytest.approx(batch.scores, abs=1e-12)


@pytest.mark.parametrize("items", [(3,), (0, 5), (7, 1, 4), (2, 2, 6)])
def test_joint_entropy_of_all_configurations(redux, items):
    """H(y_S) = I(y_S; ω) + Σ_i E_t H(p_i)."""
    log_probs = pool(1, (8, 6, 4))[list(items)]
    joint = redux.joint.ExactJointEntropy.empty(6, dtype=torch.double).add_variables(
        torch.from_numpy(log_probs)
    )
    ours = select.batchbald(log_probs, len(items)).info["information"][-1]
    assert ours + acquire.expected_entropy(log_probs).sum() == pytest.approx(
        float(joint.compute()), abs=1e-10
    )


@pytest.mark.parametrize("seed", range(3))
def test_exact_batches(redux, seed):
    log_probs = pool(seed, (100, 10, 4))
    batch, picks = theirs(redux, log_probs, 5, 10_000), select.batchbald(log_probs, 5)
    assert picks.indices.tolist() == batch.indices
    assert picks.info["information"] == pytest.approx(batch.scores, abs=1e-10)


def test_both_estimators_are_the_same_but_for_a_constant(redux):
    """For the very configurations that they drew, and the entropies of each sample weighed as these weigh them."""
    log_probs = pool(2, (60, 8, 4))
    tensor = torch.from_numpy(log_probs)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sampled = redux.joint.SampledJointEntropy.sample(tensor[:3].exp(), 400)
    rows = sampled.sampled_joint_probs_M_K.numpy()
    weights, share = rows / rows.sum(axis=1, keepdims=True), np.full(len(rows), 1 / len(rows))
    candidates = prepare(log_probs)
    conditional = -np.sum(np.exp(log_probs) * log_probs, axis=2) @ (share @ weights)
    ours = mean_information(candidates, np.arange(60), weights, share) + conditional
    theirs = sampled.compute_batch(tensor).numpy()
    assert theirs - ours == pytest.approx(np.full(60, float(sampled.compute())), abs=1e-10)


@pytest.mark.parametrize("seed", range(2))
def test_drawn_batches_begin_alike_and_ours_are_no_worse(redux, seed):
    log_probs = pool(seed, (80, 8, 3))
    batch, picks = theirs(redux, log_probs, 7, 100), select.batchbald(log_probs, 7, max_configurations=100)
    assert picks.indices[:5].tolist() == batch.indices[:5], "3⁴ configurations are all there are"
    best = information(log_probs, select.batchbald(log_probs, 7).indices)
    assert information(log_probs, picks.indices) > best - 0.02
    assert information(log_probs, batch.indices) < best + 1e-9


def test_pitfall_zeros_are_not_numbers(redux):
    """Pitfall: 0 log 0. One certain item, and the picks are the order of the pool."""
    log_probs = pool(3, (40, 6, 3))
    log_probs[0] = np.where(np.eye(3)[[0, 1, 2, 0, 1, 2]] == 1, 0.0, -np.inf)
    batch = theirs(redux, log_probs, 3, 1000)
    assert np.isnan(batch.scores).all()
    assert batch.indices[0] == 0
    picks = select.batchbald(log_probs, 3)
    assert np.isfinite(picks.scores).all()
    assert information(np.maximum(log_probs, -600), picks.indices) == pytest.approx(
        picks.scores.sum(), abs=1e-9
    )


def test_pitfall_fewer_configurations_than_samples(redux):
    """Pitfall: M // T = 0."""
    log_probs = pool(4, (40, 6, 3))
    with pytest.raises(RuntimeError, match="cannot sample"):
        theirs(redux, log_probs, 4, 5)
    assert select.batchbald(log_probs, 4, max_configurations=5).info["configurations"].tolist() == [
        1,
        3,
        6,
        6,
    ]


def test_pitfall_information_above_its_limit(redux):
    """Pitfall: sums of noisy gains pass log T, and fall from one step to the next."""
    log_probs = pool(5, (300, 10, 5), scale=3.0)
    batch = theirs(redux, log_probs, 10, 400)
    assert max(batch.scores) > math.log(10)
    assert min(np.diff(batch.scores)) < 0
    information = select.batchbald(log_probs, 10, max_configurations=400).info["information"]
    assert information.max() <= math.log(10)
    assert np.diff(information).min() >= 0


def test_pitfall_products_of_many_probabilities_vanish(redux):
    """Pitfall: Π p of some twenty points and a hundred classes is 0 in float32; the rest is chosen in order."""
    log_probs = pool(5, (30, 2, 100), scale=0.1).astype(np.float32)
    batch = theirs(redux, log_probs, 28, 50, dtype=torch.float32)
    assert np.isnan(batch.scores[-1])
    assert np.diff(batch.indices[-3:]).min() > 0
    picks = select.batchbald(log_probs, 28, max_configurations=50)
    assert np.isfinite(picks.scores).all()
    assert picks.info["filled"] == 0
