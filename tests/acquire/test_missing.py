"""Bounds of a score while samples are missing: no draw exceeds them, and worked numbers."""

from functools import partial

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.acquire.missing import upper_bound

VOTES = partial(acquire.variation_ratio, mode="votes")
SCORES = {
    "entropy": acquire.entropy,
    "least_confidence": acquire.least_confidence,
    "margin": acquire.margin,
    "votes": VOTES,
    "mean_std": acquire.mean_std,
    "bald": acquire.bald,
    "mean_kl": acquire.mean_kl,
    "vote_entropy": acquire.vote_entropy,
    "expected_entropy": acquire.expected_entropy,
}


@pytest.mark.parametrize("name", SCORES)
def test_no_missing_sample_can_do_more_than_the_bound(name):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 6, 4)) * rng.uniform(0.1, 6, size=(300, 6, 1))
    log_probs = torch.log_softmax(torch.as_tensor(logits), 2)
    everything, bound = SCORES[name](log_probs), upper_bound(SCORES[name])
    for t in range(1, 6):
        highest = bound(log_probs[:, :t], 1 - t / 6)
        assert (highest >= everything - 1e-12).all()
        assert (highest > everything + 1e-3).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("entropy", 0.5 * np.log(2) + 0.5 * np.log(4)),
        ("bald", 0.5 * np.log(2) + 0.5 * np.log(4)),
        ("least_confidence", 0.5),
        ("margin", 0.0),
        ("votes", 0.5),
        ("mean_std", 0.5),
        ("expected_entropy", 0.5 * np.log(3)),
    ],
)
def test_bounds_of_a_sure_item_of_which_half_the_samples_are_missing(name, expected):
    """p̄ = (1, 0, 0) and q = (0, ½, ½) make (½, ¼, ¼); a class spreads most where half the samples say it."""
    sure = acquire.from_probs(np.array([[[1.0, 0, 0]] * 4]))
    assert upper_bound(SCORES[name])(sure, 0.5) == pytest.approx([expected])


def test_some_scores_have_no_bound():
    assert upper_bound(acquire.epig) is None
    assert upper_bound(partial(acquire.variation_ratio, "mean")) is None
    assert upper_bound(acquire.variation_ratio) is not None
