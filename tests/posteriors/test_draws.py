"""Draws by numbers, and draws around draws."""

import pytest
import torch

from baldur.errors import InvalidArgument
from baldur.posteriors.draws import NumberedDraws, WrappedDraws, number_of_draws
from baldur.protocols import Draws

X = torch.arange(6.0).reshape(3, 2)


class Slopes(NumberedDraws):
    """Sample t is the function (0, t · x₀) of classes."""

    def _at(self, samples):
        return type(self)(self.kind, samples, self._same)

    def __call__(self, x):
        slopes = x[:, :1] * torch.tensor(self.samples, dtype=x.dtype)
        return torch.stack([torch.zeros_like(slopes), slopes], 2).log_softmax(2)

    def features(self, x):
        return x


class Cut(Slopes):
    def split(self):
        return lambda x: x[:, :1], self


def slopes(T=4, **options):
    return Slopes("categorical", range(T), **options)


@pytest.mark.parametrize(
    ("T", "functions", "expected"), [(None, None, 20), (None, 7, 7), (5, None, 5), (5, 7, 5), (7, 7, 7)]
)
def test_how_many_are_drawn(T, functions, expected):
    assert number_of_draws(T, functions) == expected


def test_what_unset_stands_for_may_be_said():
    assert number_of_draws(None, unset=21) == 21
    assert number_of_draws(None, 3, unset=21) == 3


def test_too_few_and_too_many_are_refused():
    with pytest.raises(InvalidArgument, match="T = 0"):
        number_of_draws(0)
    with pytest.raises(InvalidArgument, match=r"7 function\(s\), and T = 8 were asked for"):
        number_of_draws(8, 7)


def test_slices_keep_the_numbers_of_their_samples():
    draws = slopes()
    assert isinstance(draws, Draws)
    assert (len(draws), len(draws[1:]), list(draws[1:][::2].samples)) == (4, 3, [1, 3])
    assert (draws[2:](X) == draws(X)[:, 2:]).all()
    with pytest.raises(InvalidArgument, match="holds none"):
        draws[4:]
    with pytest.raises(InvalidArgument, match="T = 0"):
        slopes(0)


def test_one_sample_is_degenerate_and_so_are_those_that_the_user_made_equal():
    assert not slopes().degenerate
    assert slopes()[:1].degenerate
    assert slopes(degenerate=True)[1:].degenerate


def test_there_are_outputs_and_no_cut_where_nothing_else_is_said():
    outputs = slopes().outputs(X, ("features", "log_probs"))
    assert (outputs["features"] == X).all()
    assert (outputs["log_probs"] == slopes()(X)).all()
    assert slopes().split() is None


def test_a_wrapper_that_changes_nothing_is_the_same_functions():
    draws = Cut("categorical", range(4))
    same = WrappedDraws(draws)
    assert isinstance(same, Draws)
    assert (same.kind, same.names, same.degenerate, len(same)) == ("categorical", draws.names, False, 4)
    assert (same(X) == draws(X)).all()
    assert (same[1:](X) == draws[1:](X)).all()
    assert (same.features(X) == X).all()
    trunk, rest = same.split()
    assert (rest(trunk(X)) == draws(X)).all()
    assert WrappedDraws(slopes()).split() is None


def test_a_wrapper_changes_inputs_and_log_probabilities_wherever_they_come_out():
    draws = Cut("categorical", range(4))
    wrapped = WrappedDraws(draws, before=lambda x: 2 * x, after=lambda log_probs: 3 * log_probs)[1:]
    expected = 3 * draws[1:](2 * X)
    trunk, rest = wrapped.split()
    for found in (wrapped(X), rest(trunk(X)), wrapped.outputs(X, ("features", "log_probs"))["log_probs"]):
        assert (found == expected).all()
    assert (wrapped.features(X) == 2 * X).all()


def test_a_wrapper_adds_outputs():
    wrapped = WrappedDraws(slopes(), before=lambda x: 2 * x, more={"loss": lambda x: x.sum(1)})
    assert wrapped.names == ("log_probs", "features", "loss")
    outputs = wrapped[:2].outputs(X, ("loss", "log_probs"))
    assert outputs["loss"].tolist() == [2.0, 10.0, 18.0]
    assert (outputs["log_probs"] == slopes(2)(2 * X)).all()
    assert set(wrapped.outputs(X, ("loss",))) == {"loss"}


def test_samples_that_may_agree_count_as_degenerate():
    assert WrappedDraws(slopes(), may_agree=True).degenerate
    assert WrappedDraws(slopes(degenerate=True)).degenerate
