import math

import numpy as np
import pytest
from tests.stopping.histories import FIRST, SECOND

from baldur.errors import InvalidArgument
from baldur.evaluate import cohen_kappa
from baldur.stopping import delta_f, divergence


def test_worked_numbers():
    assert cohen_kappa(FIRST, SECOND) == pytest.approx(0.84375)
    assert cohen_kappa(np.zeros(4, int), np.zeros(4, int)) == 1
    both = [np.repeat(v, (40, 3, 2, 55)) for v in ([1, 1, 0, 0], [1, 0, 1, 0])]
    assert delta_f(*both, positive=1) == pytest.approx(0.05882353, abs=1e-8)


def test_agreement_against_its_definition():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 50))
    from sklearn.metrics import cohen_kappa_score, f1_score

    assert cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))
    assert delta_f(a, b) == pytest.approx(1 - f1_score(a, b, average="macro"))
    assert delta_f(a, b, positive=9) == 0
    p, q = rng.dirichlet(np.ones(3), (2, 7))
    m = (p + q) / 2
    kl = [np.sum(x * np.log(x / m), axis=1) for x in (p, q)]
    assert divergence(np.log(p), np.log(q)) == pytest.approx(np.mean(kl) / math.log(2))
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(2))
    assert divergence(certain, certain[::-1].copy()) == pytest.approx(1)
    assert divergence(certain, certain) == 0
    with pytest.raises(InvalidArgument, match=r"\(0,\) and \(0,\)"):
        delta_f(FIRST[:0], SECOND[:0])
