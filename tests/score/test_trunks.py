import errno
import os
import shutil
import threading
from functools import partial

import numpy as np
import pytest
import torch
from tests.tiny_runs import QUICK, blob_set
from torch import nn

from baldur import acquire, networks, score
from baldur.data import from_arrays
from baldur.posteriors import Deterministic, MCDropout
from baldur.protocols import View
from baldur.runs import run
from baldur.score import trunks as module
from baldur.score.trunks import Trunks

N = 1300
X = np.random.default_rng(0).integers(0, 256, (N, 1, 28, 28), np.uint8)


class Watched(nn.Module):
    """What a frozen network would be: deterministic, and it counts the items that it sees."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.inner = nn.Conv2d(1, 4, 3, stride=4)

    def forward(self, x):
        return self.inner(x).relu()


def network(head=0, trunk=0):
    with torch.random.fork_rng():
        torch.manual_seed(head)
        return nn.Sequential(Watched(trunk), nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * 49, 5))


class Pool:
    """The images, and which of them were read."""

    def __init__(self, x=X):
        self.inner = from_arrays(x, transform=lambda x: x / 255)
        self.ids, self.groups, self.read = self.inner.ids, None, []

    def __len__(self):
        return len(self.inner)

    def batches(self, positions, size):
        for part, x in self.inner.batches(positions, size):
            self.read.extend(part.tolist())
            yield part, x


def scored(net, pool, trunks=None, **options):
    return score.predict(MCDropout(net).draw(5), pool, acquire.bald, trunks=trunks, **options)


@pytest.fixture(autouse=True)
def always_worth_it(monkeypatch):
    monkeypatch.setattr(module, "_READ", 1 << 62)


@pytest.fixture
def trunks(tmp_path):
    told = []
    made = Trunks(tmp_path / "trunks", 1 << 30, told.append)
    made.told = told
    return made


def files(trunks):
    return sorted(trunks.folder.rglob("*.npy"))


@pytest.mark.parametrize(
    ("net", "precision"),
    [
        (network, "float32"),
        (network, "bfloat16"),
        (partial(networks.gal2017, (1, 28, 28), 10), "bfloat16"),
        (partial(networks.batchbald2019, (1, 28, 28), 10, width=0.5), "float32"),
    ],
)
def test_scores_are_exactly_the_same_and_the_pool_is_read_once(net, precision, trunks):
    net, pool = net().eval(), Pool()
    plain = scored(net, pool, precision=precision)
    assert (scored(net, pool, trunks, precision=precision) == plain).all()
    pool.read.clear()
    assert (scored(net, pool, trunks, precision=precision) == plain).all()
    assert pool.read == [0]  # to see how large an item is
    again = Trunks(trunks.folder, trunks.limit)  # another process: it reads, and computes nothing
    assert (scored(net, pool, again, precision=precision) == plain).all()
    assert pool.read == [0, 0, *range(N)]
    assert len(files(trunks)) == 2


def test_the_head_may_change_and_the_pool_may_shrink(trunks, monkeypatch):
    pool = Pool()
    computed = []
    original = module._Pass.compute
    monkeypatch.setattr(module._Pass, "compute", lambda run, x: computed.append(1) or original(run, x))
    rest = np.setdiff1d(np.arange(N), [3, 500, 1299, *range(130, 260)])
    first = scored(network(0), pool, trunks)
    assert len(computed) == 2
    later = scored(network(1), View(pool, rest), trunks)
    assert len(computed) == 2
    assert later == pytest.approx(scored(network(1), View(pool, rest)), abs=1e-6)
    fresh = Trunks(trunks.folder / "other", trunks.limit)
    assert (scored(network(1), View(pool, rest), fresh) == later).all()
    assert (first[rest] != later).any()
    assert len(computed) == 4
    scored(network(0, trunk=1), pool, trunks)
    assert len(computed) == 6


def test_other_contents_are_other_features(trunks):
    first = scored(network(), Pool(), trunks)
    assert (scored(network(), Pool(X[::-1]), trunks) != first).any()
    assert len(files(trunks)) == 4


def test_pools_that_begin_alike_and_two_batch_sizes(trunks):
    x = X[:320].copy()
    x[128:] = X[400:592]
    first, second, net = Pool(X[:320]), Pool(x), network()
    plain = scored(net, second, batch_size=64)
    for size in (16, 64):
        scored(net, first, trunks, batch_size=size)
    again = Trunks(trunks.folder, trunks.limit)
    scored(net, second, again, batch_size=16)
    assert (scored(net, second, again, batch_size=64) == plain).all()


def test_a_few_items_of_a_large_pool_take_the_plain_way(trunks):
    few = View(Pool(), np.arange(0, N, 13))
    assert (scored(network(), few, trunks) == scored(network(), few)).all()
    assert files(trunks) == []


def test_a_file_that_was_cut_short_is_made_anew(trunks):
    plain = scored(network(), Pool(), trunks)
    whole = files(trunks)[0].read_bytes()
    files(trunks)[0].write_bytes(whole[: len(whole) // 2])
    assert (scored(network(), Pool(), trunks) == plain).all()
    assert files(trunks)[0].read_bytes() == whole


def test_the_bound_is_kept_and_the_least_recently_used_goes_first(trunks):
    pool = Pool()
    one = sum(4 * 4 * 49 for _ in range(N))
    trunks.limit = int(2.5 * one)
    for number, net in enumerate((network(trunk=0), network(trunk=1))):
        scored(net, pool, trunks)
        for folder in trunks.folder.iterdir():
            os.utime(folder, (number, number))
    (kept, _), newest = (sorted(trunks.folder.iterdir(), key=str), network(trunk=2))
    os.utime(kept, (10, 10))
    scored(newest, pool, trunks)
    left = list(trunks.folder.iterdir())
    assert len(left) == 2
    assert kept in left
    assert sum(f.stat().st_size for f in files(trunks)) <= trunks.limit
    trunks.limit = one // 2
    plain = scored(network(trunk=3), pool)
    for _ in range(2):
        assert (scored(network(trunk=3), pool, trunks) == plain).all()
    assert len(trunks.told) == 1
    assert "are needed" in trunks.told[0]


def test_another_process_may_evict_at_any_moment(trunks):
    other = trunks.folder / "other/ab"

    def come_and_go():
        for _ in range(60):
            other.mkdir(parents=True)
            for name in "abcd":
                (other / name).touch()
            shutil.rmtree(other.parent)

    evicting = threading.Thread(target=come_and_go)
    evicting.start()
    while evicting.is_alive():
        assert module._size(trunks.folder) == 0
    trunks.folder.mkdir(exist_ok=True)
    (trunks.folder / "gone").symlink_to(trunks.folder / "nowhere")  # listed, and cannot be looked at
    scored(network(), Pool(), trunks)
    assert len(files(trunks)) == 2


def test_a_full_disk_means_no_cache_and_is_said_once(trunks, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("baldur.data.cache._write", full)
    plain = scored(network(), Pool())
    for _ in range(2):
        assert (scored(network(), Pool(), trunks) == plain).all()
    assert len(trunks.told) == 1
    assert "no room left" in trunks.told[0]


def test_what_is_computed_faster_than_it_is_read_is_not_kept(trunks, monkeypatch):
    monkeypatch.setattr(module, "_READ", 1)
    assert (scored(network(), Pool(), trunks) == scored(network(), Pool())).all()
    assert files(trunks) == []
    assert "is faster than reading" in trunks.told[0]


def test_draws_that_are_not_cut_are_computed_as_ever(trunks):
    draws = Deterministic(network()).draw()
    scores = score.predict(draws, Pool(), acquire.entropy, trunks=trunks)
    assert (scores == score.predict(draws, Pool(), acquire.entropy)).all()
    assert score.predict(draws, X[:0], acquire.entropy, trunks=trunks).shape == (0,)


class Frozen(nn.Module):
    """A network of which only the head is trained."""

    def __init__(self, shape, classes):
        super().__init__()
        self.trunk = nn.Linear(shape[0], 16).requires_grad_(False)
        with torch.no_grad():
            self.trunk.weight.copy_(
                torch.linspace(-1, 1, self.trunk.weight.numel()).view_as(self.trunk.weight)
            )
            self.trunk.bias.zero_()
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(16, classes))

    def forward(self, x):
        return self.head(self.trunk(x).relu())


@pytest.mark.usefixtures("without_charts")
def test_a_run_with_a_frozen_trunk_gives_the_same_curve(tmp_path, monkeypatch):
    monkeypatch.setenv("BALDUR_CACHE", str(tmp_path / "cache"))
    computed = []
    original = module._Pass.compute
    monkeypatch.setattr(module._Pass, "compute", lambda run, x: computed.append(run.base) or original(run, x))
    for name, more in (("plain", {}), ("kept", {"trunk_cache": "10MB"})):
        done = run.run(blob_set(), tmp_path / name, network=Frozen, strategies=["bald"], **(QUICK | more))
        assert done.state == "done"
    assert (tmp_path / "plain/curves.csv").read_text() == (tmp_path / "kept/curves.csv").read_text()
    assert len(computed) == 2  # the pool and the test set, in three rounds
