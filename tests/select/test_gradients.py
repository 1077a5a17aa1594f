import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions
from baldur.select.gradients import _Seeding, badge

PROBS = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.05, 0.9, 0.05]])
FEATURES = np.array([(1.0, 2.0), (0.0, 1.0), (3.0, -1.0)])


def gradients(log_probs, features):
    p = np.exp(log_probs).mean(axis=1)
    q = p - np.eye(p.shape[1])[p.argmax(axis=1)]
    return (q[:, :, None] * np.asarray(features, np.float64)[:, None, :]).reshape(len(p), -1)


def materialised(log_probs, features, k, seed):
    """The definition on the gradients themselves, with the same stream."""
    g = gradients(log_probs, features)
    rng = np.random.default_rng(seed)
    nearest = np.full(len(g), np.inf)
    picks = [int(np.argmax(np.sum(g * g, axis=1)))]
    while True:
        nearest = np.minimum(nearest, np.sum((g - g[picks[-1]]) ** 2, axis=1))
        nearest[picks] = 0
        if len(picks) == k:
            return picks
        weights = np.cumsum(nearest)
        picks.append(int(np.searchsorted(weights, (1 - rng.random()) * weights[-1])))


def pool(seed, n=60, t=2, c=5, d=8):
    rng = np.random.default_rng(seed)
    return acquire.from_logits(3 * rng.normal(size=(n, t, c))), rng.normal(size=(n, d))


def test_the_worked_example():
    """Pitfall: distances where squared distances are meant, or their squares, change the second draw."""
    log_probs = acquire.from_probs(PROBS)
    seeding = _Seeding(log_probs, FEATURES)
    assert np.sqrt(seeding.squares) == pytest.approx([0.836660027, 0.738241153, 0.387298335])
    assert seeding._distances(np.array([1, 2]), 0) == pytest.approx([0.145, 0.91])
    assert seeding._distances(np.array([2]), 1) == pytest.approx([0.59])
    rng = np.random.default_rng(0)
    picks = [badge(log_probs, FEATURES, 2, rng).indices for _ in range(1000)]
    assert {p[0] for p in picks} == {0}
    share = 0.862559242
    assert np.mean([p[1] == 2 for p in picks]) == pytest.approx(share, abs=4 * (share * 0.14 / 1000) ** 0.5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6))
def test_factorised_distances_are_those_of_the_gradients(seed):
    log_probs, features = pool(seed)
    g = gradients(log_probs, features)
    seeding = _Seeding(log_probs, features)
    for u in (0, 17):
        expected = np.sum((g - g[u]) ** 2, axis=1)
        assert seeding._distances(np.arange(60), u) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("width", [8, 100])
@pytest.mark.parametrize("seed", range(4))
def test_pruning_changes_nothing(seed, width, monkeypatch):
    log_probs, features = pool(seed, 400, 1, 5, width)
    features = (features * np.linspace(2, 0.01, width)).astype(np.float32)
    expected = materialised(log_probs, features, 50, seed)
    picks = badge(log_probs, features, 50, seed)
    assert picks.indices.tolist() == expected
    assert picks.info["distances"] < 400 * 25, "nothing was pruned"
    there = badge(torch.from_numpy(log_probs), torch.from_numpy(features), 50, seed)
    assert there.indices.tolist() == expected
    with monkeypatch.context() as patch:  # as on a device of torch
        patch.setattr("baldur.select._arguments.to_numpy", lambda a: a)
        patch.setattr("baldur.select.gradients.to_numpy", lambda a: a if a.ndim == 3 else np.asarray(a))
        there = badge(torch.from_numpy(log_probs), torch.from_numpy(features), 50, seed)
        assert there.indices.tolist() == expected
    monkeypatch.setattr("baldur.select._products.BLOCK", 333)
    assert badge(log_probs, features, 50, seed).indices.tolist() == expected


