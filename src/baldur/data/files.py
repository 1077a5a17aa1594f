"""Data sets of image files: each is decoded once, kept as pixels, and identified by its content."""

import itertools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baldur.data import images
from baldur.data.arrays import ArrayPool, Faded, Normalise, image_preprocessing
from baldur.data.cache import Blocks, block, cut, gather, key_of
from baldur.data.classes import classified
from baldur.data.copies import EARLIER, sides
from baldur.data.dataset import Dataset, KnownRecord, Quarantined, Record, halves, origins_of
from baldur.data.download import Progress
from baldur.data.images import Facts, depth_of, notes_on
from baldur.data.labels import Rules
from baldur.data.listing import Item, Listing
from baldur.data.origins import of_files, short
from baldur.data.scanning import first_of
from baldur.errors import InvalidData, ItemChanged

COLOUR = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # the moments of ImageNet
GREY = Normalise((0.449,), (0.226,))
RESIZED = {"orientation": "exif", "resize": "short side, then centre crop", "interpolation": "bilinear"}
RESIZED |= {"transparency": "on white"}
OTHERWISE = (
    "this version reads {} otherwise than the version that began the run: transparent images are put on white, and"
    " values of 10 to 14 bits fill the whole range. Finish the run with the earlier version, or begin a new one"
)
_LATE = "was not there, or could not be read, when the run began"
_FACTS = (
    "sha256",
    "grey",
    "reason",
    "peak",
    "clear",
    "several",
    "content",
)  # kept beside the pixels of each file
_BLOCK_BYTES, _BLOCK_ITEMS = 16 << 20, 512


@dataclass(frozen=True)
class _Found:
    """An existing file, with facts about its content once it was read."""

    item: Item
    size: int
    mtime_ns: int
    sha256: str | None = None
    grey: bool = False
    reason: str = ""
    peak: int = 0
    clear: bool = False
    several: bool = False
    content: str | None = None


def from_listing(
    name: str,
    listing: Listing,
    *,
    image_size: int,
    test_fraction: float,
    seed: int,
    cache: Path,
    known: Mapping[str, KnownRecord],
    colour: bool,
    progress: Progress | None,
    rules: Rules,
) -> Dataset:
    """A data set of image files.

    Args:
        name: The name of the data set.
        listing: The files.
        image_size: The side of each image in pixels, after resizing to a square.
        test_fraction: The share of test items, if no item names its split.
        seed: Of that split.
        cache: The folder for decoded pixels.
        known: The recorded facts of files by id, from the beginning of a run. If there are any, other files are
            left out, so that the pools and the split stay the same.
        colour: Whether grey images get three channels, too.
        progress: Called with "images", the number of decoded images, and their total number.
        rules: How labels are read. If people will label, files that are not known are new items.

    Returns:
        The data set.

    Raises:
        ItemChanged: The content of a known file changed, or the file is missing.
        InvalidData: No image can be read, or a group is in both splits.
    """
    kept = rules.kept(name, "image")
    reading, fixed = rules.reading, known if rules.labelling is None else {}
    found, lost = _look([item for item in listing.items if not fixed or item.id in fixed])
    late = [(item.id, _LATE) for item in listing.items if fixed and item.id not in fixed]
    moved: tuple[str, ...] = ()
    if rules.labelling is None:
        _refuse_changed(known, found)  # before the long work, and again when every content is known
    found, rows = _decoded(found, image_size, cache, progress)
    depth = depth_of(max((f.peak for f in found), default=0))
    if kept is not None:
        depth = kept.get("depth", 16)
    if depth < 16 and any(f.peak for f in found):
        found, rows = _decoded(found, image_size, cache, progress, depth)
    other = [f.item.id for f in found if f.clear or (f.peak and depth < 16)]
    if other and reading <= EARLIER:
        raise ItemChanged(OTHERWISE.format(other[0]))
    if rules.labelling is not None:
        found, moved = _found_again(known, found)
    _refuse_changed(known, found)
    unread = [(f.item.id, f.reason) for f in found if f.reason]
    quarantined = [*listing.quarantined, *lost, *late, *unread]
    if rows is None or len(unread) == len(found):
        raise InvalidData(
            f"no image of {name} can be read; the first problem is {quarantined[0][0]}: {quarantined[0][1]}"
        )

    usable = np.array([not f.reason for f in found], np.bool_)
    grey = not colour and all(f.grey for f in found if not f.reason)
    faded = kept is not None and kept["mode"] == "L" and not grey  # colours were added to grey images
    if kept is not None:
        grey = kept["mode"] == "L" and not faded
    if grey:  # the three channels are equal: one is enough
        rows = replace(rows, channels=1, shape=(1, *rows.shape[1:]))
    labels, classes = classified([f.item.label for f in found], name, rules, usable)
    groups = tuple(f.item.group or f.item.id for f in found) if any(f.item.group for f in found) else None
    named = np.array([f.item.split == "test" for f in found], np.bool_)
    ids = tuple(f.item.id for f in found)
    split = sides(
        ids,
        labels,
        first_of([f.content if reading > EARLIER else f.sha256 for f in found]),
        test_fraction,
        seed,
        classes=classes,
        named=named,
        usable=usable,
        groups=groups,
        reading=reading,
        old=rules.old,
    )
    normalise = GREY if grey or faded else COLOUR
    pool = ArrayPool(rows, ids, groups, labels, Faded(GREY) if faded else normalise)
    every = [_record(f, t) for f, t in zip(found, split.test, strict=True)]
    records = tuple(itertools.compress(every, split.kept))
    shape = (1, *rows.shape[1:]) if faded else rows.shape
    preprocessing = image_preprocessing(shape, normalise) | RESIZED
    preprocessing |= {"depth": depth} if any(f.peak for f in found) else {}
    if kept is not None:
        preprocessing = dict(kept)
    facts = [Facts(f.item.id, f.peak, f.clear, f.several) for f in found if not f.reason]
    content = [f.content and short(f.content) for f in found] if rules.labelling is not None else None
    return Dataset(
        name,
        *halves(pool, labels, split.test, split.kept),
        classes,
        preprocessing,
        records,
        (*quarantined, *split.left_out),
        split.duplicates,
        (*listing.notes, *notes_on(facts), *split.notes),
        origins_of(partial(of_files, every), split.test, split.kept, content),
        moved,
    )


