"""The verifier of posteriors says what is missing."""

import pytest
import torch
from torch import nn

from baldur.posteriors import Deterministic, MCDropout
from baldur.protocols import Posterior
from baldur.testing import verify_posterior

X = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


class Around(Posterior):
    """Another posterior, told wrongly."""

    def __init__(self, plain, inner=MCDropout):
        self.inner = inner(plain)

    def draw(self, T=None, seed=0):
        return self.inner.draw(T, seed)

    def save(self, folder):
        self.inner.save(folder)


class Several(Around):
    functions = 7


class NoFunctions(Around):
    functions = 0


class Names(Around):
    networks = ("mlp",)


class Few(Around):
    def draw(self, T=None, seed=0):
        return self.inner.draw(T or 20, seed)


class Short(Around):
    def draw(self, T=None, seed=0):
        return self.inner.draw(T, seed)[:2]


class Bare:
    def __init__(self, plain):
        self.inner = MCDropout(plain)

    def draw(self, T=None, seed=0):
        return self.inner.draw(T, seed)

    def save(self, folder):
        self.inner.save(folder)


def test_one_that_inherits_what_it_does_not_say_holds():
    verify_posterior(Around, network(), X)
    verify_posterior(lambda plain: Deterministic(plain), network(), X, T=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Bare, "Bare lacks a member of protocols.Posterior"),
        (Several, "does not give all 7 functions"),
        (NoFunctions, "there are 0 functions"),
        (Names, "networks holds str"),
        (Few, r"draw\(0\) raises no InvalidArgument"),
        (Short, r"draw\(4\) has the length 2"),
        (lambda plain: Around(plain, lambda net: Deterministic(net)), "T = 4 were asked for"),
    ],
)
def test_what_does_not_hold_is_named(make, message):
    with pytest.raises((AssertionError, ValueError), match=message):
        verify_posterior(make, network(), X)


def test_more_functions_than_there_are_have_to_be_refused():
    class Endless(Around):
        functions = 20

    with pytest.raises(AssertionError, match=r"draw\(functions \+ 1\)"):
        verify_posterior(Endless, network(), X)
