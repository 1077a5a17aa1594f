import numpy as np
import pytest
from tests.strategies.pools import setting

from baldur.protocols import Choice
from baldur.testing import verify_strategy


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda ids, rng: (ids[0], ids[0]), "twice|2 items were chosen"),
        (lambda ids, rng: ("stranger",), "not in the unlabelled pool|items were chosen"),
        (lambda ids, rng: (), "0 items were chosen"),
    ],
)
def test_the_verifier_sees_faults(fault, words):
    def faulty(posterior, labelled, unlabelled, k, rng, scorer):
        ids = fault(unlabelled.ids, rng)
        return Choice(ids, np.zeros(len(ids)))

    with pytest.raises(AssertionError, match=words):
        verify_strategy(faulty, *setting())
