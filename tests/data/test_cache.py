import errno
import json
import os
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baldur.data.cache import block, cut, gather, key_of
from baldur.errors import DataNotFound, DiskFull, InvalidArgument


def make(start=0, n=3):
    rows = np.arange(start, start + n, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    return lambda: (rows, {"n": n})


def refuse():
    raise AssertionError("made again")


def test_a_block_is_made_once(tmp_path):
    key = key_of("a", 1)
    path, facts = block(tmp_path, key, make())
    assert block(tmp_path, key, refuse) == (path, facts) == (path, {"n": 3})
    assert np.load(path)[2, 0, 0] == 2
    assert sorted(p.suffix for p in path.parent.iterdir()) == [".json", ".npy"]
    assert key_of("a", 2) != key != key_of("b", 1)


def test_a_damaged_block_is_made_anew(tmp_path):
    path, _ = block(tmp_path, "00", make())
    whole = path.read_bytes()
    for damage in (
        lambda: path.write_bytes(whole[:-1]),
        lambda: path.write_bytes(b""),
        path.unlink,
        lambda: path.with_suffix(".json").write_text("{"),
        path.with_suffix(".json").unlink,
        lambda: np.save(path, np.zeros(3)),
    ):
        damage()
        assert block(tmp_path, "00", make())[0].read_bytes() == whole


def test_facts_decide_whether_a_block_is_used_again(tmp_path):
    block(tmp_path, "00", make(n=1), lambda facts: facts["n"] > 1)
    assert block(tmp_path, "00", make(n=2), lambda facts: facts["n"] > 1)[1] == {"n": 2}


def test_a_block_that_was_not_finished_is_as_if_it_had_never_begun(tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(json, "dumps", killed)  # between the rows and their facts
        with pytest.raises(KeyboardInterrupt):
            block(tmp_path, "00", make())
    assert block(tmp_path, "00", make(5))[1] == {"n": 3}
    assert np.load(tmp_path / "00" / "00.npy")[0, 0, 0] == 5


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DiskFull, match="BALDUR_CACHE"):
            block(tmp_path, "00", make())
    assert list((tmp_path / "00").iterdir()) == []
    block(tmp_path, "00", make())


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InvalidArgument, match="BALDUR_CACHE"):
        block(tmp_path / "file", "00", make())


def test_what_killed_processes_left_is_swept(tmp_path):
    (tmp_path / "00").mkdir()
    old, new = tmp_path / "00" / "old.tmp", tmp_path / "00" / "new.tmp"
    old.touch(), new.touch()
    os.utime(old, (time.time() - 7 * 86400,) * 2)
    (tmp_path / "00" / "gone.tmp").symlink_to("nowhere")  # listed, and not there when it is looked at
    block(tmp_path, "00", make())
    assert (old.exists(), new.exists()) == (False, True)


@given(st.lists(st.integers(0, 8), max_size=20))
def test_rows_are_read_across_blocks_in_the_order_asked_for(tmp_path_factory, positions):
    folder = tmp_path_factory.mktemp("blocks")
    lengths = [3, 1, 5]
    paths = [
        block(folder, f"0{i}", make(s, n))[0] for i, (s, n) in enumerate(zip([0, 3, 4], lengths, strict=True))
    ]
    blocks = gather(paths, lengths)
    assert (len(blocks), blocks.shape) == (9, (2, 2))
    rows = blocks.take(np.array(positions, np.intp))
    assert rows[:, 1, 0].tolist() == positions


def test_a_removed_block_is_said(tmp_path):
    paths = [block(tmp_path, name, make())[0] for name in ("00", "01")]
    blocks = gather(paths, [3, 3])
    paths[1].unlink()
    with pytest.raises(DataNotFound, match="start again"):
        blocks.take(np.arange(3, 4))


@given(st.integers(0, 300), st.integers(1, 40))
def test_cuts_cover_everything_once_in_order(n, most):
    spans = cut([f"{i:04d}.png" for i in range(n)], most)
    assert [i for span in spans for i in span] == list(range(n))
    assert all(0 < len(span) <= most for span in spans)


def test_a_new_item_changes_few_blocks():
    ids = [f"{i:05d}.png" for i in range(3000)]
    grown = [*ids[:1000], "00999b.png", *ids[1000:]]
    before = {tuple(ids[s.start : s.stop]) for s in cut(ids, 64)}
    after = {tuple(grown[s.start : s.stop]) for s in cut(grown, 64)}
    assert len(before) > 60
    assert len(after - before) <= 5
