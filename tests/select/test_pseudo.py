import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions
from baldur.select.pseudo import ceal, ceal_threshold

PROBS = np.array([(0.98, 0.01, 0.01), (0.5, 0.3, 0.2), (0.999, 0.0005, 0.0005), (0.34, 0.33, 0.33)])
LOG_PROBS = acquire.from_probs(PROBS)


def test_the_worked_example():
    picks = ceal(LOG_PROBS, 1, threshold=0.05)
    assert picks.indices.tolist() == [3]
    assert picks.scores == pytest.approx([1.098513], abs=1e-6)
    assert picks.info["pseudo_indices"].tolist() == [2]
    assert picks.info["pseudo_labels"].tolist() == [0]
    assert ceal(LOG_PROBS, 4, threshold=0.0).scores == pytest.approx(
        [1.098513, 1.029653, 0.111902, 0.008600], abs=1e-6
    )


def test_the_most_certain_are_not_lost():
    """Pitfall: an entropy that is NaN at p = 0 fails every comparison, and the most certain items stay out."""
    picks = ceal(acquire.from_probs(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])), 1, threshold=1e-9)
    assert picks.info["pseudo_indices"].tolist() == [0, 1]
    assert picks.info["pseudo_labels"].tolist() == [0, 1]


@pytest.mark.parametrize("criterion", ["least_confidence", "margin", "entropy"])
def test_it_asks_as_the_plain_criterion_does(criterion):
    log_probs = acquire.from_logits(np.random.default_rng(0).normal(size=(40, 3, 4)) * 5)
    expected = np.argsort(-getattr(acquire, criterion)(log_probs), kind="stable")[:7]
    for given in (log_probs, torch.from_numpy(log_probs)):
        picks = ceal(given, 7, threshold=0.0, criterion=criterion)
        assert np.array_equal(picks.indices, expected)
        assert len(picks.info["pseudo_indices"]) == 0
    everything = ceal(log_probs, 7, threshold=99.0, criterion=criterion)
    assert sorted([*everything.indices, *everything.info["pseudo_indices"]]) == list(range(40))


def test_assuming_what_is_sure_gives_more_right_labels_than_its_siblings():
    """Asking alone (at random, or by entropy) gives k; assuming everything gives as many wrong ones."""
    rng = np.random.default_rng(0)
    p = np.concatenate([np.full(60, 0.99), np.full(140, 0.4)])
    log_probs = acquire.from_probs(np.stack([p, 0.6 * (1 - p), 0.4 * (1 - p)], axis=1))
    right = rng.random(200) < p

    def gained(threshold):
        picks = ceal(log_probs, 10, threshold=threshold)
        assumed = right[picks.info["pseudo_indices"]]
        return 10 + np.count_nonzero(assumed) - np.count_nonzero(~assumed)

    assert gained(0.1) > max(gained(0.0), gained(np.inf)) == max(10, gained(np.inf))


def test_thresholds_fall_and_are_never_negative():
    """Pitfall: a rate so small that the threshold never moves."""
    linear = [ceal_threshold(t) for t in range(6)]
    assert linear == pytest.approx([0.05, 0.0467, 0.0434, 0.0401, 0.0368, 0.0335])
    cumulative = [ceal_threshold(t, decay="cumulative") for t in range(6)]
    assert cumulative == pytest.approx([0.05, 0.0467, 0.0401, 0.0302, 0.0170, 0.0005])
    assert ceal_threshold(0, start=0.0, rate=0.0) == 0.0
    assert ceal_threshold(99) == ceal_threshold(6, decay="cumulative") == 0.0


def test_sizes_and_refusals():
    assert len(ceal(LOG_PROBS, 0, threshold=0.05)) == len(ceal(LOG_PROBS[:0], 2, threshold=0.05)) == 0
    assert len(ceal(LOG_PROBS, 9, threshold=0.05)) == 4
    with pytest.raises(InvalidArgument, match="k is a whole number"):
        ceal(LOG_PROBS, -1, threshold=0.05)
    with pytest.raises(InvalidArgument, match="threshold"):
        ceal(LOG_PROBS, 1, threshold=-0.1)
    with pytest.raises(InvalidPredictions):
        ceal(LOG_PROBS * np.nan, 1, threshold=0.05)
    with pytest.raises(InvalidArgument, match="round, start and rate"):
        ceal_threshold(-1)
