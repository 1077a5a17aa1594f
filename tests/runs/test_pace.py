"""How long a round takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.tiny_runs import blobs, factory

import baldur
from baldur.data import from_arrays, in_memory
from baldur.errors import UnreadableItems
from baldur.runs import settings as settings_
from baldur.runs.folder import ON_PROCESSOR, adapted
from baldur.runs.measuring import make_passes
from baldur.runs.observer import Observer
from baldur.runs.pace import Pace, measure
from baldur.runs.plan import Given, make_plan


def images(n=60):
    rng = np.random.default_rng(0)
    x = rng.random((n, 1, 8, 8), np.float32)
    return in_memory(from_arrays(x), np.arange(n) % 3, test_fraction=0.2)


def paced(dataset, **options):
    settings = settings_.create(epochs=3, epoch_size=64, initial=6, device="cpu", **options)
    plan = make_plan(settings, Given(dataset=dataset))
    return measure(plan, dataset, make_passes(settings.score, "cpu", dataset, Observer()), Observer())


def test_steps_and_items_are_those_of_a_round():
    before = torch.get_rng_state()
    pace = paced(images(), batch_size=16)
    assert (pace.steps, pace.items) == (3 * 7, 60)  # 3 epochs of at least 6 + 20 * 10 / 2 = 106 items
    assert pace.predict > 0
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("learner", ["contrastive", "extra_trees", "label-propagation + contrastive"])
def test_what_cannot_be_told_from_a_few_steps_is_not_said(learner):
    assert paced(images(), learner=learner) is None


def test_an_error_is_left_to_the_run():
    class Broken:
        def __init__(self, whole):
            self.ids, self.groups, self.whole = whole.ids, None, whole

        def __len__(self):
            return len(self.whole)

        def batches(self, positions, size):
            if len(positions) > 1:  # the shape is known
                raise UnreadableItems({"0": "gone"})
            yield from self.whole.batches(positions, size)

    dataset = images()
    assert paced(replace(dataset, train=Broken(dataset.train))) is None


def test_vectors_are_fast_enough():
    x, y = blobs()
    assert paced(in_memory(from_arrays(x), y, test_fraction=0.2)) is None


def test_a_short_run_says_nothing():
    pace = Pace(fit=0.5, predict=0.1, steps=100, items=50)
    assert pace.said(rounds=10, trials=2, jobs=1) == ""
    assert "The whole run takes about 2:00" in pace.said(rounds=20, trials=20, jobs=2)
    assert "--image-size" not in pace.said(rounds=20, trials=20, jobs=2)
    assert "--image-size" in Pace(fit=3600, predict=0.1, steps=100, items=50).said(1, 1, 1)


def test_a_run_says_how_long_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("baldur.runs.pace._WORTH_SAYING", 0.0)
    said = []
    observer = Observer(message=said.append)
    options = {"seeds": 1, "rounds": 1, "epochs": 1, "epoch_size": 32, "initial": 6, "draws": 2}
    baldur.run(images(), tmp_path / "a", strategies=["random"], observer=observer, **options)
    assert sum("The whole run takes about" in line for line in said) == 1
    baldur.run(images(), tmp_path / "b", strategies=["random"], network=factory, observer=observer, **options)
    assert sum("The whole run takes about" in line for line in said) == 1


def test_photographs_are_small_without_a_gpu():
    plain = settings_.create(device="cpu")
    assert adapted(plain, {"rounds"}).data.image_size == ON_PROCESSOR
    for told in ({"image_size"}, {"network"}, {"encoder"}):
        assert adapted(plain, told).data.image_size == plain.data.image_size
