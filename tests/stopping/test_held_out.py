import math

import numpy as np
import pytest

from baldur.stopping import held_out_metrics, wilson


def test_the_interval_of_wilson():
    assert wilson(0.9, 100) == pytest.approx((0.8256343, 0.9447709), abs=1e-6)
    assert wilson(0.0, 5)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(1.0, 5)[1] == pytest.approx(1)


def test_held_out_metrics():
    said = held_out_metrics(np.log([[0.8, 0.2], [0.4, 0.6], [0.7, 0.3]]), np.array([0, 0, 0]))
    losses = -np.log([0.8, 0.4, 0.7])
    assert said["accuracy", "validation"] == pytest.approx(2 / 3)
    assert said["items", "validation"] == 3
    assert said["nll", "validation"] == pytest.approx(losses.mean())
    assert said["nll_se", "validation"] == pytest.approx(losses.std(ddof=1) / math.sqrt(3))
    assert said["brier", "validation"] == pytest.approx(np.mean([0.08, 0.72, 0.18]))
    with np.errstate(divide="ignore"):
        impossible = held_out_metrics(np.log([[1.0, 0.0], [1.0, 0.0]]), np.array([1, 0]))
    assert impossible["nll_se", "validation"] == math.inf


@pytest.mark.parametrize(("share", "n"), [(0.5, 20), (0.9, 40), (0.95, 100), (0.99, 200)])
def test_the_interval_of_a_share_holds_it_about_as_often_as_it_says(share, n):
    """Of one look at items that are a random sample. Its coverage varies with the share, and is .95 on average."""
    seen = np.random.default_rng(0).binomial(n, share, 4000)
    ends = {k: wilson(k / n, n) for k in set(seen.tolist())}
    assert np.mean([ends[k][0] <= share <= ends[k][1] for k in seen.tolist()]) >= 0.93
