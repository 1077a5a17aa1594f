import numpy as np
import pytest

from baldur.oracles import FileOracle, Simulated
from baldur.testing import verify_oracle

CLASSES = ("cat", "dog")


def test_the_contract_holds(tmp_path):
    ids = ["a", "b", "c"]
    verify_oracle(Simulated(ids, np.array([1, 0, -1]), CLASSES), ids, CLASSES)
    oracle = FileOracle(tmp_path, CLASSES)
    verify_oracle(oracle, ids, CLASSES)
    (tmp_path / "answers.csv").write_text("id,label\nb,dog\n")
    verify_oracle(oracle, ids, CLASSES)
    with pytest.raises(AssertionError, match="not one of the classes"):
        verify_oracle(Simulated(ids, np.array([1, 0, 1]), ("x", "y")), ids, CLASSES)
