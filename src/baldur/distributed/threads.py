"""Makes several long calls side by side in one process, while the work itself is done elsewhere."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

_LINGER = 20.0  # maximum seconds to wait for calls that are about to stop


class Stopped(Exception):
    """Raised in a call that must end because another call failed, or after Ctrl-C."""


def side_by_side(calls: Sequence[Callable[[], T]], most: int, stop: threading.Event) -> list[T]:
    """Make calls in threads, several at a time. They start in order.

    Args:
        calls: The functions to call.
        most: Maximum number of calls at a time.
        stop: Is set when a call fails, and after Ctrl-C; the other calls then raise `Stopped`.

    Returns:
        The results, in order.

    Raises:
        BaseException: The first error of a call, after the other calls have ended.
    """
    left = iter(list(enumerate(calls)))
    lock, told = threading.Lock(), queue.SimpleQueue[tuple[int, T | None, BaseException | None]]()

    def work() -> None:
        while not stop.is_set():
            with lock:
                number, call = next(left, (None, None))
            if number is None or call is None:
                return
            try:
                told.put((number, call(), None))
            except BaseException as error:
                told.put((number, None, error))
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(max(1, min(most, len(calls))))]
    results: dict[int, T] = {}
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(calls):
            try:
                number, result, error = told.get(timeout=0.2)  # in short steps, so that Ctrl-C is heard
            except queue.Empty:
                continue
            if error is not None:
                raise error
            results[number] = result  # type: ignore[assignment]  # there is no error, so it is one
    except BaseException:
        stop.set()
        end = time.monotonic() + _LINGER
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, end - time.monotonic()))
        raise
    return [results[number] for number in range(len(calls))]