def _look(items: Sequence[Item]) -> tuple[list[_Found], Quarantined]:
    """The existing files, and the missing ones with the reason."""
    found, lost = [], []
    for item in items:
        try:
            stat = os.stat(item.path)
        except (OSError, ValueError) as error:
            lost.append((item.id, getattr(error, "strerror", None) or str(error)))
        else:
            found.append(_Found(item, stat.st_size, stat.st_mtime_ns))
    return found, tuple(lost)


def _found_again(
    known: Mapping[str, KnownRecord], found: Sequence[_Found]
) -> tuple[list[_Found], tuple[str, ...]]:
    """The files, with their old ids if they have another name now but the same content; and these ids."""
    there = {f.item.id for f in found}
    lost: dict[str, list[str]] = {}
    for id, (sha256, _, _) in known.items():
        if id not in there and sha256:
            lost.setdefault(sha256, []).append(id)
    again, moved = [], []
    for f in found:
        if f.item.id not in known and f.sha256 in lost and (ids := lost[f.sha256]):
            moved.append(ids.pop(0))
            again.append(replace(f, item=f.item._replace(id=moved[-1])))
        else:
            again.append(f)
    return again, tuple(moved)


def _refuse_changed(known: Mapping[str, KnownRecord], found: Sequence[_Found]) -> None:
    """Raise if a known file is missing or changed; it is read only if its size or time differs."""
    there = {f.item.id: f for f in found}
    for id, (sha256, size, mtime_ns) in known.items():
        now = there.get(id)
        if now is None or now.reason:
            what = f"can no longer be read ({now.reason})" if now else "is no longer there"
            raise ItemChanged(f"{id} {what}; restore the file, or begin a new run without it")
        content = now.sha256 or sha256
        if now.sha256 is None and (now.size, now.mtime_ns) != (size, mtime_ns):
            content = images.sha256_of(now.item.path)
        if sha256 and content != sha256:
            raise ItemChanged(
                f"{now.item.path} is no longer the file that was recorded as {id}: its content differs."
                " Restore the old file, or give the new one another name and begin a new run"
            )


def _decoded(
    found: Sequence[_Found], size: int, cache: Path, progress: Progress | None, depth: int = 16
) -> tuple[list[_Found], Blocks | None]:
    """Every file with facts about its content, and the pixels of all; zeros for unreadable files."""
    most = min(_BLOCK_ITEMS, max(1, _BLOCK_BYTES // (3 * size * size)))
    read: list[_Found] = []
    deep = () if depth == 16 else (depth,)
    paths, lengths = [], []
    with ThreadPoolExecutor(images.threads()) as pool:

        def make(part: Sequence[_Found]) -> tuple[NDArray[Any], dict[str, Any]]:
            rows = np.zeros((len(part), 3, size, size), np.uint8)
            decoded = []
            for i, image in enumerate(pool.map(lambda f: images.decode(f.item.path, size, *deep), part)):
                if image.pixels is not None:
                    rows[i] = image.pixels
                decoded.append(replace(image, pixels=None))
                if progress:
                    progress("images", len(read) + i + 1, len(found))
            return rows, {name: [getattr(image, name) for image in decoded] for name in _FACTS}

        for span in cut([f.item.id for f in found], most):
            part = found[span.start : span.stop]
            # a new file has a new size or time, so that nothing is read to see that nothing has changed
            key = key_of(
                "pixels 3", size, depth, [(str(f.item.path.absolute()), f.size, f.mtime_ns) for f in part]
            )
            path, facts = block(cache / "pixels", key, partial(make, part), _all_read)
            columns = zip(*(facts[name] for name in _FACTS), strict=True)
            read += [
                replace(f, **dict(zip(_FACTS, of, strict=True))) for f, of in zip(part, columns, strict=True)
            ]
            paths.append(path)
            lengths.append(len(part))
    return read, gather(paths, lengths) if paths else None


def _all_read(facts: dict[str, Any]) -> bool:
    """Whether every file of a block could be read; otherwise the block is decoded again."""
    return None not in facts["sha256"]


def _record(found: _Found, test: np.bool_) -> Record:
    item = found.item
    side = "test" if test else "train"
    path = str(item.path.absolute())
    return Record(item.id, path, side, item.group or None, found.sha256, found.size, found.mtime_ns)
