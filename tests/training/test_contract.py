"""What may be asked of a posterior function."""

from dataclasses import dataclass
from functools import partial

import pytest

from baldur.learners import mean_teacher
from baldur.learners.supervised import Supervised
from baldur.posteriors.fit import ensemble, mc_dropout, swag
from baldur.protocols import pictures_of
from baldur.training.contract import Fitting, WrappingFitting, options_of


def own(train, labelled, seed):
    raise NotImplementedError


@dataclass
class Wrapped(WrappingFitting):
    inner: object

    def __call__(self, train, labelled, seed):
        return self.inner(train, labelled, seed)


class Able:
    """A posterior function that has all that may be asked for."""

    options = {"width": 0.25}  # noqa: RUF012

    def __call__(self, train, labelled, seed):
        raise NotImplementedError

    def pictures(self):
        return b"PNG"


@pytest.mark.parametrize(
    "fitting",
    [own, mc_dropout, partial(swag, rank=3), ensemble(2), Wrapped(own)],
    ids=lambda f: type(f).__name__,
)
def test_most_posterior_functions_build_the_networks_of_the_factory(fitting):
    assert isinstance(fitting, Fitting)
    assert options_of(fitting) == {}
    assert pictures_of(fitting) is None


@pytest.mark.parametrize(
    ("fitting", "options"),
    [
        (ensemble(2, capacity=0.5), {"width": 0.5}),
        (ensemble(2, each=Able()), {"width": 0.25}),
        (Wrapped(ensemble(2, capacity=0.5)), {"width": 0.5}),
        (Able(), {"width": 0.25}),
    ],
)
def test_some_say_with_which_options(fitting, options):
    assert options_of(fitting) == options


def test_what_changes_the_training_passes_on_what_may_be_asked():
    learner = mean_teacher(Supervised(lambda: None, classes=2, posterior=Able()))
    assert options_of(learner.posterior) == {"width": 0.25}
    assert pictures_of(learner.posterior) == b"PNG" == learner.pictures()
