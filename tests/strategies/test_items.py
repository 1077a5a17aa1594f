import numpy as np
import pytest
from tests.strategies.pools import choose, setting
from tests.tiny_runs import WithLoss, blobs

from baldur import strategies
from baldur.data import from_arrays
from baldur.errors import InvalidArgument, TieBreakWarning, Unsupported
from baldur.protocols import View
from baldur.score.scorer import PoolScorer


def test_learning_loss_takes_the_predicted_loss():
    posterior, labelled, unlabelled, scorer = setting()
    rest = labelled, unlabelled, 3, np.random.default_rng(0), scorer
    chosen = strategies.learning_loss(WithLoss(posterior), *rest)
    mean = np.exp(PoolScorer(draws=20).predict(posterior, unlabelled)).mean(1)
    assert chosen.pool_scores == pytest.approx(1 - mean.max(1), abs=1e-5)
    with pytest.raises(Unsupported, match="gives log_probs, features, not 'loss'"):
        strategies.learning_loss(posterior, *rest)


def test_the_score_is_that_of_the_paper():
    posterior, labelled, unlabelled, scorer = setting()
    choice = strategies.bald(posterior, labelled, unlabelled, 3, np.random.default_rng(0), scorer)
    log_probs = scorer.predict(posterior, unlabelled)
    p = np.exp(np.asarray(log_probs, np.float64))
    mutual = -(p.mean(1) * np.log(p.mean(1))).sum(1) + (p * np.log(p)).sum(2).mean(1)
    assert choice.ids == tuple(unlabelled.ids[i] for i in np.argsort(-mutual, kind="stable")[:3])


def test_one_sample_cannot_disagree():
    posterior, labelled, unlabelled, _ = setting()
    with pytest.warns(TieBreakWarning):
        strategies.bald(posterior, labelled, unlabelled, 3, np.random.default_rng(0), PoolScorer(draws=1))


def test_epig_looks_to_its_targets():
    x, _ = blobs(40)
    _, _, unlabelled, _ = setting()
    given = from_arrays(x[:5])
    scores = choose(strategies.epig, targets=given).pool_scores
    assert scores == pytest.approx(choose(strategies.epig, targets=given, weights=np.ones(5)).pool_scores)
    one = choose(strategies.epig, targets=View(given, np.array([2]))).pool_scores
    only = np.eye(5)[2]
    assert one == pytest.approx(choose(strategies.epig, targets=given, weights=only).pool_scores, abs=1e-9)
    told = choose(strategies.epig, targets=given, weights=lambda log_probs: only[: len(log_probs)])
    assert one == pytest.approx(told.pool_scores, abs=1e-9)
    everything = choose(strategies.epig, targets=unlabelled).pool_scores
    assert everything == pytest.approx(choose(strategies.epig, targets=1000).pool_scores, abs=1e-9)
    with pytest.raises(InvalidArgument, match="not negative"):
        choose(strategies.epig, targets=given, weights=-np.ones(5))


def test_a_rare_class_is_asked_for():
    posterior, labelled, unlabelled, scorer = setting()
    p = np.exp(scorer.predict(posterior, unlabelled)).mean(1)
    chosen = choose(strategies.rare_class, k=5, classes=[2])
    assert chosen.pool_scores == pytest.approx(choose(strategies.bald).pool_scores * p[:, 2], rel=1e-5)
    weights = 1 / (1 + np.bincount(labelled.labels, minlength=3))
    assert choose(strategies.rare_class).pool_scores == pytest.approx(
        choose(strategies.bald).pool_scores * (p @ weights), rel=1e-5
    )
