"""cleanlab 2.9.0: confident learning finds the same labels doubtful."""

from types import SimpleNamespace

import numpy as np
import pytest

from baldur.evaluate.doubt import relabelling_proposals


@pytest.fixture(scope="module")
def cleanlab(peers):
    from cleanlab.count import get_confident_thresholds
    from cleanlab.filter import find_label_issues

    return SimpleNamespace(find=find_label_issues, thresholds=get_confident_thresholds)


@pytest.mark.parametrize(("seed", "classes"), [(0, 2), (1, 3), (2, 10)])
def test_confident_learning(cleanlab, seed, classes):
    """They also list the few whose confident class is less probable than the label, because a third one is more."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=600)
    logits = 2 * np.eye(classes)[truth] + rng.normal(size=(600, classes))
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    labels = np.where(rng.random(600) < 0.2, (truth + 1) % classes, truth)
    probs = np.exp(log_probs)
    theirs = set(np.flatnonzero(cleanlab.find(labels, probs, filter_by="confident_learning")).tolist())
    found = relabelling_proposals(log_probs, labels, 600)
    ours = set(found.positions.tolist())
    assert len(ours) > 50
    assert ours <= theirs
    rest = np.array(sorted(theirs - ours), int)
    assert len(rest) <= 0.02 * len(theirs)
    ranked = cleanlab.find(
        labels, probs, filter_by="confident_learning", return_indices_ranked_by="normalized_margin"
    )
    assert found.positions[:20].tolist() == ranked[:20].tolist()
    assert cleanlab.thresholds(labels, probs) == pytest.approx(
        [probs[labels == c, c].mean() for c in range(classes)]
    )
