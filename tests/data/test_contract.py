import numpy as np
import pytest
import torch

from baldur import data
from baldur.data import from_arrays, from_dataset
from baldur.testing import verify_pool

X = np.random.default_rng(0).normal(size=(11, 3, 2)).astype(np.float32)
POOLS = {
    "array": lambda: from_arrays(X),
    "tensor": lambda: from_arrays(torch.from_numpy(X)),
    "pair": lambda: from_arrays((X, X[:, 0])),
    "named": lambda: from_arrays({"a": X, "b": np.arange(11)}),
    "grouped": lambda: from_arrays(X, groups=["a", "b"] * 5 + ["c"], ids=[f"item {i}" for i in range(11)]),
    "bytes": lambda: from_arrays(
        np.arange(11 * 48, dtype=np.uint8).reshape(11, 3, 4, 4), transform=NORMALISE
    ),
    "torch data set": lambda: from_dataset(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.arange(11))
    )[0],
    "digits": lambda: data.load("digits").test,
}
NORMALISE = data.Normalise((0.5,) * 3, (0.2,) * 3)


@pytest.mark.parametrize("name", POOLS)
def test_the_contract_holds(name):
    verify_pool(POOLS[name]())


def test_the_verifier_sees_a_pool_that_can_be_changed_from_outside():
    class Shared:
        ids = tuple("abcdef")
        groups = None
        x = torch.arange(6.0)

        def __len__(self):
            return 6

        def batches(self, positions, size):
            for start in range(0, len(positions), size):
                part = positions[start : start + size]
                yield part, self.x if len(part) == 6 and (part == np.arange(6)).all() else self.x[part]

    with pytest.raises(AssertionError, match="changed the pool"):
        verify_pool(Shared())
