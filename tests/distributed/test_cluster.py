"""A cluster on this machine. Kills of nodes are in soak/test_cluster.py."""

import time
from itertools import pairwise

import pytest
from tests.distributed.setting import on_ray

from baldur.distributed import Cluster
from baldur.distributed.threads import Stopped
from baldur.errors import ClusterFailed, Unsupported

pytestmark = on_ray


def test_without_ray_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(Unsupported, match=r'pip install "baldur\[ray\]"'):
        Cluster().start()


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


def test_after_the_end_nothing_starts_again(cluster):
    """Ray would start a cluster of its own for a call that comes late."""
    over = Cluster(workers=1)
    calls = over.each(span, range(40), "naps")
    next(calls)
    over.stopping.set()
    with pytest.raises(Stopped):
        list(calls)
    with pytest.raises(Stopped):
        over.start()
