import re

import pytest
from tests.stopping.histories import saying

from baldur.errors import InvalidSettings
from baldur.stopping import named


def test_names_are_composed_and_mistakes_are_said():
    made = named("budget(500) | stabilising_predictions(kappa=0.98) & overall_uncertainty")
    assert made.name == (
        "(budget(labels=500) | (stabilising_predictions(kappa=0.98, window=3) & overall_uncertainty(level=0.05)))"
    )
    assert named(made.name).name == made.name
    assert named("overall-uncertainty(level=0.1)").name == "overall_uncertainty(level=0.1)"
    own = named("mine:ready(2)", lambda name: lambda n: saying(f"{name} {n}"))
    assert own.name == "mine:ready 2"
    for text, words in (
        ("budgit(5)", "did you mean budget"),
        ("budget(5", "joined by | or &"),
        ("budget(5) + budget(6)", "joined by | or &"),
        ("budget(open('x'))", "joined by | or &"),
        ("budget()", "missing a required argument: 'labels'"),
        ("overall-uncertainty(level=2)", "level is a number from 0 to 1, not 2"),
        ("budget(size=5)", "write it as budget(labels: int)"),
        ("not.here(5)", "joined by"),
        ("budget({[]:1})", "joined by"),
        ("budget(5) |", "there is no stopping criterion ''"),
        ("mine:ready", "there is no stopping criterion 'mine:ready'"),
        ("overall-uncertainty(level='low')", "level must be a number, not 'low'"),
        ("target(0.9, metric='not-here')", "'not-here' has none here"),
    ):
        with pytest.raises(InvalidSettings, match=re.escape(words)):
            named(text)
    mixed = named("(mine:ready(n=2) | budget(9)) & budget(7)", lambda name: lambda n: saying(name))
    assert mixed.name == "((mine:ready | budget(labels=9)) & budget(labels=7))"
    assert named("budget(5) | budget(6) | budget(7)").name == (
        "((budget(labels=5) | budget(labels=6)) | budget(labels=7))"
    )
    assert named("plateau(metric='f1_a|b', split='test') | budget(5)").rounds == 0
    with pytest.raises(InvalidSettings, match="returned a int"):
        named("mine:ready", lambda name: lambda: 3)
