"""Data sets in Parquet files: read once, row group by row group, and cached as blocks on disk."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data import images
from baldur.data._table import (
    OTHER_LENGTH,
    Facts,
    Inputs,
    explained,
    inputs_of,
    matrix,
    shown_columns,
    shown_rows,
    texts,
    with_texts,
)
from baldur.data.array_images import row_scale
from baldur.data.arrays import ArrayPool, Divide, Faded, as_float, image_preprocessing
from baldur.data.by_name import ByName
from baldur.data.cache import Blocks, block, gather, key_of
from baldur.data.classes import classified
from baldur.data.columns import Found, TablePool, fitted, preprocessing_of, text_of
from baldur.data.copies import EARLIER, sides
from baldur.data.dataset import Dataset, Origin, halves, origins_of
from baldur.data.download import Progress
from baldur.data.files import COLOUR, GREY, OTHERWISE, RESIZED
from baldur.data.labels import Rules, label_names, nameless
from baldur.data.listing import SPLITS
from baldur.data.origins import of_stream, short
from baldur.data.scanning import first_of
from baldur.errors import InvalidData, ItemChanged, Unsupported
from baldur.protocols import Pool

SUFFIXES = (".parquet", ".pq")
"""The suffixes of Parquet files, in lower case."""

_KINDS = {"image": "image", "table": "table", "list": "array", "numbers": "array"}
_TOLD = ("peak", "clear", "several")
_BLOCK_BYTES, _BLOCK_ITEMS, _READ_BYTES = 16 << 20, 4096, 32 << 20
_BUFFER = 1 << 16  # of each column: a row group is streamed, however large it is; a page is held whole


class Source(NamedTuple):
    """An open file, and the prefix of its ids."""

    path: Path
    file: Any
    prefix: str


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files at a path.

    Args:
        path: A file, or a folder with files, directly or in its subfolders.

    Returns:
        Files in the order of their names; empty if there are none.
    """
    if path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    found = [file for pattern in ("*", "*/*") for suffix in SUFFIXES for file in path.glob(pattern + suffix)]
    return sorted(file for file in found if not file.name.startswith((".", "_")))


