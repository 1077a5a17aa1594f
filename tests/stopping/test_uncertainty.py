import numpy as np

from baldur.stopping import (
    History,
    max_uncertainty,
    minimum_expected_error,
    overall_uncertainty,
)

ROWS = np.log([[0.98, 0.01, 0.01], [0.9, 0.05, 0.05], [0.6, 0.3, 0.1]])


def test_worked_numbers():
    assert f"mean normalised entropy {0.42606644:.4f}" in overall_uncertainty(0.43)(History([9], [], [ROWS]))
    assert f"expected error {0.17333333:.4f}" in minimum_expected_error(0.18)(History([9], [], [ROWS]))


def test_max_uncertainty_reads_the_last_batch():
    past = [np.empty(0), np.array([0.9, 0.5]), np.array([0.4, 0.1])]
    assert max_uncertainty(0.5)(History([1, 2, 3], [], [], past)).startswith("the highest score of the last")
    assert max_uncertainty(0.4)(History([1, 2, 3], [], [], past)) == ""
    assert max_uncertainty(9)(History([1], [], [], past[:1])) == ""
    assert max_uncertainty(9)(History([1, 2], [], [], [np.empty(0), np.zeros(3)])) == "", (
        "random scores nothing"
    )
