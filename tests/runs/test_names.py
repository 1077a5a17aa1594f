"""Names in settings."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from baldur import learners, strategies
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.learners import Supervised
from baldur.posteriors import fit
from baldur.runs.names import (
    as_factory,
    augment_named,
    fitting_named,
    learner_named,
    loss_named,
    network_named,
    schedule_named,
    strategy_named,
)
from baldur.training import augmentation


def test_a_posterior_is_named_with_its_options():
    assert fitting_named("mc-dropout") is fitting_named("mc_dropout") is fit.mc_dropout
    assert fitting_named("ensemble", members=3) == fit.ensemble(3)
    assert fitting_named("ensemble(members=2, init='shared')", members=3) == fit.ensemble(2, init="shared")
    both = fit.ensemble(4, each=fit.mc_dropout)
    assert (
        fitting_named("dropout-ensemble", members=4)
        == fitting_named("ensemble(members=4, each='mc-dropout')")
        == both
        == fitting_named("dropout-ensemble(members=4)")
    )
    assert fitting_named("dropconnect") is fit.dropconnect


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mc-dropot", "did you mean mc-dropout"),
        ("supervised", "no posterior 'supervised'"),
        ("ensemble(size=3)", "ensemble\\(members"),
        ("ensemble(members=0)", "at least one member"),
        ("ensemble(each='swug')", "no posterior 'swug'"),
        ("ensemble(3)", "option=value"),
        ("no.such.module:thing", "no.such"),
        ("ensemble(each=3)", "each must be the name of a posterior"),
        ("ensemble(members='a')", "members must be a whole number, not 'a'"),
        ("ensemble(**{'members': 3})", "option=value"),
        ("ensemble({[]: 1})", "option=value"),
        ("swag(rank='a')", "rank must be a whole number, not 'a'"),
        ("swag(rank=True)", "rank must be a whole number, not True"),
        ("swag(train=1)", "multiple values for argument 'train'"),
        ("swag(size=1)", r"write it as swag\(rank: int = 20, collections: int = 20, "),
        ("laplace(structure='round')", "structure must be 'full' or 'kronecker' or 'diagonal'"),
        ("learning_loss(layers='a')", "layers must be a list or None, not 'a'"),
        ("mean-teacher", "it is a learner: --learner mean-teacher"),
    ],
)
def test_a_posterior_that_is_not_there_is_said(name, words):
    with pytest.raises(InvalidSettings, match=words):
        fitting_named(name)


class Fake:
    """A learner that tells how it was made."""

    def __init__(self, *made):
        self.made = made

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        raise NotImplementedError

    def load(self, folder):
        raise NotImplementedError


def test_a_learner_wraps_another():
    made = []

    def supervised():
        made.append(Fake("plain"))
        return made[-1]

    def named(name):
        return learner_named(name).make(supervised, 3, ("network", 3, "settings"))

    assert named("supervised") is made[-1]
    outer = named(f"{__name__}:around(weight=2) + ceal(most=5)")
    assert outer.made == (5, 2)
    assert named("ceal(most=4) + random-forest(trees=3)").learner.classes == 3
    with pytest.raises(InvalidSettings, match="did you mean ceal"):
        named("caal")


def supervised():
    return Supervised(lambda: nn.Linear(2, 3), classes=3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ceal(learner=3)", "multiple values for argument 'learner'"),
        ("ceal(threshold='a')", "threshold must be a number, not 'a'"),
        ("ceal(threshold=-1)", "must be numbers and not negative"),
        (
            "mean_teacher(size=2)",
            r"write it as mean_teacher\(decay: float = 0.95, .*int \| None = None, predict: str",
        ),
        ("random_forest(classes=3)", "multiple values for argument 'classes'"),
        ("random_forest(trees='x')", "trees must be a whole number of at least 1, not 'x'"),
        ("supervised(p=1)", r"write it as supervised\(\)"),
        ("mean_teacher + ceal(most=3)", r"it must come later: 'ceal\(most=3\) \+ mean_teacher'"),
        ("mean_teacher + ceal + pi_model", r"it must come later: 'ceal \+ mean_teacher \+ pi_model'"),
        ("mean_teacher + random_forest", "random_forest trains no network"),
        (
            "supervised + ceal",
            r"supervised cannot wrap another learner, so it must come last: 'ceal \+ supervised'",
        ),
        ("random_forest(trees=3) + ceal", r"it must come last: 'ceal \+ random_forest\(trees=3\)'"),
        ("ceal + ", "no learner ''"),
        ("learning-loss", "it is a posterior: --posterior learning-loss"),
        (f"{__name__}:own(size=2)", f"write it as {__name__}:own\\(depth: int = 1\\)"),
        (f"{__name__}:own(depth='a')", "depth must be a whole number"),
        (f"{__name__}:own + ceal", "missing a required argument: 'classes'"),
        (f"{__name__}:nothing", "returned a int"),
    ],
)
def test_a_learner_that_cannot_be_is_said(name, words):
    with pytest.raises(InvalidSettings, match=words):
        learner_named(name).make(supervised, 3, ("network", 3, "settings"))


@pytest.mark.parametrize("values", [{"threshold": math.nan}, {"decay_rate": math.nan}, {"weight": math.nan}])
def test_what_is_no_number_is_refused(values):
    with pytest.raises(InvalidArgument, match="must be numbers"):
        learners.ceal(supervised(), **values)


def own(network, classes, settings, *, depth: int = 1):
    return Fake(network, classes, settings, depth)


def nothing(network, classes, settings):
    return 3


def broken(network, classes, settings):
    raise TypeError("of one's own")


def around(learner, *, weight=1.0):
    return Fake(learner.made if isinstance(learner, Fake) else learner.most, weight)


def test_one_s_own_learner_is_written_like_any_other():
    def named(name):
        return learner_named(name).make(supervised, 3, ("network", 3, "settings"))

    assert named(f"{__name__}:own").made == ("network", 3, "settings", 1)
    assert named(f"{__name__}:own(depth=2)").made == ("network", 3, "settings", 2)
    assert named(f"ceal(most=4) + {__name__}:own").learner.made[-1] == 1
    assert named(f"{__name__}:around(weight=2)+{__name__}:own").made == (("network", 3, "settings", 1), 2)
    assert isinstance(named("ceal+mean_teacher").learner, Supervised)
    with pytest.raises(TypeError, match="of one's own"):
        named(f"{__name__}:broken")


def test_augmentations_have_short_names():
    assert augment_named("weak") is augmentation.weak
    flipped = augment_named("baldur.training.augmentation:weak(flip=True)")
    x = torch.rand(4, 1, 8, 8)
    said = [
        change(x, torch.Generator().manual_seed(0))
        for change in (flipped, partial(augmentation.weak, flip=True))
    ]
    assert torch.equal(*said)
    assert torch.equal(said[0], augment_named("weak(flip=True)")(x, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("named", "name", "words"),
    [
        (augment_named, "week", "did you mean weak"),
        (augment_named, "weak(flip=2)", "flip must be True or False"),
        (augment_named, "weak(x=2)", "multiple values for argument 'x'"),
        (loss_named, "generalised-cross-entropy(q=2)", "not 2"),
        (loss_named, "generalised-cross-entropy(q='a')", "q must be a number"),
        (schedule_named, "steps(at=0.5)", "at must be a list"),
        (schedule_named, "steps(factor=-1)", "multiplied by -1"),
        (network_named, "resnet18(classes=3)", "multiple values for argument 'classes'"),
        (strategy_named, "power_bald(k=3)", "argument 'k'; write it as power_bald.beta: float = 1.0"),
        (strategy_named, "power_bald(beta='a')", "beta must be a number"),
    ],
)
def test_options_that_cannot_be_used_are_said(named, name, words):
    with pytest.raises(InvalidSettings, match=words):
        named(name)


class Own(nn.Module):
    def __init__(self, hidden=8):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, hidden), nn.Dropout(0.5), nn.Linear(hidden, 3))

    def forward(self, x):
        return self.layers(x)


def test_a_factory_may_take_no_arguments():
    for factory in (Own, lambda: Own(), as_factory(Own)):
        assert isinstance(as_factory(factory)((4,), 3), Own)
    assert network_named(f"{__name__}:Own(hidden=5)")((4,), 3).layers[0].out_features == 5


def test_a_factory_that_takes_something_else_is_told_what_it_gets():
    with pytest.raises(InvalidSettings, match=r"shape of an item, number of classes.* takes \(shape\)"):
        as_factory(lambda shape: Own())


@pytest.mark.parametrize("thing", [{"a": 1}, [Own()], 3, torch.ones(3), Own().state_dict()])
def test_what_is_no_factory_is_named(thing):
    with pytest.raises(
        InvalidSettings, match=rf"network= is an object of the type {type(thing).__name__}; give"
    ):
        as_factory(thing)


def test_an_option_of_a_strategy_may_be_a_strategy():
    bound = strategy_named("two_stage(then=margin, first=random, per_class=3)")
    assert (bound.keywords["then"], bound.keywords["first"]) == (strategies.margin, strategies.random)
    assert bound.keywords["per_class"] == 3
    assert strategy_named("two_stage(then=power_bald(beta=2.0))").keywords["then"].keywords == {"beta": 2.0}
    with pytest.raises(InvalidSettings, match="there is no strategy 'margn'; did you mean margin"):
        strategy_named("two_stage(then=margn)")
    with pytest.raises(InvalidSettings, match="a text in quotes"):
        fitting_named("swag(rank=ten)")
