"""What is added to fits: its sum with what a posterior function adds, and its names in checkpoints."""

from functools import partial
from pathlib import Path

import pytest
import torch
from tests.learners.moons import LABELLED, UNLABELLED, learner

from baldur import learners
from baldur.core.tensorfiles import read_tensors
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.adding import Addition, adding
from baldur.learners.unlabelled.pools import FileSlot
from baldur.posteriors import Deterministic
from baldur.posteriors.fit import bayes_by_backprop, deterministic, learning_loss, swag
from baldur.protocols import Posterior


def test_a_posterior_function_adds_to_what_is_added():
    seen = []

    def half(network, step):
        seen.append("added")
        return 0.5 * step.outputs.square().mean()

    def whole(network, step):
        return 2 * half(network, step)

    def fitted(train, labelled, seed, penalty=None):
        return Deterministic(adding(train, lambda *about: Addition(half))(seed, penalty=penalty))

    def alone(train, labelled, seed):
        return Deterministic(train(seed, penalty=whole))

    def weights(posterior: object) -> torch.Tensor:
        made: Posterior = learner(posterior).fit(LABELLED, UNLABELLED, seed=0, round=0)
        return made.network[0].weight

    both = weights(partial(fitted, penalty=half))
    assert "added" in seen
    torch.testing.assert_close(both, weights(alone))
    assert not torch.equal(both, weights(fitted))


def _identity(made: Supervised, folder: Path) -> tuple[str | None, str | None]:
    slot = FileSlot(folder / "checkpoint")
    made.fit(LABELLED, UNLABELLED, seed=0, round=0, checkpoint=slot)
    _, said = read_tensors(slot.path)
    last = said["fits"][-1]["identity"]
    penalty = last["penalty"] and last["penalty"].partition("(")[0]  # options follow in brackets
    return penalty, last["after_epoch"]


@pytest.mark.parametrize(
    ("wrap", "posterior", "penalty", "after_epoch"),
    [
        ("", swag, None, "Moments"),
        ("", bayes_by_backprop, "bayes_by_backprop.<locals>.divergence", None),
        ("", learning_loss, "_Watching._with.<locals>.learning_loss_penalty", None),
        ("pi_model", deterministic, "pi_model.<locals>.begin.<locals>.penalty", None),
        ("mean_teacher", deterministic, "_taught.<locals>.penalty", "_Teacher"),
        ("mean_teacher", swag, "_taught.<locals>.penalty", "_Both"),
        ("mean_teacher", bayes_by_backprop, "_sum.<locals>.both", "_Teacher"),
        ("fixmatch", deterministic, "_penalty.<locals>.penalty", None),
    ],
)
def test_checkpoints_know_what_is_added_by_these_names(wrap, posterior, penalty, after_epoch, tmp_path):
    """They are those of version 0.1.0: with another name a fit that was killed could not go on after an update."""
    made = learner(posterior, epochs=2)
    made = getattr(learners, wrap)(made) if wrap else made
    assert _identity(made, tmp_path) == (penalty, after_epoch)
