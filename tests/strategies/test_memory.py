"""What strategies hold: the soak test measures every one of them on a large pool."""

import numpy as np
import pytest
from bench.measure import child
from tests.strategies.pools import setting

from baldur import strategies
from baldur.score.scorer import PoolScorer


def test_strategies_keep_to_their_memory():
    """Predictions of 30,000 items take 23 MiB; the budget is 4, and what a pass has of its own some more."""
    names = ["bald", "bald(race=0.05)", "batchbald"]
    found = child("tests.strategies.pools:rises", names=names, items=30_000, memory=4)
    assert max(found.values()) < 16, found


def test_where_predictions_do_not_fit_batchbald_picks_the_same():
    posterior, labelled, unlabelled, _ = setting()
    whole, streamed = (
        strategies.batchbald(
            posterior, labelled, unlabelled, 5, np.random.default_rng(0), PoolScorer(draws=10, memory=memory)
        )
        for memory in ("1GiB", "2KiB")
    )
    assert streamed.ids == whole.ids
    assert "read" in streamed.info
    assert "read" not in whole.info


def test_the_mean_prediction_is_enough():
    """Strategies that need no more of the samples choose what the formulas choose from all of them."""
    from baldur import acquire, select

    posterior, labelled, unlabelled, scorer = setting()
    rest = posterior, labelled, unlabelled, 4, np.random.default_rng(0), scorer
    log_probs = scorer.predict(posterior, unlabelled)
    features = scorer.features(posterior, unlabelled)
    biased = np.concatenate([features, np.ones((len(features), 1), np.float32)], 1)
    badge = select.badge(log_probs, biased, 4, np.random.default_rng(0))
    assert strategies.badge(*rest).ids == tuple(unlabelled.ids[i] for i in badge.indices)
    gradient = acquire.expected_gradient_length(log_probs, biased)
    assert strategies.expected_gradient_length(*rest).pool_scores == pytest.approx(gradient)
    ceal = select.ceal(log_probs, 4, threshold=select.ceal_threshold(0))
    assert strategies.ceal(*rest).ids == tuple(unlabelled.ids[i] for i in ceal.indices)
