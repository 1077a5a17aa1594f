"""`make bench`: every figure that the documentation claims, measured in one run; written to docs/benchmarks.md.

`python -m bench PART...` measures some parts only and keeps the other sections of the page as they are.
"""

import platform
import sys
from types import ModuleType

import numpy as np
import torch

import baldur
from bench import (
    badge,
    bald,
    batchbald,
    busy,
    checks,
    cluster,
    epig,
    gpu,
    items,
    jobs,
    k_center,
    large,
    overhead,
    passes,
    peers,
    racing,
    side_by_side,
    start,
    training,
)
from bench.measure import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"
PARTS = {
    part.__name__.split(".")[-1]: part
    for part in (
        start,
        overhead,
        items,
        training,
        side_by_side,
        busy,
        checks,
        passes,
        gpu,
        large,
        racing,
        bald,
        epig,
        batchbald,
        k_center,
        badge,
        jobs,
        cluster,
    )
}
HEAD = """# Benchmarks

`make bench` writes this page. Each ratio compares two measurements that took turns in the same run, on the same input.
Other libraries run in a process of their own and get the input in their own layout before the clock starts. The last
column is the bar that was set beforehand. Missed bars are shown, too.
"""


def machine(others: tuple[str, ...]) -> str:
    """What ran it, in one line."""
    cpu = next(
        (line.split(":")[1].strip() for line in _proc("cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    gib = next(
        (int(line.split()[1]) / 2**20 for line in _proc("meminfo") if line.startswith("MemTotal")), 0.0
    )
    versions = [f"Baldur {baldur.__version__}", f"PyTorch {torch.__version__}", f"NumPy {np.__version__}"]
    versions += [f"Python {platform.python_version()}", *filter(None, map(peers.named, others))]
    return f"{cpu}, {torch.get_num_threads()} threads, {gib:.0f} GiB; {', '.join(versions)}"


def _proc(name: str) -> list[str]:
    try:
        with open(f"/proc/{name}") as file:
            return file.read().splitlines()
    except OSError:
        return []


def section(name: str, part: ModuleType) -> str:
    """Measure one part: its heading, the machine and its table."""
    print(f"{name}:", file=sys.stderr, flush=True)
    lines = [f"## {name}", "", (part.__doc__ or "").splitlines()[0], ""]
    lines += [
        f"Machine: {machine(getattr(part, 'PEERS', ()))}.",
        "",
        "| what | measured | bar |",
        "|---|---|---|",
    ]
    for what, measured, bar in part.rows():
        print(f"{what}: {measured} ({bar})", flush=True)
        lines.append(f"| {what} | {measured} | {bar} |")
    return "\n".join(lines) + "\n"


def kept() -> dict[str, str]:
    """The sections that the page has by now."""
    text = PAGE.read_text() if PAGE.exists() else ""
    parts = [f"## {part.rstrip()}\n" for part in text.split("\n## ")[1:]]
    return {part.splitlines()[0].removeprefix("## "): part for part in parts}


def main() -> None:
    """Measure, print, and write after each part."""
    chosen = sys.argv[1:] or list(PARTS)
    if unknown := set(chosen) - set(PARTS):
        sys.exit(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in chosen:
        sections = kept() | {name: section(name, PARTS[name])}
        PAGE.write_text("\n".join([HEAD, *(sections[part] for part in PARTS if part in sections)]))
    print(f"written to {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