def from_parquet(
    path: Path,
    *,
    image_size: int,
    test_fraction: float,
    seed: int,
    cache: Path,
    colour: bool,
    progress: Progress | None,
    rules: Rules,
    standardise: bool,
) -> Dataset:
    """A data set of the rows of Parquet files.

    The columns are label, and optionally id, split and group. The inputs are one column of images (bytes, or a
    struct with the field bytes), one column of lists of numbers, or the columns of a table: numbers and categories.
    The inputs are decoded once and kept in the cache. Single rows are read from there, so the data may exceed the
    memory.

    Args:
        path: A file, or a folder of files with the same columns.
        image_size: The side of each image in pixels, after resizing to a square.
        test_fraction: The share of test items, if neither rows nor file names give the split.
        seed: Of that split.
        cache: The folder for decoded rows.
        colour: Whether grey images get three channels, too.
        progress: Called with "rows", the number of decoded rows, and their total number.
        rules: How labels and columns are read.
        standardise: Whether the numbers of a table are standardised.

    Returns:
        The data set; an unusable row is quarantined under its id.

    Raises:
        Unsupported: pyarrow is not installed.
        InvalidData: A file cannot be read, lacks a column, or has no usable row.
        InvalidLabel: A label is neither text nor a whole number.
    """
    sources = opened_files(path)
    inputs = _inputs(path, sources, rules)
    facts = _facts(sources, rules)
    rows, told = _decoded(sources, inputs, image_size, cache, progress)
    kept = rules.kept(str(path), _KINDS[inputs.kind])
    depth = images.depth_of(max(told["peak"], default=0))
    if kept is not None:
        depth = kept.get("depth", 16)
    if depth < 16 and any(told["peak"]):
        rows, told = _decoded(sources, inputs, image_size, cache, progress, depth)
    about = [images.Facts(*fact) for fact in zip(facts.ids, *(told[n] for n in _TOLD), strict=True)]
    if rules.reading <= EARLIER and (other := [a.id for a in about if a.clear or (a.peak and depth < 16)]):
        raise ItemChanged(OTHERWISE.format(other[0]))
    usable = np.array([not reason for reason in told["reason"]], np.bool_)
    unread = tuple((id, why) for id, why in zip(facts.ids, told["reason"], strict=True) if why)
    if not usable.any():
        raise InvalidData(f"no row of {path} can be used; the first is {unread[0][0]}: {unread[0][1]}")
    if inputs.kind == "list" and rules.reading > EARLIER:
        _refuse_uneven(path, inputs, told["reason"])
    grey = inputs.kind == "image" and not colour and all(np.array(told["grey"], np.bool_)[usable])
    faded = kept is not None and kept.get("mode") == "L" and not grey  # colours were added to grey images
    if kept is not None:
        grey = kept.get("mode") == "L" and not faded
    if grey:  # the three channels are equal: one is enough
        rows = replace(rows, channels=1, shape=(1, *rows.shape[1:]))
    bare = rules.labelling is not None and all(label is None for label in facts.labels)
    named_labels = (
        nameless(len(facts.ids))
        if bare
        else label_names(facts.labels, str(path), rules, lambda i: f"item {facts.ids[i]}")
    )
    labels, classes = classified(named_labels.names, str(path), rules, usable)
    groups = (
        tuple(g or i for g, i in zip(facts.groups, facts.ids, strict=True)) if any(facts.groups) else None
    )
    named = np.array([split == "test" for split in facts.splits], np.bool_)
    split = sides(
        facts.ids,
        labels,
        first_of(told["digest"]),
        test_fraction,
        seed,
        classes=classes,
        named=named,
        usable=usable,
        groups=groups,
        rows=inputs.kind != "image",
        reading=rules.reading,
        old=rules.old,
    )
    notes, text = named_labels.notes, None
    if inputs.kind == "table":
        found = Found(inputs.names, inputs.texts, inputs.left_out, inputs.free)
        positions = np.flatnonzero(split.kept & ~split.test)
        columns, said = fitted(found, rows, positions, standardise, str(path), kept)
        pool: Pool = TablePool(rows, found, columns, facts.ids, groups)
        notes, preprocessing, text = notes + said, preprocessing_of(columns), text_of(columns)
    else:
        transform, preprocessing = _prepared(inputs, rows, grey or faded, rules, kept)
        transform = Faded(GREY) if faded else transform
        preprocessing |= {"depth": depth} if any(told["peak"]) else {}
        pool = ArrayPool(rows, facts.ids, groups, labels, transform)
    if kept is not None:
        preprocessing = dict(kept)
    content = None
    if rules.labelling is not None and inputs.kind == "image":
        content = [digest and short(digest) for digest in told["digest"]]
    return Dataset(
        str(path),
        *halves(pool, labels, split.test, split.kept),
        classes,
        preprocessing,
        quarantined=(*unread, *split.left_out),
        duplicates=split.duplicates,
        notes=(
            *images.notes_on(about),
            *rules.columns.notes(sources[0].file.schema_arrow.names),
            *notes,
            *split.notes,
        ),
        origins=origins_of(_origins(sources, rules.columns, text), split.test, split.kept, content),
    )


def _origins(
    sources: Sequence[Source], by_name: ByName, text: str | None
) -> Callable[[NDArray[np.intp]], Iterator[Origin]]:
    """Reads the origins of rows. People see the columns of a table, or those beside images and lists of numbers."""
    names = shown_columns(sources[0].file.schema_arrow, by_name)
    paths = [source.path.absolute() for source in sources]
    stream = partial(shown_rows, paths, names, text) if names else None
    rows = [source.file.metadata.num_rows for source in sources]
    return partial(of_stream, list(map(str, paths)), rows, stream)


def _refuse_uneven(path: Path, inputs: Inputs, reasons: Sequence[str]) -> None:
    """Raise an error if the length of the first list is not that of most lists."""
    end = OTHER_LENGTH.format(inputs.width)
    others = sum(why.endswith(end) and not why.startswith("has 0 ") for why in reasons)
    if 2 * others >= len(reasons):
        raise InvalidData(
            f"{path}: the first list of {inputs.names[0]} has {inputs.width} numbers, but {others} of {len(reasons)} "
            "lists have another length; pad or cut them to one length, or remove the others"
        )


def opened_files(path: Path) -> list[Source]:
    """The files at a path that have rows, opened.

    Args:
        path: A file, or a folder of files.

    Returns:
        Each file, with the prefix of the ids of its rows.

    Raises:
        Unsupported: pyarrow is not installed.
        InvalidData: A file cannot be read, or no file has rows.
    """
    try:
        from pyarrow import parquet
    except ImportError:
        raise Unsupported("reading Parquet files needs pyarrow: pip install 'baldur[parquet]'") from None
    sources = []
    for file in parquet_files(path):
        with explained(file):
            opened = parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
        if opened.metadata.num_rows:
            prefix = "" if path.is_file() else f"{file.relative_to(path).as_posix()}/"
            sources.append(Source(file, opened, prefix))
    if not sources:
        raise InvalidData(f"no row of {path} can be used; it has no rows")
    return sources


