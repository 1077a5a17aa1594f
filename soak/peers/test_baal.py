"""baal 2.1.0: where it is right we agree, and where it is not a pool shows it. Its arrays are (N, C, ..., T)."""

import numpy as np
import pytest
import torch

from baldur import acquire, select
from baldur.errors import InvalidArgument, InvalidPredictions


def pool(seed, shape):
    return acquire.from_logits(1.5 * np.random.default_rng(seed).normal(size=shape))


def samples_last(log_probs):
    return np.ascontiguousarray(np.moveaxis(np.exp(log_probs), 1, -1))


LOG_PROBS = pool(0, (40, 6, 3))


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("Entropy", acquire.entropy),
        ("BALD", acquire.bald),
        ("Margin", lambda x: -acquire.margin(x)),
        ("Certainty", lambda x: 1 - acquire.least_confidence(x)),
        ("Variance", lambda x: acquire.variance(np.exp(x))),
    ],
)
def test_scores(baal, name, ours):
    heuristic = getattr(baal.scores, name)()
    scores = ours(LOG_PROBS)
    assert scores == pytest.approx(heuristic.get_uncertainties(samples_last(LOG_PROBS)), abs=1e-12)
    assert heuristic.reversed is (name in ("Entropy", "BALD", "Variance"))
    wanted = scores if heuristic.reversed else -scores
    assert heuristic(samples_last(LOG_PROBS)).tolist() == np.argsort(-wanted, kind="stable").tolist()


def test_epig(baal):
    """Theirs is float32."""
    targets = pool(1, (7, 6, 3))
    scores = baal.scores.EPIG().get_uncertainties(samples_last(LOG_PROBS), samples_last(targets))
    assert acquire.epig(LOG_PROBS, targets) == pytest.approx(scores, abs=2e-6)


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_maps(baal, how):
    maps = pool(2, (5, 6, 3, 4, 4))
    scores = baal.scores.BALD(reduction=how).get_uncertainties(samples_last(maps))
    assert acquire.aggregate(acquire.bald(maps), how=how) == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize(
    ("name", "ours", "beta"),
    [("PowerSampling", select.power, 1), ("PowerSampling", select.power, 4), ("GibbsSampling", select.softmax, 8),
     ("RankBasedSampling", select.softrank, 1)],
)  # fmt: skip
def test_probabilities_of_stochastic_batches(baal, name, ours, beta):
    scores = np.array([0.5, 0.3, 0.2, 0.05])
    batch = getattr(baal.batches, name)(baal.scores.Precomputed(), 1, temperature=1 / beta)
    p = batch._make_distribution(scores.copy())
    rng = np.random.default_rng(0)
    counts = np.bincount([ours(scores, 1, rng, beta=beta).indices[0] for _ in range(3000)], minlength=4)
    assert (np.abs(counts / 3000 - p) <= 4 * np.sqrt(p * (1 - p) / 3000) + 1e-12).all()


def test_pitfall_batchbald_ranks_partial_scores_again(baal):
    """Pitfall: scores of later steps are larger, so that the order turns round and the first pick is lost."""
    first = int(np.argmax(acquire.bald(LOG_PROBS)))
    for k in (2, 3, 4):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            batch = baal.scores.BatchBALD(k, num_draw=3000)(samples_last(LOG_PROBS))[:k]
        ours = select.batchbald(LOG_PROBS, k).indices
        assert ours[0] == first
        assert first not in batch
        assert batch[::-1][: k - 1].tolist() == ours[1:].tolist()
        reached = [select.batchbald(LOG_PROBS[i], k).info["information"][-1] for i in (ours, batch)]
        assert reached[0] > reached[1] + 0.05


