import numpy as np
import pytest

from baldur.errors import InvalidArgument
from baldur.oracles import Simulated

CLASSES = ("cat", "dog")


def test_the_truth_at_once():
    oracle = Simulated(["a", "b", "c"], np.array([1, 0, -1]), CLASSES)
    assert oracle.ask(["b", "a", "c"]) == {"b": "cat", "a": "dog"}
    with pytest.raises(InvalidArgument, match="2 ids but 1 labels"):
        Simulated(["a", "b"], np.array([1]), CLASSES)
