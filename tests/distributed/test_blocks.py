import errno

import numpy as np
import pytest

from baldur.distributed.blocks import Kept, cut
from baldur.errors import DiskFull


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
    with pytest.raises(DiskFull, match="start again to continue"):
        kept.save(1, np.array([1.0]), True)
    assert kept.load(1, 1) is None
    assert [path.name for path in kept.folder.iterdir()] == [file.name]
