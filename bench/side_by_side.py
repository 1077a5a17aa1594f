"""The demo with trials side by side, compared with the same trials one after the other on two threads.

All are whole commands, started in turn: 3 strategies x 5 seeds on digits, as `make demo` runs them. On an idle machine,
two threads are fastest if they spin while they wait. So the comparison is with threads that spin, too.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from bench.measure import say

DEMO = (
    *("run", "digits", "--strategy", "random", "--strategy", "entropy", "--strategy", "bald", "--seeds", "5"),
    *("--rounds", "20", "--query-size", "10", "--initial", "20", "--draws", "20"),
    *("--epochs", "20", "--learning-rate", "0.003", "--quiet"),
)
REPEATS = 2
SPINS = {"GOMP_SPINCOUNT": "300000"}
"""The default of GCC's OpenMP. Where it is set, the command line leaves the threads as they are."""


def timed(out: Path, *options: str, environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """Seconds of one whole run, and the largest resident set of a process of it in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "baldur", *DEMO, *options, "--out", str(out)],
        env={**os.environ, **(environment or {})},
    )
    largest = 0.0
    while process.poll() is None:
        largest = max(largest, _largest(process.pid))
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit("the demo failed")
    return time.perf_counter() - start, largest


def _largest(parent: int) -> float:
    """The largest resident set of the jobs of a run, or of the run itself, in MiB."""
    said = subprocess.run(["ps", "-eo", "pid=,ppid=,rss="], capture_output=True, text=True, check=True)
    rows = [[int(part) for part in line.split()] for line in said.stdout.splitlines()]
    below = {parent}
    for _ in range(3):
        below |= {pid for pid, ppid, _ in rows if ppid in below}
    return max((rss / 1024 for pid, _, rss in rows if pid in below), default=0.0)


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    turns: dict[str, list[float]] = {"spinning": [], "sleeping": [], "jobs": []}
    two = ("--jobs", "1", "--threads", "2")
    memory = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            say(f"make demo, one after the other on two threads that spin, {repeat + 1} of {REPEATS}")
            turns["spinning"].append(timed(Path(folder) / f"s{repeat}", *two, environment=SPINS)[0])
            say(f"make demo, one after the other on two threads that sleep, {repeat + 1} of {REPEATS}")
            turns["sleeping"].append(timed(Path(folder) / f"t{repeat}", *two)[0])
            say(f"make demo, side by side, {repeat + 1} of {REPEATS}")
            seconds, largest = timed(Path(folder) / f"j{repeat}")
            turns["jobs"].append(seconds)
            memory = max(memory, largest)
        same = _curves(folder)
    load = f"load {os.getloadavg()[0]:.1f} at the end"

    def against(name: str) -> str:
        ratio = median(a / b for a, b in zip(turns[name], turns["jobs"], strict=True))
        return f"{median(turns[name]):.0f} s / {median(turns['jobs']):.0f} s = {ratio:.2f} times ({load})"

    return [
        (
            "`make demo`: two threads that spin / trials side by side",
            against("spinning"),
            "at least 1.6 times",
        ),
        ("`make demo`: two threads that sleep / trials side by side", against("sleeping"), "-"),
        ("largest memory of a process of it", f"{memory:.0f} MiB", "stated"),
        ("curves of the two runs that went side by side", "equal" if same else "differ", "equal"),
    ]


def _curves(folder: str) -> bool:
    return len({(Path(folder) / f"j{repeat}" / "curves.csv").read_bytes() for repeat in range(REPEATS)}) == 1
