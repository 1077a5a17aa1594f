"""Passes on a cluster: the same results as the plain loop, whatever is lost on the way."""

from dataclasses import replace

import numpy as np
import pytest
from tests.distributed.setting import PLAIN, on_ray
from torch import nn

from baldur import acquire
from baldur.data import from_arrays
from baldur.distributed import RayScorer
from baldur.errors import IdenticalDraws, InvalidPredictions, Unsupported
from baldur.posteriors import MCDropout
from baldur.protocols import View
from baldur.score.scorer import PoolScorer
from baldur.strategies.racing import race_by

pytestmark = on_ray


def test_a_pass_equals_the_plain_one_bit_for_bit(cluster, posterior, pool):
    there = RayScorer(PLAIN, cluster, block=16)
    pool = View(pool, np.arange(100, -1, -1))
    scores = there.predict(posterior, pool, acquire.bald)
    assert scores.tobytes() == PLAIN.predict(posterior, pool, acquire.bald).tobytes()
    assert there.predict(posterior, pool).tobytes() == PLAIN.predict(posterior, pool).tobytes()
    assert there.features(posterior, pool).tobytes() == PLAIN.features(posterior, pool).tobytes()
    assert there.predict(posterior, View(pool, np.arange(0)), acquire.bald).shape == (0,)
    with pytest.raises(Unsupported, match="loss"):
        there.outputs(posterior, pool, "loss")


def test_streamed_through_actors_it_is_the_same(cluster, posterior, pool):
    told = []
    plain = replace(PLAIN, progress=lambda *done: told.append(done))
    streamed = replace(cluster, few=0, workers=1)
    scores = RayScorer(plain, streamed, block=16).predict(posterior, pool, acquire.bald)
    assert scores.tobytes() == PLAIN.predict(posterior, pool, acquire.bald).tobytes()
    assert told[0] == (0, 101)
    assert told[-1] == (101, 101)
    assert len(told) == 8


class Breaks:
    """A reduction that fails at one item, until a file is there."""

    def __init__(self, value, mended):
        self.value, self.mended = value, mended

    def __call__(self, log_probs):
        scores = acquire.bald(log_probs)
        if not self.mended.exists() and (scores == self.value).any():
            raise ArithmeticError("at that item")
        return scores


def test_a_pass_that_broke_off_goes_on_with_what_is_missing(cluster, posterior, pool, tmp_path):
    whole = PLAIN.predict(posterior, pool, acquire.bald)
    reduce = Breaks(whole[60], tmp_path / "mended")
    told = []
    plain = replace(PLAIN, progress=lambda *done: told.append(done))
    there = RayScorer(plain, cluster, tmp_path / "blocks", block=8)
    with pytest.raises(ArithmeticError, match="at that item"):
        there.predict(posterior, pool, reduce)
    (folder,) = (tmp_path / "blocks").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert 0 < len(before) < 13
    (tmp_path / "mended").touch()
    told.clear()
    assert there.predict(posterior, pool, reduce).tobytes() == whole.tobytes()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()}.items() >= before.items()
    assert len(list(folder.iterdir())) == 13
    other = MCDropout(nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)))
    there.predict(other, pool, reduce)
    assert len(list((tmp_path / "blocks").iterdir())) == 2  # another posterior is another pass


@pytest.mark.parametrize("risk", [0.0, 0.05])
def test_a_race_there_picks_what_a_race_here_does(cluster, posterior, risk, tmp_path):
    """Its passes over all items differ in nothing but in which samples they are of."""
    many = from_arrays(np.random.default_rng(1).normal(size=(300, 2, 3)).astype(np.float32))
    plain = PoolScorer(draws=20, seed=1)
    here, scores = race_by(plain, posterior, many, acquire.bald, 10, risk, 3)
    there, others = race_by(RayScorer(plain, cluster, tmp_path), posterior, many, acquire.bald, 10, risk, 3)
    assert there.indices.tolist() == here.indices.tolist()
    assert (others == scores).all()


def test_it_says_what_a_pass_may_take(cluster):
    assert RayScorer(PoolScorer(memory="4MiB"), cluster).memory == "4MiB"


def test_errors_are_those_of_the_plain_pass(cluster, posterior, inputs, pool):
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(6, 3)

        def forward(self, x):
            return self.out(x.flatten(1)) + 0 * self.drop(x.flatten(1)).sum(1, keepdim=True)

    there = RayScorer(PLAIN, cluster, block=16)
    with pytest.raises(IdenticalDraws, match="do not depend on its dropout"):
        there.predict(MCDropout(Dead()), pool, acquire.bald)
    inputs[64] = np.nan
    with pytest.raises(InvalidPredictions, match="64"):
        there.predict(posterior, from_arrays(inputs))
