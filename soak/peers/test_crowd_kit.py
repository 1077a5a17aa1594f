"""crowd-kit 1.4.2: Dawid and Skene by maximum likelihood is the same, turn for turn."""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from baldur.evaluate import agreement


@pytest.fixture(scope="module")
def crowdkit(peers):
    """Its Dawid and Skene; what its packages import beside them, language models among others, is left out."""
    folder = Path(find_spec("crowdkit").origin).parents[1]
    for name in ("crowdkit", "crowdkit.aggregation", "crowdkit.aggregation.classification"):
        package = ModuleType(name)
        package.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = package
    import pandas
    from crowdkit.aggregation.classification.dawid_skene import DawidSkene

    return SimpleNamespace(DawidSkene=DawidSkene, table=lambda **columns: pandas.DataFrame(columns))


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")  # its own use of pandas, where that is new
@pytest.mark.parametrize(("seed", "missing"), [(0, 0.0), (1, 0.4)])
def test_dawid_skene(crowdkit, seed, missing):
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=300)
    wrong = (truth[:, None] + rng.integers(1, 4, (300, 5))) % 4
    votes = np.where(rng.random((300, 5)) < (0.1, 0.2, 0.3, 0.4, 0.5), wrong, truth[:, None])
    votes[rng.random(votes.shape) < missing] = -1
    votes = votes[(votes >= 0).any(axis=1)]
    item, annotator = np.nonzero(votes >= 0)
    table = crowdkit.table(task=item, worker=annotator, label=votes[item, annotator])
    # What they watch counts the prior once a vote, not once an item, so it may fall: we look after eight turns.
    theirs = crowdkit.DawidSkene(n_iter=8, tol=-np.inf).fit(table)
    ours, next_turn = (
        agreement.dawid_skene(votes, 4, shrinkage=0, iterations=turns, tolerance=0) for turns in (8, 9)
    )
    assert ours.probs == pytest.approx(theirs.probas_.sort_index()[[0, 1, 2, 3]].to_numpy(), abs=1e-6)
    assert next_turn.prior == pytest.approx(theirs.priors_.sort_index().to_numpy(), abs=1e-6)
    errors = theirs.errors_
    for a in range(5):
        for c in range(4):
            row = [errors.loc[(a, answer), c] if (a, answer) in errors.index else 0.0 for answer in range(4)]
            assert next_turn.confusion[a, c] == pytest.approx(row, abs=1e-6)
