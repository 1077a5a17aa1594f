"""Dropout between recurrent layers, as runs of an early version have it and as later ones have it."""

import numpy as np
import pytest
import torch
from tests.posteriors.dropout.test_architectures import Recurrent

from baldur.data import from_arrays
from baldur.learners import Supervised
from baldur.posteriors import fit
from baldur.posteriors.fit.dropout import OneMaskASequence
from baldur.protocols import Labelled, View
from baldur.runs import settings
from baldur.training import Recipe

X = np.random.default_rng(0).normal(size=(24, 5, 8)).astype(np.float32)


@pytest.mark.parametrize("fitting", [fit.mc_dropout, fit.dropout_ensemble(2)], ids=["one", "ensemble"])
def test_runs_of_an_early_version_keep_one_mask_a_sequence(fitting, tmp_path):
    pool, n = from_arrays(X), 12
    labelled = Labelled(
        View(pool, np.arange(n)),
        np.arange(n) % 3,
        np.zeros(n, np.int64),
        np.ones(n, np.float32),
        ("oracle",) * n,
    )

    def fitted(posterior, folder):
        learner = Supervised(
            Recurrent, classes=3, recipe=Recipe(epochs=2, epoch_size=1, device="cpu"), posterior=posterior
        )
        made = learner.fit(labelled, View(pool, np.arange(n, 24)), seed=0, round=0)
        folder.mkdir()
        made.save(folder)
        x = torch.from_numpy(X)
        assert torch.equal(learner.load(folder).draw(4)(x), made.draw(4)(x))
        return made.draw(4)(x), made.networks[0].out.weight

    (now, weights), (then, same) = (
        fitted(fitting, tmp_path / "now"),
        fitted(OneMaskASequence(fitting), tmp_path / "then"),
    )
    assert torch.equal(weights, same)
    assert not torch.equal(now, then)


@pytest.mark.parametrize(("text", "masks"), [("rounds = 3", "sequence"), ("format = 2", "sequence")])
def test_settings_of_an_early_version_mean_one_mask_a_sequence(text, masks):
    assert settings.from_toml(text).learn.recurrent_masks == masks
    assert settings.create().learn.recurrent_masks == "step"