def _inputs(path: Path, sources: Sequence[Source], rules: Rules) -> Inputs:
    """The input columns of all files; the first list sets the length of all lists."""
    first = sources[0]
    with explained(first.path):
        rules.columns.check(first.file.schema_arrow.names, str(first.path))
        inputs = inputs_of(first.path, first.file, reading=rules.reading, by_name=rules.columns)
    for source in sources[1:]:
        with explained(source.path):
            other = inputs_of(source.path, source.file, inputs.width, rules.reading, rules.columns)
        if other != inputs._replace(width=inputs.width or other.width):
            raise InvalidData(
                f"{source.path} has the inputs {other}, and {first.path} {inputs}; all files of a data set need"
                " the same columns, and lists of the same length"
            )
        inputs = other
    if inputs.kind == "list" and not inputs.width:
        raise InvalidData(f"{path}: all lists of the column {inputs.names[0]} are empty")
    if inputs.kind == "table":
        with explained(first.path):
            return with_texts(inputs, [source.file for source in sources])
    return inputs


def _facts(sources: Sequence[Source], rules: Rules) -> Facts:
    """The id, label, split and group of each row."""
    ids: list[str] = []
    labels: list[Any] = []
    splits: list[str] = []
    groups: list[str] = []
    for source in sources:
        rows = source.file.metadata.num_rows
        facts = rules.columns.facts(source.file.schema_arrow.names)
        if "label" not in facts and rules.labelling is None:
            has = ", ".join(source.file.schema_arrow.names)
            raise InvalidData(
                f"{source.path} has no column label; it has {has}. Name the column with the classes: --label COLUMN "
                "(label='COLUMN')"
            )
        if source.file.schema_arrow.names.count(facts.get("label", "label")) > 1:
            raise InvalidData(f"{source.path} has several columns called label; keep one")
        told: dict[str, list[Any]] = {name: [""] * rows for name in ("id", "split", "group")}
        told["label"] = [None] * rows
        with explained(source.path):
            table = source.file.read(columns=list(facts.values()))
        told |= {
            fact: texts(source.path, fact, table[name])
            for fact, name in facts.items()
            if fact != "label" or rules.reading <= EARLIER
        }
        if rules.reading > EARLIER and "label" in facts:
            told["label"] = table[facts["label"]].to_pylist()
        if "id" in facts and "" in told["id"]:
            raise InvalidData(
                f"{source.path}: the column id has no value in row {told['id'].index('')}, counted from 0; give"
                " every row an id, or remove the column"
            )
        ids += told["id"] if "id" in facts else [f"{source.prefix}{row}" for row in range(rows)]
        labels += told["label"]
        splits += told["split"] if "split" in facts else [_of_name(source.prefix)] * rows
        groups += told["group"]
    if strange := sorted({split for split in splits if split.lower() not in SPLITS}):
        raise InvalidData(f"the split must be train, test, val or empty, not {strange[0]!r}")
    known = [SPLITS[split.lower()] for split in splits]
    val = "train" if "test" in known else "test"
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(id for id in ids if id in seen or seen.add(id))  # type: ignore[func-returns-value]
        raise InvalidData(
            f"the id {twice!r} occurs twice in {sources[0].path.parent}; every row needs its own id"
        )
    return Facts(tuple(ids), labels, [val if split == "val" else split for split in known], groups)


def _of_name(place: str) -> str:
    """The split in the name of a file or its subfolder, as in train-00000-of-00002.parquet; "" if there is none."""
    for name in reversed(place.lower().split("/")):
        word = re.match(r"[a-z]*", name)
        if word is not None and word[0] and word[0] in SPLITS:
            return word[0]
    return ""


