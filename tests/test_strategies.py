import numpy as np
import pytest
import torch
from tests.runs import blobs
from torch import nn

from baldur import strategies
from baldur._parts import functions_of
from baldur.data import from_arrays
from baldur.errors import TieBreakWarning
from baldur.posteriors import MCDropout
from baldur.protocols import Choice, Labelled, View
from baldur.score import PoolScorer
from baldur.testing import verify_strategy


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


@pytest.mark.parametrize("name", functions_of(strategies))
def test_the_contract_holds(name):
    verify_strategy(functions_of(strategies)[name], *setting())


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
