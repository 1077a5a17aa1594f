import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baldur import select
from baldur.errors import InvalidArgument, NonFiniteScore

SCORES = np.array([0.5, 0.3, 0.2])
FAMILY = [select.power, select.softmax, select.softrank]


def frequencies(draw, of=3, repeats=4000):
    rng = np.random.default_rng(1)
    counts = np.bincount(np.concatenate([draw(rng).indices for _ in range(repeats)]), minlength=of)
    return counts / repeats


@pytest.mark.parametrize(
    ("function", "beta", "expected"),
    [
        (select.power, 1.0, (0.5, 0.3, 0.2)),
        (select.power, 8.0, (0.982847812, 0.016508069, 0.000644119)),
        (select.softmax, 1.0, (0.390693833, 0.319873056, 0.289433110)),
        (select.softmax, 8.0, (0.773625874, 0.156192370, 0.070181756)),
        (select.softrank, 1.0, (0.545454545, 0.272727273, 0.181818182)),
    ],
)
def test_the_first_draw_has_the_closed_form(function, beta, expected):
    """Pitfall: noise on s instead of log s, or a temperature for its inverse, gives other frequencies."""
    found = frequencies(lambda rng: function(SCORES, 1, rng, beta=beta))
    p = np.array(expected)
    assert (np.abs(found - p) <= 4 * np.sqrt(p * (1 - p) / 4000)).all()


def test_a_batch_is_drawn_without_replacement():
    """Pitfall: drawing with replacement."""
    expected = np.array([0.839285714, 0.675, 0.485714286])
    found = frequencies(lambda rng: select.power(SCORES, 2, rng))
    assert (np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / 4000)).all()


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(0, 5), max_size=20),
    st.integers(0, 25),
    st.integers(0, 99),
    st.sampled_from(FAMILY),
    st.sampled_from([0.0, 1.0, 1e9]),
)
def test_picks_are_distinct_and_carry_their_scores(values, k, seed, function, beta):
    scores = np.array(values, np.float64)
    picks = function(scores, k, seed, beta=beta)
    assert len(set(picks.indices.tolist())) == len(picks) == min(k, len(values))
    assert picks.indices.dtype == np.intp
    assert picks.scores.tolist() == [values[i] for i in picks.indices]
    if beta == 1e9:
        assert sorted(picks.scores.tolist()) == sorted(sorted(values)[len(values) - len(picks) :])


@pytest.mark.parametrize("function", FAMILY)
def test_beta_0_is_uniform(function):
    found = frequencies(lambda rng: function(np.array([0.0, 5.0, 1.0]), 1, rng, beta=0.0))
    assert found == pytest.approx(np.full(3, 1 / 3), abs=4 * (2 / 9 / 4000) ** 0.5)


def test_invariances():
    scores = np.random.default_rng(0).exponential(size=50)

    def order(function, values, seed):
        return function(values, 50, seed).indices.tolist()

    for seed in range(5):
        assert order(select.power, scores, seed) == order(select.power, 3 * scores, seed)
        assert order(select.power, scores, seed) != order(select.power, scores + 1, seed)
        assert order(select.softmax, scores, seed) == order(select.softmax, scores + 1, seed)
        assert order(select.softmax, scores, seed) != order(select.softmax, 3 * scores, seed)
        assert order(select.softrank, scores, seed) == order(select.softrank, np.exp(scores), seed)


def test_power_takes_zeros_last_and_uniformly():
    scores = np.array([0.0, -1e-9, 1.0, 0.0, 2.0])
    picks = select.power(scores, 4, 0)
    assert set(picks.indices[:2].tolist()) == {2, 4}
    assert picks.info["zeros"] == 2
    third = frequencies(lambda rng: select.power(scores, 3, rng), 5)[[0, 1, 3]]
    assert third == pytest.approx(np.full(3, 1 / 3), abs=4 * (2 / 9 / 4000) ** 0.5)


def test_power_refuses_negative_scores_rather_than_making_them_equal():
    """Pitfall: a power of minus the margin."""
    with pytest.raises(InvalidArgument, match=r"item 1 is -0\.3.*softrank"):
        select.power(np.array([0.0, -0.3]), 1, 0)


def test_softrank_ranks_equal_scores_in_random_order():
    found = frequencies(lambda rng: select.softrank(np.zeros(3), 1, rng))
    assert found == pytest.approx(np.full(3, 1 / 3), abs=4 * (2 / 9 / 4000) ** 0.5)


@pytest.mark.parametrize("function", FAMILY)
def test_bad_input_is_refused(function):
    with pytest.raises(NonFiniteScore, match="item 1"):
        function(np.array([0.0, np.nan]), 1, 0)
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        function(SCORES, -1, 0)
    with pytest.raises(InvalidArgument, match=r"\(1, 3\)"):
        function(SCORES[None], 1, 0)
    for beta in (-1.0, np.inf, np.nan):
        with pytest.raises(InvalidArgument, match="beta must be a finite number"):
            function(SCORES, 1, 0, beta=beta)


@pytest.mark.parametrize("function", FAMILY)
def test_torch_gives_the_same_picks(function):
    scores = np.random.default_rng(3).exponential(size=20)
    before = scores.copy()
    expected = function(scores, 7, 5)
    found = function(torch.from_numpy(scores), 7, np.random.default_rng(5))
    assert found.indices.tolist() == expected.indices.tolist()
    assert np.array_equal(scores, before)