def test_gradients_are_those_of_the_last_layer_with_its_bias():
    """Pitfall: forgetting the bias, whose gradient is p̄ - e_ŷ itself."""
    log_probs, features = pool(5, t=1)
    layer = torch.nn.Linear(8, 5, dtype=torch.float64)
    x = torch.from_numpy(features)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(0))
    log_probs = torch.log_softmax(layer(x), 1).detach()
    squares = []
    for n in range(60):
        layer.zero_grad()
        torch.nn.functional.cross_entropy(layer(x[n : n + 1]), log_probs[n].argmax()[None]).backward()
        squares.append(sum(float((p.grad**2).sum()) for p in layer.parameters()))
    with_one = np.concatenate([features, np.ones((60, 1))], axis=1)
    assert _Seeding(log_probs[:, None], with_one).squares == pytest.approx(squares)


def test_the_scores_are_the_weights_that_were_drawn_by():
    log_probs, features = pool(0)
    picks = badge(log_probs, features, 10, 0)
    g = gradients(log_probs, features)[picks.indices]
    expected = [np.sum(g[0] ** 2)] + [min(np.sum((g[:i] - g[i]) ** 2, axis=1)) for i in range(1, 10)]
    assert picks.scores == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["duplicates", "zero features", "certain"])
def test_a_pool_without_differences_ends(kind):
    """Pitfall: a division by zero, or a loop without an end, where all that is left coincides."""
    log_probs, features = pool(1, n=30)
    if kind == "duplicates":
        log_probs, features = np.repeat(log_probs[:1], 30, axis=0), np.repeat(features[:1], 30, axis=0)
    elif kind == "zero features":
        features = features * 0
    else:
        log_probs = np.where(np.eye(5)[np.arange(30) % 5] == 1, 0.0, -np.inf)[:, None, :]
    picks = badge(log_probs, features, 30, 0)
    assert sorted(picks.indices.tolist()) == list(range(30))
    assert picks.info["uniform"] == 29


def test_items_that_are_certain_add_nothing_until_the_rest_is_exhausted():
    log_probs, features = pool(2, n=20, t=1)
    log_probs[10:] = [[0.0, *[-np.inf] * 4]]
    picks = badge(log_probs, features, 20, 0).indices
    assert sum(i >= 10 for i in picks[:11]) == 1


def test_signs_and_rotations_change_nothing():
    log_probs, features = pool(3)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    expected = badge(log_probs, features, 12, 0).indices
    assert np.array_equal(badge(log_probs, features @ turn, 12, 0).indices, expected)
    assert np.array_equal(badge(log_probs, -features, 12, 0).indices, expected)


def test_it_spreads_where_top_uncertainty_repeats_itself():
    rng = np.random.default_rng(0)
    probs = np.concatenate([np.tile([0.5, 0.5], (50, 1)), np.tile([0.6, 0.4], (5, 1))])
    features = np.concatenate([np.tile([4.0, 0.0], (50, 1)), np.tile([0.0, 4.0], (5, 1))])
    features = features + 1e-3 * rng.normal(size=features.shape)
    log_probs = acquire.from_probs(probs)
    assert {int(i >= 50) for i in badge(log_probs, features, 2, 0).indices} == {0, 1}
    assert (np.argsort(-acquire.entropy(log_probs), kind="stable")[:2] < 50).all()


def test_sizes_and_refusals():
    log_probs, features = pool(4)
    assert len(badge(log_probs, features, 0, 0)) == 0
    assert len(badge(log_probs[:0], features[:0], 3, 0)) == 0
    assert sorted(badge(log_probs, features, 99, 0).indices.tolist()) == list(range(60))
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        badge(log_probs, features, -1, 0)
    with pytest.raises(InvalidArgument, match="60 items and features of 59"):
        badge(log_probs, features[:-1], 1, 0)
    with pytest.raises(InvalidPredictions, match="from_probs and from_logits make them"):
        badge(log_probs[:, 0], features, 1, 0)
    features[7, 0] = np.inf
    with pytest.raises(InvalidArgument, match="row 7"):
        badge(log_probs, features, 1, 0)
    log_probs[5, 1, 2] = np.nan
    with pytest.raises(InvalidPredictions, match="item 5, sample 1"):
        badge(log_probs, np.zeros((60, 2)), 1, 0)
