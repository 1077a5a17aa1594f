"""A cache on disk for the outputs of frozen trunks, which then run once over a pool and not in every round."""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from baldur.core.trees import bits, map_tree
from baldur.data.cache import block, key_of, stored
from baldur.errors import DiskFull, InvalidArgument
from baldur.posteriors.trunk import Trunk
from baldur.protocols import Pool, Positions, View

_BATCHES = 8  # batches in a file
_WASTE = 1.5  # maximum number of computed items for each requested item
_POOLS = 4  # number of pools with remembered contents, which are not read again
_LARGEST_ROW = 1 << 16  # bytes of an item
_READ = 256 << 20  # bytes per second of a plain disk; faster trunks are computed again


@dataclass
class Trunks:
    """A cache for the outputs of trunks. The key of a file is a hash of the trunk and of its items.

    A trunk always gets the batches of the whole pool, whether or not items are labelled or cached. So scores never
    depend on the content of the cache.

    Args:
        folder: The folder of the cache, with one subfolder for each trunk.
        limit: Maximum size in bytes; the least recently used outputs are deleted first.
        message: Called with the reason when outputs of a trunk are not cached, for the first such trunk.
        fixed: Pools that are scored as they are, such as a test set. For other views, the whole pool is used.
    """

    folder: Path
    limit: int
    message: Callable[[str], None] = lambda text: None
    fixed: tuple[Pool, ...] = ()
    _known: dict[int, tuple[Pool, dict[tuple[int, int], str]]] = field(default_factory=dict, repr=False)
    _refused: set[str] = field(default_factory=set, repr=False)
    _admitted: set[str] = field(
        default_factory=set, repr=False
    )  # admitted in this pass, with space for the rest of it

    def rows(
        self,
        trunk: Any,
        pool: Pool,
        size: int,
        computed_in: Callable[[], AbstractContextManager[None]],
        about: str,
    ) -> Iterator[tuple[Positions, Tensor]] | None:
        """The trunk's outputs of the items of a pool, at most `size` at a time.

        Args:
            trunk: The first part of `Draws.split`.
            pool: The items.
            size: Items in a batch.
            computed_in: A context that sets the precision.
            about: The name of the precision.

        Returns:
            Positions in the pool, in order, and outputs. None if the trunk has no identity, or if the pool is a small
            part of a larger one.
        """
        base, wanted = (
            (pool.whole, pool.positions) if isinstance(pool, View) else (pool, np.arange(len(pool)))
        )
        if not isinstance(trunk, Trunk) or not len(wanted) or (np.diff(wanted) <= 0).any():
            return None
        if len(np.unique(wanted // size)) * size > max(_WASTE * len(wanted), size):
            return None
        threads = torch.get_num_threads()
        made = (trunk.identity(), about, str(trunk.device()), threads, torch.__version__, size)
        return self._rows(_Pass(trunk, base, size, computed_in, key_of("trunk 1", *made)), wanted)

    def _rows(self, run: "_Pass", wanted: Positions) -> Iterator[tuple[Positions, Tensor]]:
        place = self.folder / run.key
        self._admitted.discard(run.key)
        with suppress(FileNotFoundError):
            os.utime(place)
        waiting: list[_Rows] = []
        held = done = 0
        span = _BATCHES * run.size
        for start in np.unique(wanted // span) * span:
            first, last = np.searchsorted(wanted, (start, start + span))
            part = self._block(run, place, int(start)).take(wanted[first:last] - start)
            waiting.append(part)
            held += len(part.values)
            whole = last == len(wanted)
            while held >= run.size or (whole and held):
                n = min(run.size, held)
                batch, waiting = _cut(waiting, n)
                yield np.arange(done, done + n), batch.tensor(run.trunk.device())
                held, done = held - n, done + n

    def _block(self, run: "_Pass", place: Path, start: int) -> "_Rows":
        """The outputs of `_BATCHES` batches from `start` on, from the cache or computed."""
        known = self._known.setdefault(id(run.base), (run.base, {}))[1]
        if len(self._known) > _POOLS:
            del self._known[next(iter(self._known))]
        batches: list[Any] | None = None
        items = (run.size, start)  # identifies the items
        if items not in known:
            batches = run.read(start)
            digest = hashlib.blake2b(digest_size=16)
            for x in batches:
                map_tree(
                    lambda leaf: digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode() + bits(leaf)), x
                )
            known[items] = digest.hexdigest()
        key = key_of(run.size, known[items])
        if found := stored(place, key):
            return _Rows(found[0], tuple(found[1]["order"]), found[1]["dtype"])
        begun = time.perf_counter()
        rows = run.compute(batches if batches is not None else run.read(start))
        took = time.perf_counter() - begun
        if run.key not in self._refused:
            reason = self._refusal(run, place, start, rows, took)
            try:
                if not reason:
                    block(place, key, lambda: (rows.values, {"order": list(rows.order), "dtype": rows.dtype}))
            except (DiskFull, InvalidArgument) as error:
                reason = str(error)
            if reason:
                self._refuse(run.key, reason)
        return rows

    def _refuse(self, key: str, reason: str) -> None:
        if not self._refused:  # every round may have another trunk, so tell only once
            self.message(f"the outputs of the network's trunk are not cached: {reason}")
        self._refused.add(key)

    def _refusal(self, run: "_Pass", place: Path, start: int, rows: "_Rows", took: float) -> str:
        """The reason why these outputs are not cached; "" if they are, after space was made."""
        if run.key in self._admitted:
            return ""
        each = rows.values.nbytes // len(rows.values)
        rate = rows.values.nbytes / took
        if each > _LARGEST_ROW or rate > _READ:
            return f"computing {each:,} bytes per item at {rate / 2**20:,.0f} MiB a second is faster than reading"
        needed, own = each * (len(run.base) - start), _size(place)
        if needed + own > self.limit:
            return (
                f"{(needed + own) / 2**20:,.0f} MiB are needed, and {self.limit / 2**20:,.0f} MiB are allowed"
            )
        others = sorted((p for p in self.folder.glob("*") if p != place), key=_last_used)
        sizes = {other: _size(other) for other in others}
        room = self.limit - needed - own - sum(sizes.values())
        for other, size in sizes.items():
            if room >= 0:
                break
            room += size
            shutil.rmtree(other, ignore_errors=True)
        self._admitted.add(run.key)
        return ""


@dataclass(frozen=True)
class _Pass:
    """One pass of a trunk over a pool."""

    trunk: Trunk
    base: Pool
    size: int
    computed_in: Callable[[], AbstractContextManager[None]]
    key: str

    def read(self, start: int) -> list[Any]:
        stop = min(start + _BATCHES * self.size, len(self.base))
        return [x for _, x in self.base.batches(np.arange(start, stop), self.size)]

    def compute(self, batches: list[Any]) -> "_Rows":
        made = []
        for x in batches:
            with self.computed_in():
                made.append(_rows_of(self.trunk(x)))
        return _Rows(np.concatenate([rows.values for rows in made]), made[0].order, made[0].dtype)


@dataclass(frozen=True)
class _Rows:
    """Outputs of some items in their memory layout, so that channels-last tensors are restored bit for bit.

    Args:
        values: The outputs, with axes in the order of their strides.
        order: The axis of the tensor for each of these axes.
        dtype: The type of the tensor.
    """

    values: NDArray[Any]
    order: tuple[int, ...]
    dtype: str

    def take(self, which: Positions) -> "_Rows":
        return _Rows(self.values[which], self.order, self.dtype)

    def tensor(self, device: torch.device) -> Tensor:
        kind: torch.dtype = getattr(torch, self.dtype)
        inverse = np.argsort(self.order).tolist()
        return torch.from_numpy(self.values).view(kind).permute(*inverse).to(device)  # (n, ...)


def _rows_of(h: Tensor) -> _Rows:
    order = (0, *sorted(range(1, h.ndim), key=h.stride, reverse=True))
    values = h.detach().cpu().permute(order).contiguous()  # (n, ...), the axes as they lie in memory
    dtype = str(h.dtype).removeprefix("torch.")
    # NumPy has no bfloat16, so its bits are kept as whole numbers.
    kept = values.view(torch.int16) if h.dtype == torch.bfloat16 else values  # (n, ...)
    return _Rows(kept.numpy(), order, dtype)


def _cut(parts: list[_Rows], n: int) -> tuple[_Rows, list[_Rows]]:
    """Split into the first n rows and the rest."""
    values = np.concatenate([part.values for part in parts]) if len(parts) > 1 else parts[0].values
    order, dtype = parts[0].order, parts[0].dtype
    rest = [_Rows(values[n:], order, dtype)] if n < len(values) else []
    return _Rows(np.array(values[:n]), order, dtype), rest


def _last_used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:  # another process evicts, too
        return 0.0


def _size(folder: Path) -> int:
    size = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(place, name)).st_size
    return size
