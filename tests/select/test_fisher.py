from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions
from baldur.select.fisher import _Fisher, _roots, bait

FEATURES = np.array([(1, 0), (0, 1), (1, 1), (2, 0.5)])
LOG_PROBS = acquire.from_probs(np.array([(0.5, 0.5), (0.9, 0.1), (0.6, 0.4), (0.8, 0.2)]))


def information(log_probs, features):
    p = np.exp(log_probs).mean(axis=1)
    return [np.kron(np.diag(q) - np.outer(q, q), np.outer(f, f)) for q, f in zip(p, features, strict=True)]


def objective(parts, chosen, base=0.0, lam=1.0):
    m = lam * np.eye(len(parts[0])) + base + sum(parts[i] for i in chosen)
    return np.trace(np.linalg.inv(m) @ np.mean(parts, axis=0))


def pool(seed, n=10, c=3, d=3):
    rng = np.random.default_rng(seed)
    return acquire.from_logits(rng.normal(size=(n, 2, c))), rng.normal(size=(n, d))


def test_the_worked_example():
    parts = information(LOG_PROBS, FEATURES)
    assert objective(parts, []) == pytest.approx(0.75)
    values = [objective(parts, [i]) for i in range(4)]
    assert values == pytest.approx([0.561666667, 0.721779661, 0.468367347, 0.383050847])
    picks = bait(LOG_PROBS, FEATURES, 1, oversample=1)
    assert picks.indices.tolist() == [3]
    assert picks.info["objective"] == pytest.approx([0.383050847])
    assert picks.scores == pytest.approx([0.75 - 0.383050847])
    pair = bait(LOG_PROBS, FEATURES, 2)
    assert sorted(pair.indices.tolist()) == [2, 3]
    assert pair.info["objective"][-1] == pytest.approx(0.29244871)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6))
def test_gains_are_direct_differences_both_ways(seed):
    log_probs, features = pool(seed)
    parts = information(log_probs, features)
    roots, x = _roots(log_probs, features)
    assert roots.shape == (10, 2, 3)
    fisher = _Fisher((roots, x), (roots[:0], x[:0]), 1.0)
    for i in (3, 5):
        fisher.add(i)
    now = objective(parts, [3, 5])
    assert fisher.objective() == pytest.approx(now)
    expected = [now - objective(parts, [3, 5, i]) for i in range(10)]
    assert fisher.gains() == pytest.approx(expected)
    expected = [objective(parts, [5]) - now, objective(parts, [3]) - now]
    assert fisher.losses([3, 5]) == pytest.approx(expected)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6))
def test_it_is_the_plain_forward_and_backward_greedy(seed):
    log_probs, features = pool(seed)
    parts = information(log_probs, features)
    added = []
    for _ in range(6):
        added.append(min(set(range(10)) - set(added), key=lambda i: objective(parts, [*added, i])))
    forward = [objective(parts, added[: i + 1]) for i in range(6)]
    assert bait(log_probs, features, 6, oversample=1).info["objective"] == pytest.approx(forward)
    while len(added) > 3:
        added.remove(min(added, key=lambda i: objective(parts, [j for j in added if j != i])))
    picks = bait(log_probs, features, 3)
    assert picks.indices.tolist() == added
    assert len(picks.info["removed"]) == 3
    assert (np.diff(picks.info["objective"]) <= 0).all()
    best = min(objective(parts, s) for s in combinations(range(10), 3))
    assert best - 1e-12 <= picks.info["objective"][-1] <= 1.2 * best


def test_a_long_run_does_not_drift(monkeypatch):
    log_probs, features = pool(0, n=150)
    picks = bait(log_probs, features, 120, oversample=1, regularisation=0.01)
    parts = information(log_probs, features)
    assert picks.info["objective"][-1] == pytest.approx(objective(parts, picks.indices, lam=0.01), rel=1e-9)
    monkeypatch.setattr("baldur.select._products.BLOCK", 100)
    again = bait(
        torch.from_numpy(log_probs), torch.from_numpy(features), 120, oversample=1, regularisation=0.01
    )
    assert np.array_equal(again.indices, picks.indices)


