from itertools import combinations

import numpy as np
import pytest
import torch
from bench.pools import heads
from tests.acquire.test_missing import SCORES
from tests.strategies.pools import setting
from torch import nn

from baldur import acquire, score
from baldur.data import from_arrays
from baldur.errors import InvalidArgument, TieBreakWarning, Unsupported
from baldur.posteriors import MCDropout
from baldur.runs.names import STRATEGIES, strategy_named
from baldur.strategies import racing
from baldur.testing import verify_strategy


class Told:
    """Draws that were made before: the input of an item is its number."""

    kind, names, degenerate = "categorical", ("log_probs",), False

    def __init__(self, log_probs):
        self.log_probs = torch.as_tensor(log_probs)

    def __len__(self):
        return self.log_probs.shape[1]

    def __getitem__(self, samples):
        return Told(self.log_probs[:, samples])

    def __call__(self, x):
        return self.log_probs[x[:, 0].long()]

    def features(self, x):
        raise NotImplementedError

    outputs = split = features


@pytest.fixture(autouse=True)
def any_pool(request, monkeypatch):
    """The rules of a race can be seen in few items, which are otherwise not raced."""
    if "as_it_is" not in request.fixturenames:
        monkeypatch.setattr(racing, "_SMALLEST", 1)
        monkeypatch.setattr(racing, "_PILOT", 10**9)


@pytest.fixture
def as_it_is():
    """Races are refused where they save nothing."""


def told(n, samples, seed=0):
    return torch.as_tensor(heads(n, samples, 10, seed, spread=0.5))


def race(log_probs, score, k, risk=0.05, rng=0):
    return racing.race(Told(log_probs), np.arange(len(log_probs))[:, None], score, k, risk, rng)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("risk", [0, 0.05])
def test_the_picks_are_those_of_all_samples(name, risk):
    log_probs = told(2000, 40)
    scores = SCORES[name](log_probs).numpy()
    picks, known = race(log_probs, SCORES[name], 5, risk)
    assert np.sort(scores)[-5:] == pytest.approx(picks.scores[::-1], abs=1e-6)
    assert known[picks.indices] == pytest.approx(picks.scores)
    if risk:
        assert picks.info["share"] < (0.6 if "vote" in name else 0.3)
        assert picks.info["contenders"][-1] < 400
    else:
        assert picks.info["share"] < (0.9 if name in ("margin", "least_confidence") else 1.11)


def test_the_risk_is_what_it_says():
    """The samples in every order: how often the picks of the race are others than those of all samples."""
    log_probs = told(400, 20)
    best = set(np.argsort(-acquire.bald(log_probs).numpy())[:5])
    rng, failures, shares = np.random.default_rng(0), 0, {}
    for risk in (0.4, 0.002):
        runs = [
            race(log_probs[:, torch.from_numpy(rng.permutation(20))], acquire.bald, 5, risk, rng)[0]
            for _ in range(30)
        ]
        failures = sum(set(run.indices) != best for run in runs)
        assert failures <= 30 * risk + 3 * (30 * risk * (1 - risk)) ** 0.5
        shares[risk] = np.mean([run.info["share"] for run in runs])
    assert shares[0.4] < shares[0.002] < 1


def test_whoever_left_too_early_is_called_back(monkeypatch):
    """Steady items lead at first. The cut of the one that passes them is lower, and lets the best one in again."""
    p = np.full((16, 20), 0.05)
    p[:2] = 0.5
    p[2] = [0.9, 0.1] * 5 + [0.1] + [0.9] * 9  # the second best; three bad samples of four are not rare
    p[3] = [0.1] * 3 + [0.9] * 17  # the best
    log_probs = acquire.from_probs(np.stack([p, 1 - p], 2))

    def share_of_first(x):
        return x[:, :, 0].exp().mean(1)

    called, finish = [], racing._Field.finish
    monkeypatch.setattr(
        racing._Field, "finish", lambda self, items: (called.append(items.tolist()), finish(self, items))
    )
    picks, scores = race(log_probs, share_of_first, 1)
    assert called[1:] == [[3]]  # first of all it is that of the leaders
    assert picks.indices == [3]
    assert scores[3] == pytest.approx(0.78)


