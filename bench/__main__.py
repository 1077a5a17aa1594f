"""`make bench`: every figure that the documentation claims, measured in one run; written to docs/benchmarks.md."""

import platform
import sys
from pathlib import Path

import numpy as np
import torch

import baldur
from bench import overhead, scoring, start, training

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def machine() -> str:
    """What ran it, in one line."""
    cpu = next(
        (line.split(":")[1].strip() for line in _cpu() if line.startswith("model name")), platform.machine()
    )
    versions = f"Baldur {baldur.__version__}, PyTorch {torch.__version__}, NumPy {np.__version__}"
    return f"{cpu}, {torch.get_num_threads()} threads; {versions}, Python {platform.python_version()}"


def _cpu() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    """Measure, print, write."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. A ratio compares two things that were measured in turn, in the same run.",
        "",
        f"Machine: {machine()}.",
        "",
        "| what | measured | bar |",
        "|---|---|---|",
    ]
    for part in (start, overhead, training, scoring):
        for what, measured, bar in part.rows():
            print(f"{what}: {measured} ({bar})", flush=True)
            lines.append(f"| {what} | {measured} | {bar} |")
    PAGE.write_text("\n".join(lines) + "\n")
    print(
        f"written to {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
