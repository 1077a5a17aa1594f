"""Sends objects to the workers as pickles. Objects that several calls need are sent once.

Only objects of this program are pickled, and only for the workers of its cluster.
"""

import io
import pickle
import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, SupportsIndex, overload

import numpy as np
from numpy.typing import NDArray

from baldur.errors import DataNotFound, InvalidArgument

Parcel = tuple[bytes, list[NDArray[np.uint8]], list[Any]]
"""A pickle, its arrays (workers map them instead of copying), and references to objects that were sent before."""

_MANY = 10_000  # tuples with at least this number of strings are sent as one array
_SENT, _HELD = (
    16,
    4,
)  # number of sent objects that a driver remembers, and of unpacked objects that a worker keeps
_sent: OrderedDict[str, tuple[Any, Any]] = OrderedDict()
_lock = threading.RLock()


def share(thing: Any) -> None:
    """Send an object once. From then on, it is packed as a reference.

    Args:
        thing: The object, such as a pool. It must not change.
    """
    ray = import_module("ray")
    with _lock:
        if any(known is thing for known, _ in _sent.values()):
            return
        _remember(thing, ray.put(pack(thing)), _SENT)


def forget(thing: Any = None) -> None:
    """Forget a shared object, or all of them.

    Args:
        thing: The object; None for all.
    """
    with _lock:
        for key in [key for key, (known, _) in _sent.items() if thing is None or known is thing]:
            del _sent[key]


def pack(thing: Any) -> Parcel:
    """Pickle an object for a worker.

    Args:
        thing: The object. Functions and classes that a worker cannot import are sent by value.

    Returns:
        The argument for `unpack`.

    Raises:
        InvalidArgument: The object contains something that cannot be sent to another process.
    """
    Pickler: Any = import_module("ray.cloudpickle").Pickler
    with _lock:
        known = {id(one): ref for one, ref in _sent.values() if one is not thing}
    refs: list[Any] = []
    buffers: list[pickle.PickleBuffer] = []

    packed: dict[int, tuple[Any, Names]] = {}  # holds the tuple, so that no other object gets its id

    class Packer(Pickler):  # type: ignore[misc]  # Ray is untyped
        """Replaces sent objects by references, memory maps by file names, and many ids by one array."""

        def persistent_id(self, part: Any) -> "int | Names | None":
            if type(part) is tuple and len(part) >= _MANY and all(type(one) is str for one in part):
                if id(part) not in packed:
                    packed[id(part)] = part, Names(part)
                return packed[id(part)][1]
            if id(part) not in known:
                return None
            refs.append(known[id(part)])
            return len(refs) - 1

        def reducer_override(self, part: Any) -> Any:
            place = _place(part) if type(part) is np.memmap else None
            return super().reducer_override(part) if place is None else (_open, place)

    file = io.BytesIO()
    try:
        Packer(file, protocol=5, buffer_callback=buffers.append).dump(thing)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise InvalidArgument(
            f"{type(thing).__name__} cannot be sent to the workers of a cluster: {error}; create open files, locks and "
            "connections only when they are used"
        ) from error
    return file.getvalue(), [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers], refs


def unpack(parcel: Parcel) -> Any:
    """Restore an object on a worker. Shared objects are unpacked only once.

    Args:
        parcel: The result of `pack`.

    Returns:
        The object. Its arrays may be read-only.
    """
    data, buffers, refs = parcel

    class Unpacker(pickle.Unpickler):
        """Resolves references to objects that were sent before."""

        def persistent_load(self, pid: Any) -> Any:
            return pid if isinstance(pid, Names) else _shared(refs[pid])

    return Unpacker(io.BytesIO(data), buffers=buffers).load()


class Names(Sequence[str]):
    """Many strings in one array, which all workers of a node map. Each would have to unpack a tuple.

    Args:
        names: The strings.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.ends = np.zeros(len(names), np.int64)
        parts = []
        for start in range(0, len(names), _MANY):
            some = [name.encode("utf-8", "surrogatepass") for name in names[start : start + _MANY]]
            self.ends[start : start + len(some)] = [len(one) for one in some]
            parts.append(b"".join(some))
        self.text = np.frombuffer(b"".join(parts), np.uint8)
        np.cumsum(self.ends, out=self.ends)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(len(self))[index])
        i = range(len(self))[index]
        start = self.ends[i - 1] if i else 0
        return self.text[start : self.ends[i]].tobytes().decode("utf-8", "surrogatepass")


def _shared(ref: Any) -> Any:
    with _lock:
        key = ref.hex()
        if key not in _sent:
            _remember(unpack(import_module("ray").get(ref)), ref, _HELD)
        _sent.move_to_end(key)
        return _sent[key][0]


def _remember(thing: Any, ref: Any, most: int) -> None:
    _sent[ref.hex()] = (thing, ref)
    while len(_sent) > most:
        _sent.popitem(last=False)


def _place(array: Any) -> tuple[str, np.dtype[Any], int, tuple[int, ...]] | None:
    """The location of a memory map: file, type, offset and shape. None if its bytes must be sent instead."""
    name = array.filename
    if name is None or not array.flags.c_contiguous or not Path(name).exists():
        return None
    root = array
    while isinstance(root.base, np.memmap):  # a part of a map keeps the offset of the whole
        root = root.base
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return str(name), array.dtype, int(offset), array.shape


def _open(name: str, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...]) -> NDArray[Any]:
    """Open the same memory map on this node."""
    if not Path(name).exists():
        raise DataNotFound(
            f"{name} is not on this node ({_node()}); put it on a file system that every node has at the same path"
        )
    return np.memmap(name, dtype, "r", offset, shape)


def _node() -> str:
    import platform

    return platform.node() or "a node without a name"