def _decoded(
    sources: Sequence[Source],
    inputs: Inputs,
    size: int,
    cache: Path,
    progress: Progress | None,
    depth: int = 16,
) -> tuple[Blocks, dict[str, list[Any]]]:
    """The inputs of all rows, with zeros for unusable ones; and for each row its digest, "grey" and the reason."""
    total, done = sum(source.file.metadata.num_rows for source in sources), 0
    told: dict[str, list[Any]] = {"digest": [], "grey": [], "reason": []}
    told |= {name: [] for name in _TOLD}
    paths, lengths = [], []
    with ThreadPoolExecutor(images.threads()) as pool:
        for source in sources:
            stat = source.path.stat()
            about = (str(source.path.absolute()), stat.st_size, stat.st_mtime_ns)
            for group in range(source.file.metadata.num_row_groups):
                chunks = _Chunks(source, group, inputs, size)
                for start in range(0, chunks.rows, chunks.step):
                    shape = size if inputs.kind == "image" else inputs.width
                    key = key_of(
                        *(("parquet 3", depth) if inputs.kind == "image" else ("parquet 1",)),
                        inputs.kind,
                        inputs.names,
                        shape,
                        about,
                        group,
                        start,
                        chunks.step,
                        *((inputs.texts,) if inputs.kind == "table" else ()),
                    )
                    make = partial(_make, chunks, start // chunks.step, inputs, size, pool, depth)
                    path, facts = block(cache / "parquet", key, make)
                    for name, values in told.items():
                        values += facts.get(name) or [False] * min(chunks.step, chunks.rows - start)
                    paths.append(path)
                    lengths.append(min(chunks.step, chunks.rows - start))
                    done += lengths[-1]
                    if progress:
                        progress("rows", done, total)
    return gather(paths, lengths), told


class _Chunks:
    """The rows of one row group, read in chunks of bounded size. Chunks that are not needed are skipped.

    Args:
        source: The file.
        group: The index of the row group.
        inputs: The columns.
        size: The side of an image in pixels.
    """

    def __init__(self, source: Source, group: int, inputs: Inputs, size: int) -> None:
        self.source, self.group, self.inputs = source, group, inputs
        told = source.file.metadata.row_group(group)
        self.rows = told.num_rows
        chunks = [told.column(i) for i in range(told.num_columns)]
        stored = sum(
            c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in inputs.names
        )
        kept = 3 * size * size if inputs.kind == "image" else inputs.width * inputs.dtype.itemsize
        step = min(
            _READ_BYTES * max(1, self.rows) // max(1, stored), _BLOCK_BYTES // max(1, kept), _BLOCK_ITEMS
        )
        self.step = max(1, step)
        self._at, self._batches = 0, iter(())

    def read(self, number: int) -> Any:
        """One chunk as a record batch.

        Args:
            number: The index of the chunk, counted from 0; never before the last one that was read.

        Returns:
            At most `step` rows.
        """
        batch: Any = None
        with explained(self.source.path):
            if self._at == 0:
                self._batches = self.source.file.iter_batches(
                    self.step, row_groups=[self.group], columns=list(self.inputs.names), use_threads=False
                )
            while self._at <= number:
                batch = next(self._batches)
                self._at += 1
        return batch


def _make(
    chunks: _Chunks, number: int, inputs: Inputs, size: int, pool: ThreadPoolExecutor, depth: int
) -> tuple[NDArray[Any], dict[str, Any]]:
    batch = chunks.read(number)
    if inputs.kind != "image":
        rows, reasons = matrix(batch, inputs)
        digests = [hashlib.blake2b(row.data, digest_size=16).hexdigest() for row in rows]
        return rows, {"digest": digests, "grey": [False] * len(rows), "reason": reasons}
    column = batch.column(0)
    contents = (column.field("bytes") if inputs.nested else column).to_pylist()
    rows = np.zeros((len(contents), 3, size, size), np.uint8)
    deep = () if depth == 16 else (depth,)
    made = list(pool.map(lambda content: images.decode_bytes(content, size, *deep), contents))
    for row, image in zip(rows, made, strict=True):
        if image.pixels is not None:
            row[:] = image.pixels
    names = {"digest": "content", "grey": "grey", "reason": "reason"}
    names |= {name: name for name in _TOLD}
    return rows, {name: [getattr(image, field) for image in made] for name, field in names.items()}


def _prepared(
    inputs: Inputs, rows: Blocks, grey: bool, rules: Rules, kept: Mapping[str, Any] | None
) -> tuple[Callable[[Any], Any] | None, dict[str, Any]]:
    """The transform of a batch, and the preprocessing in words."""
    if inputs.kind == "image":
        normalise = GREY if grey else COLOUR
        return normalise, image_preprocessing(rows.shape, normalise) | RESIZED | {"column": inputs.names[0]}
    octets = inputs.dtype == np.uint8
    dtype = "float32" if octets else str(inputs.dtype)
    about = {"kind": "array", "shape": [inputs.width], "dtype": dtype, "columns": list(inputs.names)}
    if kept is not None and [inputs.width] != kept["shape"]:
        raise InvalidData(
            f"{', '.join(inputs.names)}: there are {inputs.width} numbers in a row, and {kept['shape'][0]} in the run"
        )
    if not octets:
        return None, about
    if kept is not None:
        return Divide(kept["scale"]) if "scale" in kept else as_float, about
    high = max(int(np.load(path, mmap_mode="r").max(initial=0)) for path in rows.paths)
    transform = as_float if rules.reading <= EARLIER else row_scale(high)
    return transform, about | ({"scale": transform.scale} if isinstance(transform, Divide) else {})