def by_roots(log_probs, features, lam):
    """The objective of a set by QR of √λ 1 over the Vᵀ: half the digits that an inverse of M loses."""
    p = np.exp(log_probs).mean(axis=1)
    columns = [
        np.kron((np.eye(len(q)) - q[:, None]) * np.sqrt(q), f[:, None]).T
        for q, f in zip(p, features, strict=True)
    ]
    fisher = np.concatenate(columns) / np.sqrt(len(p))

    def value(chosen):
        rows = [np.sqrt(lam) * np.eye(fisher.shape[1]), *(columns[i] for i in chosen)]
        return np.sum(np.linalg.solve(np.linalg.qr(np.concatenate(rows), mode="r").T, fisher.T) ** 2)

    return value


@pytest.mark.parametrize(("lam", "scale"), [(1.0, 1.0), (1.0, 30.0), (0.01, 1e3), (1e-3, 1e3)])
def test_large_features_and_little_regularisation_cost_no_precision(lam, scale):
    """An item then takes nearly all of M⁻¹ in its directions, and is the only one that tells of them."""
    log_probs, features = pool(0, n=40, d=5)
    features *= scale
    value = by_roots(log_probs, features, lam)
    forward = bait(log_probs, features, 10, oversample=1, regularisation=lam)
    added = forward.indices.tolist()
    now = value([])
    for i, u in enumerate(added):
        best = min(value([*added[:i], v]) for v in set(range(40)) - set(added[:i]))
        left = value(added[: i + 1])
        assert forward.info["objective"][i] == pytest.approx(left, rel=1e-6)
        assert now - left >= (1 - 1e-6) * (now - best), u
        now = left
    picks = bait(log_probs, features, 5, regularisation=lam)
    for u in picks.info["removed"]:
        least = min(value([i for i in added if i != v]) for v in added)
        added.remove(u)
        assert value(added) == pytest.approx(least, rel=1e-6)
    assert picks.indices.tolist() == added
    assert picks.info["objective"][-1] == pytest.approx(value(added), rel=1e-6)


def test_features_beyond_what_the_regularisation_can_be_seen_beside():
    log_probs, features = pool(0, n=40, d=5)
    picks = bait(log_probs, features * 1e9, 5, regularisation=1e-3)
    assert len(set(picks.indices.tolist())) == 5
    assert (picks.info["objective"] > 0).all()


def test_what_is_labelled_counts():
    """Labels in the direction that matters most leave the other to be asked for."""
    log_probs = acquire.from_probs(np.full((8, 2), 0.5))
    features = np.array([[3.0, 0.0]] * 4 + [[0.0, 2.0]] * 4)
    assert bait(log_probs, features, 1).indices.tolist() == [0]
    assert bait(
        log_probs, features, 1, labelled_log_probs=log_probs[:4], labelled=features[:4]
    ).indices.tolist() == [4]


def test_sizes_and_refusals():
    assert len(bait(LOG_PROBS, FEATURES, 0)) == len(bait(LOG_PROBS[:0], FEATURES[:0], 2)) == 0
    assert sorted(bait(LOG_PROBS, FEATURES, 9).indices.tolist()) == [0, 1, 2, 3]
    assert len(bait(LOG_PROBS, FEATURES * 0, 2)) == 2
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        bait(LOG_PROBS, FEATURES, -1)
    with pytest.raises(InvalidArgument, match="regularisation is above 0"):
        bait(LOG_PROBS, FEATURES, 1, regularisation=0.0)
    with pytest.raises(InvalidArgument, match="go together"):
        bait(LOG_PROBS, FEATURES, 1, labelled_log_probs=LOG_PROBS)
    with pytest.raises(InvalidArgument, match="4 items and features of 3"):
        bait(LOG_PROBS, FEATURES[:3], 1)
    with pytest.raises(InvalidArgument, match="2 classes and 1 features"):
        bait(LOG_PROBS, FEATURES, 1, labelled_log_probs=LOG_PROBS, labelled=FEATURES[:, :1])
    with pytest.raises(InvalidPredictions):
        bait(LOG_PROBS * np.nan, FEATURES, 1)
