"""Which dropout calls are seen, and that each acts as its network has it."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from baldur import posteriors
from baldur.errors import NoStochasticSite, UnsupportedNetwork
from baldur.posteriors import MCDropout
from baldur.posteriors.dropout import sites
from baldur.testing.posterior import verify_posterior


def vectors(n=7):
    return torch.randn(n, 12, generator=torch.Generator().manual_seed(1))


class Parts(nn.Module):
    """Two linear layers and two dropout modules, put together by a function of them and the input."""

    def __init__(self, forward, p=0.5, inplace=False):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(12, 12), nn.Linear(12, 3)
        self.drop, self.other = nn.Dropout(p, inplace), nn.Dropout(p)
        self.rule = forward

    def forward(self, *args, **kwargs):
        return self.rule(self, *args, **kwargs)


def sometimes(s, x):
    h = s.a(x)
    if bool(x.mean() > 0):
        h = s.drop(h)
    return s.b(s.other(h.relu()))


def test_fewer_dropout_calls_on_another_batch_are_refused():
    draws = MCDropout(Parts(sometimes)).draw(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot be vectorised either
        draws(vectors().abs())
        with pytest.raises(UnsupportedNetwork, match=r"made 1 dropout calls.*'other' \(unit\).*another path"):
            draws(-vectors().abs())


def test_a_head_that_only_training_has_is_left_out_and_named():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.7), nn.Linear(12, 3)

        def forward(self, h):
            return self.out(self.drop(h))

    network = Parts(lambda s, x: (s.b(s.drop(s.a(x))), s.head(x)) if s.training else s.b(s.drop(s.a(x))))
    network.head = Head()
    with pytest.warns(UserWarning, match=r"deterministic here: 'head\.drop' \(unit\)$"):
        found = MCDropout(network).draw(4)(vectors())
    assert torch.equal(found, MCDropout(Parts(lambda s, x: s.b(s.drop(s.a(x))))).draw(4)(vectors()))


def test_dropout_behind_a_question_for_the_mode_is_an_error_with_a_way_out():
    network = Parts(lambda s, x: s.b(s.drop(s.a(x)) if s.training else s.a(x)))
    with pytest.raises(NoStochasticSite, match=r"'drop' \(unit\).*without asking"):
        MCDropout(network).draw(4)(vectors())


def summed(s, x):
    h = s.a(x)
    y = s.drop(h)
    return s.b(h + y)


def ignored(s, x):
    h = s.a(x)
    s.drop(h)
    return s.b(h)


def viewed(s, x):
    h = s.a(x)
    s.drop(h.view(len(h), 3, 4))
    return s.b(h)


def twice(s, x):
    h = s.a(x)
    y = s.drop(s.drop(h))
    return s.b(h + y)


def of_the_input(s, x):
    s.drop(x)
    return s.b(x)


@pytest.mark.parametrize("rule", [summed, ignored, viewed, twice, of_the_input])
def test_dropout_in_place_acts_in_place(rule):
    network, x = Parts(rule, inplace=True), vectors()
    posterior = MCDropout(network)
    draws = posterior.draw(4)
    with pytest.warns(UserWarning, match="cannot be vectorised"):
        found = draws(x)
    assert torch.equal(x, vectors())
    masks = [draws._mask(i, s, torch.Size(s.shape)) for i, s in enumerate(posterior.plan(x).sites)]
    for t in range(4):
        scale = torch.stack([mask[t].reshape(1, 12) * 2.0 for mask in masks]).prod(0)
        h = (x if rule is of_the_input else network.a(x)) * scale
        expected = network.b(2 * h if rule in (summed, twice) else h).log_softmax(1)
        torch.testing.assert_close(found[:, t], expected)


def test_logits_may_be_dropped_in_place():
    def rule(s, x):
        z = s.b(s.a(x))
        s.drop(z)
        return z

    with pytest.warns(UserWarning, match="cannot be vectorised"):
        found = MCDropout(Parts(rule, inplace=True)).draw(4)(vectors())
    torch.testing.assert_close(found, MCDropout(Parts(lambda s, x: s.drop(s.b(s.a(x))))).draw(4)(vectors()))


@pytest.mark.parametrize(
    "rule",
    [
        lambda s, x: s.b(x + s.drop(s.a(x)).relu()),
        lambda s, x: s.b(torch.cat([x[:, :0], s.drop(h := s.a(x)).view(h.shape[0], h.size(1))], 1) + x),
    ],
)
def test_dropout_in_place_on_what_is_not_used_again_is_vectorised(rule):
    """No warning comes, and samples are those of dropout out of place."""
    found = MCDropout(Parts(rule, inplace=True)).draw(4)(vectors())
    torch.testing.assert_close(found, MCDropout(Parts(rule)).draw(4)(vectors()))


def test_rows_that_may_look_at_nothing_are_as_in_pytorch():
    class Masked(nn.Module):
        def __init__(self, p):
            super().__init__()
            self.p, self.drop, self.out = p, nn.Dropout(0.5), nn.Linear(8, 3)

        def forward(self, x):
            keep = torch.ones(7, 7, dtype=torch.bool).tril()
            keep[:, :2] = False
            p = self.p if self.training else 0.0
            return functional.scaled_dot_product_attention(x, x, x, keep[None], dropout_p=p)

    x = torch.randn(5, 7, 8, generator=torch.Generator().manual_seed(0))
    expected = Masked(1e-12).train()(x)  # drops nothing
    with sites.Dropouts(lambda kind, p, h, in_place: h):
        found = Masked(0.3).train()(x)
    assert (expected[:, :2] == 0).all()
    torch.testing.assert_close(found, expected)


def test_arguments_by_name():
    def rule(s, x):
        return functional.linear(input=s.drop(s.a(x)), weight=s.b.weight, bias=s.b.bias)

    verify_posterior(MCDropout, Parts(rule), vectors())


@pytest.mark.parametrize("posterior", [MCDropout, posteriors.Deterministic])
def test_probabilities_are_refused_where_they_are_returned(posterior):
    def beside(s, x):
        z = s.b(s.drop(s.a(x)))
        s.kept = z.softmax(1)
        return z

    def looked_at(s, x):
        p = s.b(s.drop(s.a(x))).softmax(1)
        assert p.shape == (len(x), 3)
        return p

    assert posterior(Parts(beside)).draw(1)(vectors()).isfinite().all()
    with pytest.raises(UnsupportedNetwork, match="ends in softmax"):
        posterior(Parts(looked_at)).draw(1)(vectors())


@pytest.mark.parametrize(
    "batch", [(vectors(), None, vectors()), {"m": None, "x": vectors()}], ids=["tuple", "dict"]
)
def test_inputs_that_are_none(batch):
    def rule(s, x: Tensor, m: Tensor | None = None, y: Tensor | None = None):
        h = s.a(x) if m is None else s.a(x) * m
        return s.b(s.drop(h if y is None else h + y))

    found = MCDropout(Parts(rule)).draw(4)(batch)
    other = MCDropout(Parts(lambda s, x, y=0: s.b(s.drop(s.a(x) + y)))).draw(4)
    torch.testing.assert_close(
        found, other((vectors(), vectors()) if isinstance(batch, tuple) else vectors())
    )
