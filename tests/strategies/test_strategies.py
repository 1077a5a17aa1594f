from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny_runs import WithLoss, blobs
from torch import nn

from baldur import strategies
from baldur.data import from_arrays
from baldur.errors import InvalidArgument, InvalidSettings, TieBreakWarning, Unsupported
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.posteriors import MCDropout
from baldur.protocols import Choice, Labelled, View
from baldur.runs.names import STRATEGIES, strategy_named
from baldur.score.scorer import PoolScorer
from baldur.testing import verify_strategy

OF_NUMBERS = ("variance", "gaussian_information_gain")


def setting():
    x, y = blobs(40)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        posterior = MCDropout(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)))
    pool, n = from_arrays(x), 8
    labelled = Labelled(
        View(pool, np.arange(n)), y[:n], np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n
    )
    return posterior, labelled, View(pool, np.arange(n, 40)), PoolScorer(draws=10)


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_contract_holds(name):
    posterior, *rest = setting()
    told = WithLoss(posterior) if name == "learning_loss" else posterior
    if name in OF_NUMBERS:
        with pytest.raises(
            Unsupported, match="reads gaussian predictions, and the posterior's are categorical"
        ):
            verify_strategy(STRATEGIES[name], told, *rest)
        told = MCDropout(
            nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 2)), likelihood=GAUSSIAN
        )
    verify_strategy(STRATEGIES[name], told, *rest)


def test_classes_are_not_asked_of_numbers():
    _, *rest = setting()
    told = MCDropout(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), likelihood=GAUSSIAN)
    with pytest.raises(Unsupported, match="for numbers there are variance"):
        strategies.bald(told, *rest[:2], 3, np.random.default_rng(0), rest[2])


@pytest.mark.parametrize(
    "name",
    [
        "badge",
        "bait",
        "batch_epig",
        "batchbald",
        "ceal",
        "cluster_margin",
        "emoc",
        "epig",
        "expected_gradient_length",
        "power_epig",
        "prob_cover",
        "rare_class",
        "two_stage",
    ],
)
def test_numbers_are_not_read_as_classes(name):
    _, *rest = setting()
    told = MCDropout(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), likelihood=GAUSSIAN)
    with pytest.raises(Unsupported, match="for numbers there are variance"):
        STRATEGIES[name](told, *rest[:2], 3, np.random.default_rng(0), rest[2])


@pytest.mark.parametrize("strategy", [strategies.rare_class, strategies.two_stage])
def test_classes_are_counted_where_an_item_has_one(strategy):
    posterior, labelled, *rest = setting()
    arguments = rest[0], 3, np.random.default_rng(0), rest[1]
    several = MCDropout(posterior.network, likelihood=BERNOULLI)
    with pytest.raises(Unsupported, match="reads categorical predictions, and the posterior's are bernoulli"):
        strategy(several, replace(labelled, labels=np.ones((8, 3), np.int64)), *arguments)
    with pytest.raises(Unsupported, match=r"one class an item; .* shape \(2, 2\)"):
        strategy(posterior, replace(labelled, labels=np.ones((8, 2, 2), np.int64)), *arguments)


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


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda ids, rng: (ids[0], ids[0]), "twice|2 items were chosen"),
        (lambda ids, rng: ("stranger",), "not in the unlabelled pool|items were chosen"),
        (lambda ids, rng: (), "0 items were chosen"),
    ],
)
def test_the_verifier_sees_faults(fault, words):
    def faulty(posterior, labelled, unlabelled, k, rng, scorer):
        ids = fault(unlabelled.ids, rng)
        return Choice(ids, np.zeros(len(ids)))

    with pytest.raises(AssertionError, match=words):
        verify_strategy(faulty, *setting())


def choose(strategy, k=3, **options):
    posterior, labelled, unlabelled, scorer = setting()
    return strategy(posterior, labelled, unlabelled, k, np.random.default_rng(0), scorer, **options)


def test_options_are_bound_by_name():
    assert strategy_named("power_bald(beta=1e9)")(*_arguments()).ids == choose(strategies.bald).ids
    assert (
        strategy_named("baldur.strategies:softrank_bald(beta=1e9)")(*_arguments()).ids
        == choose(strategies.bald).ids
    )
    with pytest.raises(InvalidSettings, match=r"unexpected keyword argument 'betta'.*beta: float = 1.0"):
        strategy_named("power_bald(betta=8)")
    with pytest.raises(InvalidSettings, match=r"'powerbald' \(did you mean power_bald\?\)"):
        strategy_named("powerbald")
    for wrong in ("power_bald(8)", "power_bald(beta=", "power_bald(beta=open('x'))"):
        with pytest.raises(InvalidSettings, match=r"name\(option=value, ...\)"):
            strategy_named(wrong)


def _arguments(k=3):
    posterior, labelled, unlabelled, scorer = setting()
    return posterior, labelled, unlabelled, k, np.random.default_rng(0), scorer


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


def test_typical_items_come_until_every_class_was_seen():
    _, labelled, _, _ = setting()
    counts = np.bincount(labelled.labels, minlength=3)
    few = choose(strategies.two_stage, per_class=int(counts.min()) + 1)
    assert few.ids == choose(strategies.typiclust).ids
    assert choose(strategies.two_stage, per_class=int(counts.min())).ids == choose(strategies.bald).ids


def test_a_class_that_the_pool_lacks_does_not_put_off_uncertainty_for_ever():
    posterior, labelled, unlabelled, scorer = setting()
    for count, stage in ((14, strategies.typiclust), (15, strategies.bald)):
        some = np.arange(count) % 8
        known = Labelled(
            View(labelled.pool, some),
            some % 2,
            labelled.rounds[some],
            labelled.weights[some],
            ("oracle",) * count,
        )
        expected = stage(posterior, known, unlabelled, 3, np.random.default_rng(0), scorer)
        chosen = strategies.two_stage(
            posterior, known, unlabelled, 3, np.random.default_rng(0), scorer, per_class=1
        )
        assert chosen.ids == expected.ids


def test_typiclust_takes_vectors_as_they_are():
    _, labelled, unlabelled, scorer = setting()
    other = MCDropout(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Dropout(0.5), nn.Linear(16, 3)))
    again = strategies.typiclust(other, labelled, unlabelled, 3, np.random.default_rng(0), scorer)
    assert again.ids == choose(strategies.typiclust).ids  # whatever the network
