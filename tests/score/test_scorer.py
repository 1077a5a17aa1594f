"""How many functions of a posterior are scored."""

import pytest
import torch
from torch import nn

from baldur import data
from baldur.errors import InvalidArgument
from baldur.posteriors import Deterministic, Ensemble, MCDropout
from baldur.protocols import Posterior, Scorer
from baldur.score import PoolScorer, draws_of
from baldur.score.subset import SomeSamples


def network():
    return nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))


X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


class Bare:
    """A posterior of the first days: it draws, and saves."""

    def draw(self, T=None, seed=0):
        return MCDropout(network()).draw(T, seed)

    def save(self, folder):
        raise NotImplementedError


class Inheriting(Bare, Posterior):
    pass


def test_so_many_as_are_asked_for_or_all_that_there_are():
    assert len(draws_of(MCDropout(network()), 7)) == 7
    assert len(draws_of(MCDropout(network()))) == 20
    assert len(draws_of(Ensemble([network(), network()]), 7)) == 2
    assert len(draws_of(Deterministic(network()), 7)) == 1
    assert len(draws_of(SomeSamples(Ensemble([network(), network()]), slice(1), part=True), 7)) == 1


def test_a_posterior_that_lacks_members_is_refused_and_told_how_to_get_them():
    with pytest.raises(InvalidArgument, match=r"not Bare.*base class baldur\.protocols\.Posterior"):
        draws_of(Bare(), 4)
    own = Inheriting()
    assert (own.functions, list(own.networks)) == (None, [])
    assert len(draws_of(own, 4)) == 4
    assert PoolScorer(draws=4).predict(own, data.from_arrays(X)).shape == (5, 4, 3)


def test_a_class_that_does_not_draw_is_no_posterior():
    class Mute(Posterior):
        def save(self, folder):
            raise NotImplementedError

    with pytest.raises(TypeError, match="draw"):
        Mute()


def test_it_keeps_the_contract():
    assert isinstance(PoolScorer(), Scorer)
    assert PoolScorer(memory="2GiB").memory == "2GiB"
