"""A real cluster of two nodes on loopback: nodes, workers and the driver are killed, and it comes to the same."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from baldur import acquire, networks
from baldur.data import from_arrays
from baldur.distributed import Cluster, RayScorer
from baldur.errors import ClusterFailed
from baldur.posteriors import MCDropout
from baldur.score.scorer import PoolScorer
from baldur.testing.resume import history

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own sockets and log files
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
PLAIN = PoolScorer(draws=20, seed=1)
RUN = (
    *("run", "digits", "--strategy", "random", "--strategy", "bald", "--seeds", "2", "--rounds", "3"),
    *("--epochs", "20", "--threads", "1", "--quiet"),
)


@pytest.fixture
def nodes(monkeypatch):
    """A head without processors, and two nodes with two each."""
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else they give way to all else that runs
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    assert not ray.is_initialized()
    told = {"object_store_memory": 2**28, "include_dashboard": False}
    made = utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **told})
    pair = [made.add_node(num_cpus=2, object_store_memory=2**28) for _ in range(2)]
    made.wait_for_nodes()
    yield made, pair
    ray.shutdown()
    made.shutdown()


@pytest.fixture(scope="module")
def posterior():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MCDropout(networks.gal2017((1, 28, 28), 10).eval())


@pytest.fixture(scope="module")
def pool():
    return from_arrays(np.random.default_rng(0).normal(size=(20_480, 1, 28, 28)).astype(np.float32))


@pytest.fixture(scope="module")
def scores(posterior, pool):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = PLAIN.predict(posterior, pool, acquire.bald)
    torch.set_num_threads(before)
    return found


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_any_number_of_workers_gives_the_scores_of_the_plain_loop(posterior, pool, scores, workers):
    pytest.importorskip("ray")
    with Cluster(workers=workers, few=0) as cluster:
        found = RayScorer(PLAIN, cluster, block=1024).predict(posterior, pool, acquire.bald)
    assert found.tobytes() == scores.tobytes()


def test_a_node_killed_in_the_middle_of_a_pass(nodes, posterior, pool, scores, tmp_path):
    made, pair = nodes
    told, killed = [], threading.Event()

    def progress(done, n):
        told.append(done)
        if done >= n // 4 and not killed.is_set():
            killed.set()
            made.remove_node(pair[0], allow_graceful=False)

    plain = PoolScorer(draws=20, seed=1, progress=progress)
    with Cluster(made.address, workers=4, few=0) as cluster:
        there = RayScorer(plain, cluster, tmp_path, block=512)
        assert there.predict(posterior, pool, acquire.bald).tobytes() == scores.tobytes()
    assert killed.is_set()
    assert told[-1] == len(pool)


def dies(log_probs, at, values):
    """A reduction that kills its worker at one item, as the kernel does for want of memory."""
    found = acquire.bald(log_probs)
    if (found == values[at]).any():
        os.kill(os.getpid(), signal.SIGKILL)
    return found


def test_a_block_that_kills_its_worker_each_time_is_named_and_the_others_are_kept(
    posterior, pool, scores, tmp_path
):
    pytest.importorskip("ray")
    with Cluster(workers=2, few=0) as cluster:
        there = RayScorer(PLAIN, cluster, tmp_path, block=2048)
        with pytest.raises(
            ClusterFailed, match=r"worker was lost.*of 20,480 items were done.*results are in"
        ):
            there.predict(posterior, pool, partial(dies, at=9000, values=scores))
    assert len(list(tmp_path.glob("*/*.npz"))) == 9


SCRIPT = """
import sys
import numpy as np, torch
from pathlib import Path
from baldur import acquire, networks
from baldur.data import from_arrays
from baldur.distributed import Cluster, RayScorer
from baldur.posteriors import MCDropout
from baldur.score import PoolScorer
torch.manual_seed(0)
posterior = MCDropout(networks.gal2017((1, 28, 28), 10).eval())
pool = from_arrays(np.random.default_rng(0).normal(size=(20_480, 1, 28, 28)).astype(np.float32))
with Cluster(workers=2, few=0) as cluster:
    there = RayScorer(PoolScorer(draws=20, seed=1), cluster, Path(sys.argv[1]) / "blocks", block=512)
    np.save(Path(sys.argv[1]) / "scores.npy", there.predict(posterior, pool, acquire.bald))
"""


def test_a_driver_killed_in_the_middle_goes_on_with_the_other_blocks(scores, tmp_path):
    pytest.importorskip("ray")
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    driver = subprocess.Popen(words)
    until = time.monotonic() + 300
    while len(list(tmp_path.glob("blocks/*/*.npz"))) < 10:
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*/*.npz")}
    assert 10 <= len(before) < 40
    assert subprocess.run(words, timeout=300).returncode == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.glob("blocks/*/*.npz")}
    assert len(after) == 40
    assert after.items() >= before.items()  # none was computed again
    assert np.load(tmp_path / "scores.npy").tobytes() == scores.tobytes()


def baldur(out: Path, *words: str) -> subprocess.Popen:
    """A run in a process of its own."""
    command = [sys.executable, "-m", "baldur", *RUN, "--out", str(out), *words]
    return subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"})


def in_order(run: Path) -> dict:
    """What happened, trial by trial: the ledger has trials that went on side by side as they came."""
    return {what: sorted(rows, key=lambda row: row[:2]) for what, rows in history(run).items()}


def test_a_run_whose_node_and_driver_are_killed_comes_to_what_a_plain_run_does(nodes, tmp_path):
    made, pair = nodes
    assert baldur(tmp_path / "here").wait(600) == 0
    there = tmp_path / "there"
    driver = baldur(there, "--engine", "ray", "--address", made.address)
    until = time.monotonic() + 300
    while len(list(there.glob("artefacts/**/network.safetensors"))) < 2:
        assert driver.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    made.remove_node(pair[0], allow_graceful=False)
    time.sleep(3)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert baldur(there, "--engine", "ray", "--address", made.address).wait(600) == 0
    assert in_order(there) == in_order(tmp_path / "here")
    assert (there / "curves.csv").read_bytes() == (tmp_path / "here" / "curves.csv").read_bytes()
