import threading
import time
from functools import partial

import pytest

from baldur.distributed.threads import Stopped, side_by_side


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
