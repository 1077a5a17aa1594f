"""The time of `baldur --help`."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median


def rows() -> list[tuple[str, str, str]]:
    """(what, measured, bar)."""
    command, times = [str(Path(sys.executable).with_name("baldur")), "--help"], []
    for _ in range(8):
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        times.append(time.perf_counter() - start)
    return [
        ("baldur --help: median of 7 (after one to warm up)", f"{median(times[1:]):.2f} s", "at most 0.3 s")
    ]
