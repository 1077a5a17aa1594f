import random

import numpy as np
import pytest
import torch

from baldur.core.devices import pick_device, seeded
from baldur.errors import InvalidArgument

CPU = torch.device("cpu")


def test_seeded_draws_the_same_and_restores_every_generator():
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    with seeded(3, CPU):
        first = torch.rand(4)
    with seeded(3, CPU):
        assert torch.equal(torch.rand(4), first)
    with pytest.raises(KeyError), seeded(3, CPU):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]  # noqa: NPY002


def test_devices_are_picked_or_refused_by_name():
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda")
    with pytest.raises(InvalidArgument, match="no device 'gpu'"):
        pick_device("gpu")
    with pytest.raises(InvalidArgument, match="PyTorch sees"):
        pick_device("cuda:99")
