"""The demo with trials side by side, beside the same trials one after the other on two threads.

Both are whole commands, started in turn: 3 strategies x 5 seeds on digits, as `make demo` runs them.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.measure import say

DEMO = (
    *("run", "digits", "--strategy", "random", "--strategy", "entropy", "--strategy", "bald", "--seeds", "5"),
    *("--rounds", "20", "--query-size", "10", "--initial", "20", "--draws", "20"),
    *("--epochs", "20", "--learning-rate", "0.003", "--quiet"),
)
REPEATS = 2


def timed(out: Path, *options: str) -> tuple[float, float]:
    """Seconds of one whole run, and the largest resident set of a process of it in MiB."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "baldur", *DEMO, *options, "--out", str(out)])
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
    turns: dict[str, list[float]] = {"threads": [], "jobs": []}
    memory = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(REPEATS):
            say(f"make demo, one after the other on two threads, {repeat + 1} of {REPEATS}")
            turns["threads"].append(timed(Path(folder) / f"t{repeat}", "--jobs", "1", "--threads", "2")[0])
            say(f"make demo, side by side, {repeat + 1} of {REPEATS}")
            seconds, largest = timed(Path(folder) / f"j{repeat}")
            turns["jobs"].append(seconds)
            memory = max(memory, largest)
        same = _curves(folder)
    ratio = median(a / b for a, b in zip(turns["threads"], turns["jobs"], strict=True))
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    both = f"{median(turns['threads']):.0f} s against {median(turns['jobs']):.0f} s, {load}"
    return [
        (
            "`make demo`: two threads / trials side by side",
            f"{ratio:.2f} times ({both})",
            "at least 1.6 times",
        ),
        ("largest memory of a process of it", f"{memory:.0f} MiB", "stated"),
        ("curves of the two runs that went side by side", "equal" if same else "differ", "equal"),
    ]


def _curves(folder: str) -> bool:
    return len({(Path(folder) / f"j{repeat}" / "curves.csv").read_bytes() for repeat in range(REPEATS)}) == 1
