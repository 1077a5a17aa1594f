"""Marks of tests that use Ray, and what they compute there."""

import pytest
import torch
from torch import nn

from baldur.score.scorer import PoolScorer

on_ray = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own sockets and log files
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.usefixtures("one_thread"),
]
PLAIN = PoolScorer(draws=5, seed=1, batch_size=8)


def network():
    """A small network with dropout, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
