import numpy as np
import pytest
import torch

AGREE, DISAGREE = [0.9, 0.05, 0.05], [[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]]
TENSOR_A = np.array(
    [
        [AGREE] * 3,
        DISAGREE,
        [[0.4, 0.35, 0.25]] * 3,
        [[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.5, 0.3]],
        DISAGREE,
        [[0.8, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]],
    ]
)


@pytest.fixture(params=["numpy", "numpy float32", "torch", "torch float32"])
def tensor_a(request):
    """Six items, three samples, three classes: agreement, disagreement and what is between."""
    library, _, kind = request.param.partition(" ")
    probs = TENSOR_A.astype(kind or "float64")
    return probs if library == "numpy" else torch.from_numpy(probs)


@pytest.fixture
def pool():
    """Entropy prefers item 1, BALD item 2, mean STD item 3, votes item 4; nobody wants item 0."""
    return np.array(
        [
            [[0.6, 0.4, 0.0], [0.4, 0.0, 0.6], [0.7, 0.0, 0.3]],
            [[0.1, 0.5, 0.4], [0.8, 0.1, 0.1], [0.0, 0.7, 0.3]],
            [[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.0, 0.4, 0.6]],
            [[0.1, 0.0, 0.9], [1.0, 0.0, 0.0], [0.6, 0.2, 0.2]],
            [[0.1, 0.4, 0.5], [0.0, 0.7, 0.3], [0.4, 0.4, 0.2]],
        ]
    )
