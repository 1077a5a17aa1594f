"""Clocks, peaks of memory, and processes of their own: how the parts measure."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MIB = 2**20


def seconds(run: Callable[[], Any], repeats: int = 1) -> list[float]:
    """Wall-clock time of each of several calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def memory(what: str) -> int:
    """KiB of this process now (VmRSS) or at most so far (VmHWM); Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def peak(run: Callable[[], Any]) -> float:
    """How far the memory of this process rises during a call, in MiB."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed but kept would hide what is taken
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the data
    before = memory("VmRSS")
    run()
    return (memory("VmHWM") - before) / 1024


def child(target: str, **arguments: Any) -> dict[str, Any]:
    """Call MODULE:FUNCTION in a process of its own, whose imports and memory mix with nobody's.

    Args:
        target: The function; it returns a dict that JSON can hold.
        arguments: What it is called with; JSON must hold them too.

    Returns:
        What it returned.
    """
    command = [sys.executable, "-m", "bench.measure", target, json.dumps(arguments)]
    quiet = os.environ | {"TQDM_DISABLE": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT, env=quiet)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def say(text: str) -> None:
    """Tell whoever waits what is being done."""
    print(f"    {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def show(value: float) -> str:
    """Seconds with three digits."""
    return f"{value:.0f} s" if value >= 100 else f"{value:.3g} s"


def faster(times: dict[str, float]) -> tuple[float, str]:
    """The least of the times of several kinds of input, and all of them in words."""
    best = min(times, key=times.__getitem__)
    rest = [f"{kind} {show(value)}" for kind, value in times.items() if kind != best]
    return times[best], f"{show(times[best])} ({', '.join([best, *rest])})"


if __name__ == "__main__":
    module, function = sys.argv[1].split(":")
    print(json.dumps(getattr(import_module(module), function)(**json.loads(sys.argv[2]))))
