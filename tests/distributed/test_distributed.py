"""Ray: the same results as the plain loop, whatever is lost on the way. Kills of nodes are in soak/test_cluster.py."""

import errno
import pickle
import threading
import time
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.tiny_runs import QUICK, blobs, by_entropy
from torch import nn

from baldur import acquire, score
from baldur.data import from_arrays
from baldur.distributed import Cluster, RayLearner, RayScorer, Stopped, begin, side_by_side
from baldur.distributed.blocks import Kept, cut
from baldur.errors import (
    ClusterFailed,
    DiskFull,
    IdenticalDraws,
    InvalidArgument,
    InvalidPredictions,
    SettingsChanged,
    Unsupported,
)
from baldur.learners import Supervised
from baldur.posteriors import MCDropout
from baldur.posteriors.fit import ensemble
from baldur.posteriors.fit.ensembles import spread
from baldur.protocols import Labelled, View
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.cluster import Elsewhere
from baldur.score.scorer import PoolScorer
from baldur.strategies.racing import race_by
from baldur.training import Recipe

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own sockets and log files
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    with Cluster(workers=2) as made:
        made.start()
        yield made


@pytest.fixture
def inputs():
    return np.random.default_rng(0).normal(size=(101, 2, 3)).astype(np.float32)


@pytest.fixture
def pool(inputs):
    return from_arrays(inputs)


@pytest.fixture
def posterior():
    return MCDropout(network())


PLAIN = PoolScorer(draws=5, seed=1, batch_size=8)


def test_blocks_begin_where_batches_do():
    assert cut(50, 8, 20) == [range(0, 16), range(16, 32), range(32, 48), range(48, 50)]
    assert cut(10, 8, 3) == [range(0, 8), range(8, 10)]
    assert cut(0, 8, 16) == []


def test_what_is_kept_of_a_block_is_whole_or_not_there(tmp_path, monkeypatch):
    kept = Kept(tmp_path, "a" * 64)
    assert kept.load(0, 2) is None
    kept.save(0, np.array([1.5, 2.5]), True)
    values, differ = kept.load(0, 2)
    assert values.tolist() == [1.5, 2.5]
    assert differ
    assert kept.load(0, 3) is None  # of another cut
    (file,) = kept.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    assert kept.load(0, 2) is None

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="make room and start again"):
        kept.save(1, np.array([1.0]), True)
    assert kept.load(1, 1) is None
    assert [path.name for path in kept.folder.iterdir()] == [file.name]


def test_calls_side_by_side_end_when_one_fails():
    stop, ended = threading.Event(), []

    def waits():
        while not stop.is_set():
            time.sleep(0.01)
        ended.append(True)
        raise Stopped

    def fails():
        raise ValueError("one of them")

    with pytest.raises(ValueError, match="one of them"):
        side_by_side([waits, fails, waits], 2, stop)
    assert ended == [True]  # the third was never begun
    squares = [partial(pow, n, 2) for n in range(5)]
    assert side_by_side(squares, 2, threading.Event()) == [0, 1, 4, 9, 16]


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(Unsupported, match=r'pip install "baldur\[ray\]"'):
        Cluster().start()


def test_memory_maps_travel_by_name_and_what_was_shared_as_a_reference(cluster, tmp_path):
    from baldur.distributed import shipping

    np.save(tmp_path / "x.npy", np.arange(100_000.0))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data, buffers, refs = shipping.pack(mapped[500:])
    assert len(data) < 1000
    assert not buffers
    assert (shipping.unpack((data, buffers, refs)) == np.arange(500.0, 100_000)).all()
    large = [bytes(10**6)]
    shipping.share(large)
    data, _, refs = shipping.pack({"twice": (large, large)})
    assert len(data) < 1000
    assert len(refs) == 2
    shipping.forget(large)
    assert len(shipping.pack(large)[0]) > 10**6
    with pytest.raises(InvalidArgument, match="cannot be sent"):
        shipping.pack(threading.Lock())


def test_many_ids_travel_as_one_array(cluster):
    from baldur.distributed import shipping

    names = tuple(f"ä/{number}\udc80" for number in range(20_000))
    data, buffers, refs = shipping.pack({"ids": names, "again": names})
    assert len(data) < 1000
    assert sum(buffer.nbytes for buffer in buffers) < 20 * len(
        names
    )  # the strings themselves, and where each ends
    there = shipping.unpack((data, buffers, refs))["again"]
    assert tuple(there) == names
    assert (there[-1], there[np.int64(7)], there[3:5]) == (names[-1], names[7], names[3:5])
    with pytest.raises(IndexError):
        there[len(names)]
    assert shipping.unpack(shipping.pack(there))[5] == names[5]  # a worker may send it on