def test_the_cut_is_that_of_all_subsets():
    """Of 5 samples 2 at first: with all 10 subsets among those drawn, nobody leaves whom one of them would keep."""
    log_probs = told(60, 5)
    picks, _ = race(log_probs, acquire.bald, 3, risk=0.01)
    best = acquire.bald(log_probs).argsort(descending=True)[:3]
    cut = min(float(acquire.bald(log_probs[best][:, list(s)]).min()) for s in combinations(range(5), 2))
    inside = (acquire.bald(log_probs[:, :2]) >= cut - 1e-5).sum()
    assert picks.info["contenders"] == [inside]
    assert set(picks.indices) == set(best.tolist())


@pytest.mark.parametrize(("n", "samples"), [(300, 3), (12, 20), (300, 1), (0, 20)])
def test_where_nothing_can_be_saved_all_samples_are_computed(n, samples):
    log_probs = told(n, samples)
    picks, scores = race(log_probs, acquire.entropy, 5)
    assert picks.info["share"] == 1
    assert scores == pytest.approx(acquire.entropy(log_probs).numpy())


@pytest.mark.parametrize("name", ["bald", "margin", "variation_ratio"])
def test_a_strategy_may_race(name):
    found = strategy_named(f"{name}(race=0.01)")
    posterior, labelled, unlabelled, scorer = setting()
    rest = posterior, labelled, unlabelled, 3, np.random.default_rng(0), scorer
    raced = found(*rest)
    assert raced.scores == pytest.approx(STRATEGIES[name](*rest).scores, abs=1e-6)
    assert raced.info["risk"] == 0.01
    verify_strategy(found, posterior, labelled, unlabelled, scorer)
    assert strategy_named(f"{name}(race=0)")(*rest).scores == pytest.approx(raced.scores, abs=1e-6)


def test_samples_may_agree_on_the_contenders():
    """Identical samples are worth a warning of a whole pool, not of the few items of a later round."""

    class OfSome(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            shift = self.drop(torch.ones(1, 2) * (x[:, :1] > 50))
            return x * torch.tensor([0.001, 0.002]) + 0.01 * shift * torch.tensor([1.0, 0.0])

    draws = MCDropout(OfSome()).draw(20)
    x = np.stack([np.arange(100.0), np.arange(100.0)], 1).astype(np.float32)
    picks, _ = racing.race(draws, x, acquire.entropy, 2)
    assert set(picks.indices) == {0, 1}


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"risk": 0.9}, InvalidArgument, "between 0.0001 and 0.5, not 0.9"),
        ({"risk": -0.1}, InvalidArgument, "between 0.0001 and 0.5"),
        ({"k": 0}, InvalidArgument, "at least 1, not 0"),
        ({"risk": 0, "score": lambda x: x[:, 0, 0]}, Unsupported, "allow one, 0.01 say"),
    ],
)
def test_what_cannot_be_raced_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        race(**{"log_probs": told(40, 8), "score": acquire.bald, "k": 2} | change)


def test_maps_are_refused():
    maps = torch.log_softmax(torch.randn(60, 8, 3, 2, 2, generator=torch.Generator().manual_seed(0)), 2)
    with pytest.raises(Unsupported, match="one prediction an item"):
        race(maps, acquire.bald, 2)
    picks, _ = race(maps, acquire.bald, 2, risk=0)
    assert set(picks.indices) == set(acquire.bald(maps).mean((1, 2)).argsort(descending=True)[:2].tolist())


