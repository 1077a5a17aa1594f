import numpy as np
import pytest
import torch
from tests.distributed.setting import network

from baldur.data import from_arrays
from baldur.distributed import Cluster
from baldur.posteriors import MCDropout


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=(101, 2, 3)).astype(np.float32)


@pytest.fixture
def pool(inputs):
    return from_arrays(inputs)


@pytest.fixture
def posterior():
    return MCDropout(network())


@pytest.fixture
def one_thread():
    """PyTorch computes with one thread, as the workers of a cluster do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def cluster():
    """A Ray cluster of two workers on this machine, for all tests of this folder."""
    pytest.importorskip("ray")
    with Cluster(workers=2) as made:
        made.start()
        yield made