def test_a_pass_equals_the_plain_one_bit_for_bit(cluster, posterior, pool):
    there = RayScorer(PLAIN, cluster, block=16)
    pool = View(pool, np.arange(100, -1, -1))
    scores = there.predict(posterior, pool, acquire.bald)
    assert scores.tobytes() == PLAIN.predict(posterior, pool, acquire.bald).tobytes()
    assert there.predict(posterior, pool).tobytes() == PLAIN.predict(posterior, pool).tobytes()
    assert there.features(posterior, pool).tobytes() == PLAIN.features(posterior, pool).tobytes()
    assert there.predict(posterior, View(pool, np.arange(0)), acquire.bald).shape == (0,)
    with pytest.raises(Unsupported, match="loss"):
        there.outputs(posterior, pool, "loss")


def test_streamed_through_actors_it_is_the_same(cluster, posterior, pool):
    told = []
    plain = replace(PLAIN, progress=lambda *done: told.append(done))
    streamed = replace(cluster, few=0)
    scores = RayScorer(plain, streamed, block=16).predict(posterior, pool, acquire.bald)
    assert scores.tobytes() == PLAIN.predict(posterior, pool, acquire.bald).tobytes()
    assert told[0] == (0, 101)
    assert told[-1] == (101, 101)
    assert len(told) == 8


class Breaks:
    """A reduction that fails at one item, until a file is there."""

    def __init__(self, value, mended):
        self.value, self.mended = value, mended

    def __call__(self, log_probs):
        scores = acquire.bald(log_probs)
        if not self.mended.exists() and (scores == self.value).any():
            raise ArithmeticError("at that item")
        return scores


def test_a_pass_that_broke_off_goes_on_with_what_is_missing(cluster, posterior, pool, tmp_path):
    whole = PLAIN.predict(posterior, pool, acquire.bald)
    reduce = Breaks(whole[60], tmp_path / "mended")
    told = []
    plain = replace(PLAIN, progress=lambda *done: told.append(done))
    there = RayScorer(plain, cluster, tmp_path / "blocks", block=8)
    with pytest.raises(ArithmeticError, match="at that item"):
        there.predict(posterior, pool, reduce)
    (folder,) = (tmp_path / "blocks").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert 0 < len(before) < 13
    (tmp_path / "mended").touch()
    told.clear()
    assert there.predict(posterior, pool, reduce).tobytes() == whole.tobytes()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()}.items() >= before.items()
    assert len(list(folder.iterdir())) == 13
    other = MCDropout(nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3)))
    there.predict(other, pool, reduce)
    assert len(list((tmp_path / "blocks").iterdir())) == 2  # another posterior is another pass


@pytest.mark.parametrize("risk", [0.0, 0.05])
def test_a_race_there_picks_what_a_race_here_does(cluster, posterior, risk, tmp_path):
    """Its passes over all items differ in nothing but in which samples they are of."""
    many = from_arrays(np.random.default_rng(1).normal(size=(300, 2, 3)).astype(np.float32))
    plain = PoolScorer(draws=20, seed=1)
    here, scores = race_by(plain, posterior, many, acquire.bald, 10, risk, 3)
    there, others = race_by(RayScorer(plain, cluster, tmp_path), posterior, many, acquire.bald, 10, risk, 3)
    assert there.indices.tolist() == here.indices.tolist()
    assert (others == scores).all()


def test_it_says_what_a_pass_may_take(cluster):
    assert RayScorer(PoolScorer(memory="4MiB"), cluster).memory == "4MiB"


def span(number):
    """When a short call began and ended."""
    began = time.monotonic()
    time.sleep(0.1)
    return began, time.monotonic()


def test_no_more_work_at_a_time_than_there_are_workers(cluster):
    spans = sorted(times for _, times in Cluster(workers=1).each(span, range(3), "naps"))
    assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))


def test_where_workers_have_no_gpu_it_says_so(cluster):
    with pytest.raises(ClusterFailed, match="--device cpu"):
        Cluster(workers=1, gpus=1).start()