def test_few_samples_may_agree_on_everything():
    """Of few masks on few units all may keep everything; all of them then decide, as they do without a race."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.02), nn.Linear(8, 3))
    pool = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    posterior, agreeing = MCDropout(network), []
    for seed in range(4):
        draws = posterior.draw(20, seed)
        few = draws[:4](torch.from_numpy(pool))
        agreeing.append(bool((few == few[:, :1]).all()))
        scores = score.predict(draws, pool, acquire.bald)
        picks, _ = racing.race(draws, pool, acquire.bald, 3, 0.05)
        assert scores[picks.indices] == pytest.approx(np.sort(scores)[:-4:-1])
        scorer = score.PoolScorer(20, seed)
        again, _ = racing.race_by(scorer, posterior, from_arrays(pool), acquire.bald, 3, 0.05)
        assert again.indices.tolist() == picks.indices.tolist()
    assert any(agreeing)
    network[2].p = 1.0
    with pytest.warns(TieBreakWarning, match="agree on every item"):
        picks, _ = racing.race(MCDropout(network).draw(20), pool, acquire.bald, 3, 0.05)
    assert picks.indices.tolist() == [0, 1, 2]


def outliers(n, samples, seed=0):
    """Steady disagreement about all items but the best one, which owes its score to a fifth of the samples."""
    rng = np.random.default_rng(seed)
    signs = rng.permuted(np.tile([1, -1], (n, samples // 2)), axis=1)
    p = 0.5 + rng.uniform(0, 0.4, n)[:, None] * signs
    p[0] = rng.permutation(np.where(np.arange(samples) < samples // 5, 0.97, 0.01))
    return acquire.from_probs(torch.from_numpy(np.stack([p, 1 - p], 2)))


def missing(log_probs, k, risk, runs):
    """How many of some races, each with another order of the samples, miss one of the k best."""
    scores, rng = acquire.bald(log_probs).numpy(), np.random.default_rng(0)
    last = np.sort(scores)[-k]
    found = []
    for _ in range(runs):
        order = torch.from_numpy(rng.permutation(log_probs.shape[1]))
        picks, _ = race(log_probs[:, order], acquire.bald, k, risk, rng)
        found.append(picks)
    return sum(bool((scores[picks.indices] < last - 1e-6).any()) for picks in found), found


def test_the_condition_of_the_risk(as_it_is):
    """Where a few samples make one of the best, more is missed than is stated; risk 0 misses nothing there."""
    missed, raced = missing(outliers(1000, 100), 5, 0.05, 100)
    assert {picks.info["refused"] for picks in raced} == {""}
    assert 8 <= missed <= 30  # 5 were stated, so the condition is needed
    assert missing(outliers(1000, 100), 5, 0, 3)[0] == 0


def test_the_risk_holds_where_a_few_samples_make_all_scores(as_it_is):
    """Then the cut is low, and hardly anybody leaves: such a race is refused."""
    rng = np.random.default_rng(0)
    p = np.full((1200, 20), 0.02)
    for row, count in zip(p, rng.poisson(1.0, 1200), strict=True):
        row[rng.permutation(20)[:count]] = 0.95
    log_probs = acquire.from_probs(torch.from_numpy(np.stack([p, 1 - p], 2)))
    missed, raced = missing(log_probs, 5, 0.05, 20)
    assert missed == 0
    refused = ["% of the samples, by a part of the items" in picks.info["refused"] for picks in raced]
    assert sum(refused) >= 15
    assert np.mean([picks.info["share"] for picks in raced]) < 1.1


@pytest.mark.parametrize("score", [acquire.bald, acquire.margin])
@pytest.mark.parametrize("risk", [0, 0.05])
def test_a_race_seldom_needs_more_samples_than_none(score, risk, as_it_is):
    shares = []
    for seed in range(6):
        for log_probs in (told(1000, 20, seed), outliers(1000, 20, seed), outliers(1000, 40, seed)):
            picks, scores = race(log_probs, score, 5, risk)
            shares.append(picks.info["share"])
            whole = np.asarray(score(log_probs))
            assert scores[picks.indices] == pytest.approx(whole[picks.indices], abs=1e-6)
    assert np.mean(shares) < 1.06


@pytest.mark.parametrize(
    ("n", "samples", "k", "why"),
    [
        (999, 20, 5, "999 items are fewer than 1,000"),
        (1000, 3, 5, "3 samples are fewer than 4"),
        (1000, 20, 250, "250 items to choose are a quarter of 1,000, or more"),
    ],
)
def test_what_cannot_gain_is_not_raced(n, samples, k, why, as_it_is):
    log_probs = told(n, samples)
    picks, scores = race(log_probs, acquire.bald, k)
    assert picks.info["refused"] == why
    assert picks.info["share"] == 1
    assert scores == pytest.approx(acquire.bald(log_probs).numpy())


def test_pilots_keep_their_scores_in_a_race(as_it_is):
    log_probs = told(2000, 40)
    picks, scores = race(log_probs, acquire.bald, 5)
    assert picks.info["refused"] == ""
    assert picks.info["share"] < 0.5
    best = np.sort(acquire.bald(log_probs).numpy())[-5:]
    assert np.sort(picks.scores) == pytest.approx(best, abs=1e-6)
    assert scores[picks.indices] == pytest.approx(picks.scores)
