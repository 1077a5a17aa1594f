"""Independent implementations in a folder of their own; without a package index nothing is compared."""

import gc
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "peers"
PINS = ROOT / "bench" / "peers.txt"


def missing() -> set[str]:
    """The pinned libraries that are not in the folder."""
    there = {f"{d.name.replace('_', '-').lower()}=={d.version}" for d in distributions(path=[str(FOLDER)])}
    lines = (line.strip() for line in PINS.read_text().splitlines())
    return {line for line in lines if line and not line.startswith("#")} - there


@pytest.fixture(scope="session", autouse=True)
def peers():
    """The folder with the peers, on the path."""
    if missing():
        install = ("install", "--no-deps", "--upgrade", "--target", FOLDER, "--requirement", PINS)
        pip = subprocess.run([sys.executable, "-m", "pip", *install], capture_output=True, text=True)
        if missing():
            pytest.skip(f"peers cannot be installed: {(pip.stderr.strip().splitlines() or ['?'])[-1]}")
    os.environ["TQDM_DISABLE"] = "1"
    sys.path.append(str(FOLDER))


@pytest.fixture(scope="session")
def redux(peers):
    """batchbald-redux."""
    from batchbald_redux import batchbald, joint_entropy

    gc.freeze()  # it collects garbage before every block, which takes seconds in a process with many modules
    return SimpleNamespace(batchbald=batchbald, joint=joint_entropy)


@pytest.fixture(scope="session")
def baal(peers):
    """The scores of baal; what its packages import beside them, a training wrapper, is left out."""
    for name in ("baal", "baal.active", "baal.active.dataset", "baal.utils"):
        package = ModuleType(name)
        package.__path__ = [str(FOLDER / name.replace(".", "/"))]
        sys.modules[name] = package
    sys.modules["baal"].ModelWrapper = object
    from baal.active.heuristics import heuristics, heuristics_gpu, stochastics

    return SimpleNamespace(scores=heuristics, device=heuristics_gpu, batches=stochastics)


@pytest.fixture(scope="session")
def activeml(peers):
    """scikit-activeml: its strategies, and the functions behind them."""
    from skactiveml import pool
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool._core_set import k_greedy_center
    from skactiveml.pool._query_by_committee import average_kl_divergence, variation_ratios, vote_entropy
    from skactiveml.pool._typi_clust import _typicality
    from skactiveml.pool._uncertainty_sampling import uncertainty_scores

    class Fixed(SkactivemlClassifier):
        """A classifier that was fitted before: it gives the probabilities that it is handed."""

        def __init__(self, probas=None, missing_label=float("nan")):
            super().__init__(missing_label=missing_label)
            self.probas = probas

        def fit(self, X, y, sample_weight=None):
            return self

        def predict_proba(self, X):
            return self.probas

    return SimpleNamespace(
        pool=pool,
        Fixed=Fixed,
        k_greedy_center=k_greedy_center,
        average_kl_divergence=average_kl_divergence,
        variation_ratios=variation_ratios,
        vote_entropy=vote_entropy,
        typicality=_typicality,
        uncertainty_scores=uncertainty_scores,
    )
