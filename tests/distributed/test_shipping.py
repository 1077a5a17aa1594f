"""What travels to a worker, and how."""

import pickle
import threading

import numpy as np
import pytest
from tests.distributed.setting import on_ray

from baldur import score
from baldur.errors import InvalidArgument

pytestmark = on_ray


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


def test_what_travels_can_be_pickled_again(posterior, pool):
    """A posterior that has predicted keeps how it does so; that must not stop it from travelling."""
    before = score.predict(posterior.draw(3), pool)
    assert (score.predict(pickle.loads(pickle.dumps(posterior)).draw(3), pool) == before).all()
