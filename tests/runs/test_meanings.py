"""Names keep the meaning that they had when a run was started."""

import pytest

from baldur.runs import settings
from baldur.runs.folder import as_stored, settle
from baldur.runs.meanings import as_before


@pytest.mark.parametrize(
    ("setting", "text", "expected"),
    [
        ("learner", "ceal", "ceal(model='previous')"),
        ("learner", "ceal(threshold=0.1) + supervised", "ceal(threshold=0.1, model='previous') + supervised"),
        ("learner", "label-propagation + ceal", "label-propagation + ceal(model='previous')"),
        ("learner", "baldur.learners:ceal", "baldur.learners:ceal(model='previous')"),
        ("learner", "ceal(model='current')", "ceal(model='current')"),
        ("learner", "mine.learners:ceal", "mine.learners:ceal"),
        ("learner", "supervised", "supervised"),
        ("learner", "calibrated + supervised", "calibrated(strength=0.0) + supervised"),
        ("posterior", "laplace", "laplace(mean_factor=1.0)"),
        (
            "posterior",
            "ensemble(each='laplace(structure=\"full\")')",
            "ensemble(each=\"laplace(structure='full', mean_factor=1.0)\")",
        ),
        ("posterior", "swag(rank=2)", "swag(rank=2)"),
        ("posterior", "laplace(", "laplace("),
        ("network", "ceal", "ceal"),
    ],
)
def test_a_name_of_the_first_formats(setting, text, expected):
    assert as_before(setting, text) == expected
    if text.endswith("("):
        return
    for old in (f'{setting} = """{text}"""', f'format = 2\n[learn]\n{setting} = """{text}"""'):
        assert settings.flatten(old)[setting] == expected
    assert settings.flatten(f'format = 3\n[learn]\n{setting} = """{text}"""')[setting] == text


def test_the_same_command_resumes_a_run():
    """Also once the run has grown, and its settings have the new format."""
    stored = settings.from_toml('learner = "ceal"\nposterior = "laplace"\n')
    again = settings.from_toml(settings.to_toml(stored))
    assert again == stored
    for run in (stored, again):
        told = as_stored({"learner": "ceal", "posterior": "laplace"}, run)
        assert told == {"learner": "ceal(model='previous')", "posterior": "laplace(mean_factor=1.0)"}
        other = {"learner": "ceal(model='current')"}
        assert as_stored(other, run) == other
    new = settings.create(learner="ceal")
    assert as_stored({"learner": "ceal"}, new) == {"learner": "ceal"}


@pytest.mark.parametrize(
    ("told", "epochs"),
    [
        ({}, 40),
        ({"learner": "fixmatch"}, 160),
        ({"learner": "label-propagation + mean-teacher(decay=0.9) + contrastive"}, 160),
        ({"learner": "baldur.learners:pi_model"}, 160),
        ({"learner": "mine:fixmatch"}, 40),
        ({"augment": "weak"}, 160),
        ({"learner": "fixmatch", "epochs": 10}, 10),
        ({"learner": "ceal"}, 40),
    ],
)
def test_a_learner_trains_until_it_converges_unless_the_user_says(told, epochs, tmp_path):
    assert settle(told, tmp_path).settings.learn.epochs == epochs
