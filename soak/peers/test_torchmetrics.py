"""torchmetrics 1.9: calibration errors over bins of equal width."""

import warnings

import numpy as np
import pytest
import torch

from baldur import acquire, evaluate


@pytest.mark.parametrize("bins", [10, 15])
@pytest.mark.parametrize("seed", range(3))
def test_calibration_errors(peers, seed, bins):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchmetrics.functional.classification import multiclass_calibration_error

    rng = np.random.default_rng(seed)
    log_probs = acquire.from_logits(2 * rng.normal(size=(500, 5)))[:, 0]
    labels = rng.integers(0, 5, 500)
    p, y = torch.from_numpy(np.exp(log_probs)), torch.from_numpy(labels)
    for norm, ours in (("l1", evaluate.ece), ("max", evaluate.mce)):
        theirs = multiclass_calibration_error(p, y, num_classes=5, n_bins=bins, norm=norm)
        assert ours(log_probs, labels, bins) == pytest.approx(float(theirs), abs=1e-6)
