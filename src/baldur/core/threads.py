"""How OpenMP's threads wait for each other: they sleep, or they spin on a processor that others need.

This must be decided before torch is imported, so this module does not import it.
"""

import os
import warnings
from collections.abc import Mapping, MutableMapping
from functools import cache
from pathlib import Path

from baldur.errors import SpinningThreads

_SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
_OTHER = ("GOMP_SPINCOUNT", "KMP_LIBRARY")  # these decide the same
# Tasks for each processor. Two spinning threads beside one busy process on two processors reach this.
_CROWDED = 1.5


def never_spin(environment: MutableMapping[str, str] | None = None) -> None:
    """Let threads sleep while they wait for each other, unless the environment says otherwise.

    The OpenMP libraries of GCC and of LLVM or Intel read the environment when they are loaded. So this has no effect
    in a process that has imported torch, but has one in its children.

    Args:
        environment: Changed in place; by default, the environment of this process.
    """
    environment = os.environ if environment is None else environment
    if not any(name in environment for name in (*_SLEEPING, *_OTHER)):
        environment.update(_SLEEPING)


def warn_of_spinning(threads: int, environment: Mapping[str, str] | None = None) -> None:
    """Warn once if this process wastes much of its time on threads that spin.

    A thread that spins keeps its processor from the thread that it waits for. On a processor with several busy
    processes a small fit then takes ten times as long, or more.

    Args:
        threads: Number of PyTorch threads.
        environment: By default, the environment of this process.
    """
    environment = os.environ if environment is None else environment
    if threads > 1 and not _sleeps(environment) and _crowded():
        _warn()


def _sleeps(environment: Mapping[str, str]) -> bool:
    return (
        environment.get("OMP_WAIT_POLICY", "").strip().upper() == "PASSIVE"
        or environment.get("GOMP_SPINCOUNT", "").strip() == "0"
        or environment.get("KMP_BLOCKTIME", "").strip() == "0"
    )


def _crowded() -> bool:
    """Whether far more tasks want to run than this machine has processors."""
    processors = os.cpu_count() or 1
    try:
        if os.getloadavg()[0] <= _CROWDED * processors:
            return False
        now = Path("/proc/loadavg").read_text().split()[3]  # "3/130": tasks that can run, and all of them
    except FileNotFoundError:
        return True  # no Linux
    except (AttributeError, OSError):
        return False  # a system that does not tell
    return int(now.split("/")[0]) > processors  # the average still counts tasks that ended a minute ago


@cache
def _warn() -> None:
    warnings.warn(
        "this machine is busy, and PyTorch's threads spin while they wait for each other: a small fit can take ten "
        "times as long as it should. Set OMP_WAIT_POLICY=PASSIVE and KMP_BLOCKTIME=0 in the environment before Python "
        "starts, or call torch.set_num_threads(1)",
        SpinningThreads,
        stacklevel=3,
    )