def test_members_are_not_fitted_beside_a_fit_that_keeps_the_gpu(tmp_path):
    fitting = ensemble(2, together="turn")
    assert Elsewhere(Cluster(gpus=1), tmp_path).spread(fitting) is fitting
    assert Elsewhere(Cluster(), tmp_path).spread(fitting) is not fitting


def test_after_the_end_nothing_starts_again(cluster):
    """Ray would start a cluster of its own for a call that comes late."""
    over = Cluster(workers=2)
    calls = over.each(span, range(40), "naps")
    next(calls)
    over.stopping.set()
    with pytest.raises(Stopped):
        list(calls)
    with pytest.raises(Stopped):
        over.start()


def test_errors_are_those_of_the_plain_pass(cluster, posterior, inputs, pool):
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.drop, self.out = nn.Dropout(0.5), nn.Linear(6, 3)

        def forward(self, x):
            return self.out(x.flatten(1)) + 0 * self.drop(x.flatten(1)).sum(1, keepdim=True)

    there = RayScorer(PLAIN, cluster, block=16)
    with pytest.raises(IdenticalDraws, match="agree on all 101 items"):
        there.predict(MCDropout(Dead()), pool, acquire.bald)
    inputs[64] = np.nan
    with pytest.raises(InvalidPredictions, match="64"):
        there.predict(posterior, from_arrays(inputs))


def labelled_blobs():
    x, y = blobs()
    n = len(y)
    return Labelled(
        from_arrays(x), y.astype(np.int64), np.zeros(n, np.int64), np.ones(n, np.float32), ("oracle",) * n
    )


def factory():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_a_fit_there_gives_the_posterior_of_a_fit_here(cluster):
    labelled = labelled_blobs()
    learner = Supervised(factory, classes=3, recipe=Recipe(epochs=2, epoch_size=32))
    told = {"seed": 3, "round": 0}
    here = learner.fit(labelled, labelled.pool, **told).draw(4)
    there = RayLearner(learner, cluster).fit(labelled, labelled.pool, **told).draw(4)
    x = torch.from_numpy(labelled.pool.x)
    assert torch.equal(here(x), there(x))


@pytest.mark.parametrize("together", ["turn", "auto"])
def test_members_are_fitted_side_by_side_to_the_same(cluster, together):
    labelled = labelled_blobs()
    plan = ensemble(3, together=together)
    recipe = Recipe(epochs=2, epoch_size=32)
    here, there = (
        Supervised(factory, classes=3, recipe=recipe, posterior=fitting)
        for fitting in (plan, spread(plan, partial(begin, 1, 0.0)))
    )
    told = {"seed": 3, "round": 0}
    x = torch.from_numpy(labelled.pool.x)
    apart = RayLearner(there, cluster).fit(labelled, labelled.pool, **told)
    assert torch.equal(here.fit(labelled, labelled.pool, **told).draw()(x), apart.draw()(x))


def test_members_that_begin_alike_are_refused_there_too(cluster):
    labelled = labelled_blobs()
    posterior = spread(ensemble(2, together="turn"), partial(begin, 1, 0.0))
    learner = Supervised(factory(), classes=3, recipe=Recipe(epochs=1), posterior=posterior)
    with pytest.raises(InvalidArgument, match="begin with the same weights"):
        RayLearner(learner, cluster).fit(labelled, labelled.pool, seed=3, round=0)


def test_a_run_may_go_on_elsewhere_and_comes_to_the_same(cluster, tmp_path):
    x, y = blobs()
    told = QUICK | {"data": (x, y), "network": "mlp", "threads": 1, "strategies": ["random", by_entropy]}
    run.run(out=tmp_path / "here", **told)
    run.run(out=tmp_path / "there", **told | {"engine": "ray", "rounds": 1})
    run.run(out=tmp_path / "there", **told)
    assert (tmp_path / "there" / "curves.csv").read_bytes() == (tmp_path / "here" / "curves.csv").read_bytes()
    assert not (tmp_path / "there" / "blocks").exists()
    with pytest.raises(SettingsChanged, match="threads"):
        run.run(out=tmp_path / "there", **told | {"engine": "ray", "threads": 2})
    assert settings_.read(tmp_path / "there" / "settings.toml")["engine"] == "local"


def test_what_travels_can_be_pickled_again(posterior, pool):
    """A posterior that has predicted keeps how it does so; that must not stop it from travelling."""
    before = score.predict(posterior.draw(3), pool)
    assert (score.predict(pickle.loads(pickle.dumps(posterior)).draw(3), pool) == before).all()