def test_pitfall_half_precision_passes_through_a_second_softmax(baal):
    """Pitfall: what a row sums to decides whether it is of probabilities. Those of float16 are taken for logits."""
    half = samples_last(LOG_PROBS).astype(np.float16)
    assert baal.scores.BALD().get_uncertainties(half).max() < 0.25 * acquire.bald(LOG_PROBS).max()
    ours = acquire.bald(acquire.from_probs(np.moveaxis(half, -1, 1)))
    assert ours == pytest.approx(acquire.bald(LOG_PROBS), abs=2e-3)


def test_pitfall_logits_that_look_like_probabilities(baal):
    """Pitfall: so a score depends on what else is in the same block."""
    logits = np.array([[[0.3], [0.7]], [[3.0], [-3.0]]])
    together = baal.scores.Entropy().get_uncertainties(logits)
    apart = baal.scores.Entropy().get_uncertainties_generator(iter((logits[:1], logits[1:])))
    assert abs(together[0] - apart[0]) > 0.05
    ours = acquire.entropy(acquire.from_logits(logits[:, :, 0]))
    assert ours == pytest.approx(together, abs=1e-12)
    assert acquire.entropy(acquire.from_logits(logits[:1, :, 0])) == pytest.approx(ours[:1], abs=1e-12)


def test_pitfall_what_is_no_number_becomes_a_score(baal):
    """Pitfall: scores that are mended. Here an item without a prediction is one of which the model is sure."""
    broken = samples_last(LOG_PROBS)
    broken[3] = np.nan
    with pytest.warns(UserWarning, match="will be put to 0"):
        assert baal.scores.BALD().get_uncertainties(broken)[3] == 0
    with pytest.raises(InvalidPredictions, match="item 3"):
        acquire.from_probs(np.moveaxis(broken, -1, 1))


def test_pitfall_stochastic_batches_of_small_is_better(baal):
    """Pitfall: the direction of the score is not asked for, so that a power of the margin wants the most certain."""
    sure_and_not = np.array([[0.98, 0.02], [0.5, 0.5]])
    p = baal.batches.PowerSampling(baal.scores.Margin(), 1).get_ranks(sure_and_not)[1]
    assert p.tolist() == pytest.approx([1, 0])
    margins = acquire.margin(acquire.from_probs(sure_and_not))
    with pytest.raises(InvalidArgument, match="softmax and softrank do"):
        select.power(margins, 1, 0)
    draws = [select.softmax(margins, 1, seed).indices[0] for seed in range(200)]
    assert np.mean(draws) > 0.6


def test_pitfall_scores_of_the_caller_are_changed(baal):
    """Pitfall: s /= temperature on the array that was given."""
    scores = np.array([0.1, 0.5, 0.9])
    baal.batches.GibbsSampling(baal.scores.Precomputed(), 2, temperature=10.0).get_ranks(scores)
    assert scores == pytest.approx([0.01, 0.05, 0.09])
    scores = np.array([0.1, 0.5, 0.9])
    select.softmax(scores, 2, 0, beta=0.1)
    assert scores.tolist() == [0.1, 0.5, 0.9]


def test_pitfall_an_epsilon_within_the_logarithm(baal, monkeypatch):
    """Pitfall: on a device, log(p + 1e-5) changes the order of small scores."""
    # Its guard compares a tensor with a number, which torch refuses, so that nothing behind it runs any more.
    monkeypatch.setattr(baal.device, "to_prob_torch", lambda p: p)
    probs = torch.zeros(2, 10, 4, dtype=torch.double)
    probs[0, 0] = 1
    probs[0, :, 0] = torch.tensor([1 - 9e-6, *[1e-6] * 9])
    probs[1, :2] = 0.5 + 7e-4 * torch.tensor([[1, 1, -1, -1], [-1, -1, 1, 1]])
    theirs = baal.device.BALDGPUWrapper.compute_score(None, probs)
    ours = acquire.bald(acquire.from_probs(probs.permute(0, 2, 1)))
    assert ours.numpy() == pytest.approx([9e-6 / 4 * np.log(4), 2 * 7e-4**2], rel=1e-3)
    assert float(theirs[0]) < float(theirs[1])
