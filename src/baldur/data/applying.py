"""New items for a fitted model: raw data are read with the preprocessing of its run, a part at a time."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baldur.data import images
from baldur.data._table import batches_of, image_column, matrix, number_columns
from baldur.data.arrays import ArrayPool, Divide, Faded, Normalise, as_pool, from_arrays, is_pool
from baldur.data.cells import columns_of, is_columns, is_frame, texts_of
from baldur.data.columns import from_json
from baldur.data.dataset import Dataset
from baldur.data.download import Progress
from baldur.data.encoders.exported import Encoder, encoded, load_encoder
from baldur.data.folders import Tree
from baldur.data.images import Decoded
from baldur.data.labels import some
from baldur.data.listing import MANIFESTS, is_text, rows_of
from baldur.data.loading import NAMES, load
from baldur.data.official import cache_folder
from baldur.data.parquet import opened_files, parquet_files
from baldur.data.scaling import ScaledPool, step_of
from baldur.data.scanning import as_numpy
from baldur.data.stored_arrays import inputs_in
from baldur.data.text_files import are_texts, list_of
from baldur.data.torch_dataset import from_dataset, is_dataset
from baldur.errors import DataNotFound, InvalidArgument, InvalidData
from baldur.protocols import Pool

_ROWS, _IMAGES, _BYTES = 10_000, 2048, 1 << 28  # rows, images and bytes of pixels that are read at a time


class Part(NamedTuple):
    """Some of the items that a model is applied to.

    Args:
        ids: Of all items of the part.
        paths: The file of each item; None if it is in no file of its own.
        pool: The inputs of the items that could be read; None if there are none.
        read: The positions of these items in the part.
        unreadable: The other items by position, each with the reason.
    """

    ids: tuple[str, ...]
    paths: tuple[str | None, ...]
    pool: Pool | None
    read: NDArray[np.intp]
    unreadable: Mapping[int, str]


class Applying(NamedTuple):
    """How raw items become the inputs of a model.

    Args:
        kept: The preprocessing of the run.
        device: Of the encoder.
        data_dir: The folder of the named data sets.
        progress: Called with what is done, and the numbers of finished items and of all items.
    """

    kept: Mapping[str, Any]
    device: str = "cpu"
    data_dir: str | None = None
    progress: Progress | None = None

    def parts(self, what: Any) -> Iterator[Part]:
        """The inputs of raw items. Labels and splits that the data have are ignored.

        Args:
            what: Paths: a folder of images, an image, a table (.csv, .jsonl), a list of files (with the column path),
                arrays (.npy, .npz) or Parquet, or a list of them. Or objects: images of Pillow, arrays, tensors, a
                data frame, a dict of columns, a PyTorch data set, or a pool.

        Yields:
            The items in the order of the data.

        Raises:
            DataNotFound: There is nothing at a path.
            InvalidData: The data have another form than those of the run.
            InvalidArgument: The objects have another form, or a column is missing.
        """
        if (text := self._only_text()) and are_texts(what):
            yield from self._of_table({text: list_of(what)}, Path(), 0, "", "the list of texts")
            return
        if self.kept["kind"] != "features" or self._are_features(what):
            yield from self._of_places(what) if _are_paths(what) else self._of_objects(what)
            return
        encoder = load_encoder(self.kept["encoder"], self.device)
        if encoder.sha256 != self.kept["sha256"]:
            raise InvalidData(
                f"the encoder {encoder.spec} is not the one that the run used: its weights or its code changed;"
                " restore it"
            )
        step = step_of(self.kept.get("scaling", {}))
        for part in self._replace(kept=self.kept["input"]).parts(what):
            if part.pool is not None:
                pool = _encoded(part.pool, encoder, self.kept["input"])
                part = part._replace(pool=pool if step is None else ScaledPool(pool, step))
            yield part

    def _only_text(self) -> str:
        """The name of the column of texts, if it is the only input."""
        if self.kept["kind"] != "table":
            return ""
        columns = from_json(self.kept["columns"])
        return columns.texts[0].name if columns.texts and len(columns.names) == 1 else ""

    def _of_text_files(self, text: str, root: Path) -> Iterator[Part]:
        """The .txt files of a folder, a part of them at a time."""
        found = Tree(is_text, "text").images(root)
        if not found:
            raise InvalidData(f"the folder {root} has no .txt file; give a folder of texts")
        for chunk in _chunks(found, _ROWS):
            ids = [path.relative_to(root).as_posix() for path in chunk]
            texts = [path.read_text(encoding="utf-8-sig", errors="replace") for path in chunk]
            yield from self._of_table({text: texts, "id": ids}, root, 0, "", str(root))

    def _are_features(self, what: Any) -> bool:
        """Whether objects are features already."""
        shape = getattr(what, "shape", None)
        if shape is None and is_pool(what) and len(what):
            shape = next(iter(what.batches(np.zeros(1, np.intp), 1)))[1].shape
        return shape is not None and tuple(shape[1:]) == tuple(self.kept["shape"])

    def _of_places(self, what: Any) -> Iterator[Part]:
        places = [what] if isinstance(what, str | Path) else list(what)
        alone = len(places) == 1
        files: list[tuple[str, Path]] = []
        for place in places:
            path = Path(place).expanduser()
            if path.suffix.lower() in images.SUFFIXES and not path.is_dir():
                files.append((path.name if alone else str(place), path))
                continue
            yield from self._of_files(files)
            files = []
            for part in self._of_place(str(place), path):
                yield part if alone else part._replace(ids=tuple(f"{place}/{id}" for id in part.ids))
        yield from self._of_files(files)

    def _of_place(self, name: str, path: Path) -> Iterator[Part]:
        suffix = path.suffix.lower()
        if name in NAMES:
            dataset = load(name, data_dir=self.data_dir, progress=self.progress)
            for pool in (dataset.train, dataset.test):
                yield self._of_pool(pool)
        elif not path.exists():
            raise DataNotFound(f"there is nothing at {name}; give a folder, a file, or a list of files")
        elif path.is_file() and suffix in MANIFESTS:
            yield from self._of_rows(path)
        elif suffix in (".npy", ".npz") or (path / "x.npy").is_file():
            for prefix, x in inputs_in(path):
                yield _whole(self._of_array(x), tuple(f"{prefix}{i}" for i in range(len(x))))
        elif parquet_files(path):
            for source in opened_files(path):
                yield from self._of_parquet(source.path, source.file, source.prefix)
        elif path.is_dir() and (text := self._only_text()):
            yield from self._of_text_files(text, path)
        elif path.is_dir():
            tree = Tree(lambda name: Path(name).suffix.lower() in images.SUFFIXES)
            found = [(image.relative_to(path).as_posix(), image) for image in tree.images(path)]
            if not found:
                kinds = f", but {', '.join(sorted(tree.others))} files" if tree.others else ""
                raise InvalidData(f"the folder {path} has no image{kinds}; give a folder with images")
            yield from self._of_files(found)
        else:
            raise InvalidData(
                f"{path} has an unknown format; give an image, a folder of images, or a .csv, .jsonl, .parquet, .npy or"
                " .npz file"
            )

    def _of_files(self, files: Sequence[tuple[str, Path]]) -> Iterator[Part]:
        """The images of files, each with its id."""
        if not files:
            return
        read = partial(images.decode, size=self._side(str(files[0][1])), depth=self._depth)
        done = 0
        for chunk in _chunks(files, self._step):
            made = []
            with ThreadPoolExecutor(images.threads()) as threads:
                for image in threads.map(read, (path for _, path in chunk)):
                    made.append(image)
                    if self.progress:
                        self.progress("images", done + len(made), len(files))
            done += len(chunk)
            yield self._of_decoded(made, [id for id, _ in chunk], [str(path) for _, path in chunk])

    def _of_rows(self, file: Path) -> Iterator[Part]:
        """The rows of a table, or the images that it lists."""
        rows, known, done = rows_of(file), dict[str, None](), 0
        while chunk := list(itertools.islice(rows, _ROWS)):
            if strange := next((line for line, row in chunk if not isinstance(row, dict)), None):
                raise InvalidData(f"{file}, line {strange}: expected an object with a value for each column")
            known |= dict.fromkeys(name for _, row in chunk for name in row)
            table = {name: [row.get(name) for _, row in chunk] for name in known}
            yield from self._of_table(table, file.parent, done, "", str(file))
            done += len(chunk)
        if not done:
            raise InvalidData(f"{file} has no rows; give at least one")

    def _of_table(
        self, table: Mapping[str, Any], root: Path, first: int, prefix: str, source: str
    ) -> Iterator[Part]:
        """Rows by column. The column id has the ids; otherwise they are paths or positions."""
        n = len(next(iter(table.values()), ()))
        ids = tuple(texts_of(table["id"])) if "id" in table else None
        kind = self.kept["kind"]
        if kind == "table":
            ids = ids or tuple(f"{prefix}{i}" for i in range(first, first + n))
            yield _whole(from_arrays(from_json(self.kept["columns"]).rows(table)), ids)
            return
        if kind != "image" or "path" not in table:
            needs = "give the column path" if kind == "image" else "give data of this form"
            raise InvalidData(
                f"{source} has the columns {some(list(table))}, but the run has {self._said()}; {needs}"
            )
        written = texts_of(table["path"])
        if "" in written:
            raise InvalidData(
                f"{source}: the column path is empty in row {first + written.index('') + 1}; give every row a path"
            )
        files = [(id, _below(root, path)) for id, path in zip(ids or written, written, strict=True)]
        yield from self._of_files(files)

    def _of_parquet(self, path: Path, file: Any, prefix: str) -> Iterator[Part]:
        """The rows of a Parquet file: images, lists of numbers, a table or a list of files."""
        there = file.schema_arrow.names
        own = [name for name in ("id",) if name in there]
        picture, inputs, needed = "", None, list[str]()
        if self.kept["kind"] == "image" and "path" not in there:
            picture = image_column(path, file, self.kept.get("column", ""))
            needed = [picture]
        elif self.kept["kind"] == "array":
            inputs = number_columns(path, file, self.kept.get("columns", ()), self.kept["shape"])
            needed = list(inputs.names)
        elif self.kept["kind"] == "image":
            needed = ["path"]
        elif self.kept["kind"] == "table":
            needed = [name for name in from_json(self.kept["columns"]).names if name in there] or there[:1]
        done = 0
        for batch in batches_of(path, file, [*own, *needed], self._step if picture else _ROWS):
            n = len(batch)
            ids = [f"{prefix}{i}" for i in range(done, done + n)]
            ids = texts_of(batch.column("id").to_pylist()) if own else ids
            if picture:
                contents = [
                    v["bytes"] if isinstance(v, dict) else v for v in batch.column(picture).to_pylist()
                ]
                read = partial(images.decode_bytes, size=self._side(str(path)), depth=self._depth)
                with ThreadPoolExecutor(images.threads()) as threads:
                    yield self._of_decoded(list(threads.map(read, contents)), ids, [None] * n)
            elif inputs is not None:
                rows, reasons = matrix(batch.select(needed), inputs)
                lost = {i: why for i, why in enumerate(reasons) if why}
                there_at = np.array([i for i in range(n) if i not in lost], np.intp)
                pool = self._of_array(rows[there_at]) if len(there_at) else None
                yield Part(tuple(ids), (None,) * n, pool, there_at, lost)
            else:
                yield from self._of_table(batch.to_pydict(), path.parent, done, prefix, str(path))
            done += n
            if self.progress:
                self.progress("rows", done, file.metadata.num_rows)

    def _of_objects(self, what: Any) -> Iterator[Part]:
        kind = self.kept["kind"]
        by_column = is_columns(what) and kind == "image"
        if is_frame(what) or by_column or (kind == "table" and not is_pool(what)):
            yield from self._of_table(columns_of(what), Path(), 0, "", "the table")
        elif pictures := _pictures(what, self.kept):
            read = partial(images.decode_picture, size=self._side("the image"), depth=self._depth)
            for first, chunk in enumerate(_chunks(pictures, self._step)):
                ids = [str(first * self._step + i) for i in range(len(chunk))]
                yield self._of_decoded([read(one) for one in chunk], ids, [None] * len(chunk))
        elif is_pool(what):
            yield self._of_pool(what)
        elif is_dataset(what):
            pool, _ = from_dataset(what, bare=True)
            if isinstance(pool, ArrayPool) and kind != "tree":
                yield _whole(self._of_array(as_numpy(pool.x)), pool.ids)
            else:
                yield self._of_pool(pool)
        elif kind == "tree":
            yield self._of_pool(as_pool(what))
        else:
            rows = np.asarray(what.detach().cpu() if hasattr(what, "detach") else what)
            if rows.ndim and not len(rows):
                return
            if not rows.ndim:
                raise InvalidArgument(f"expected paths, images, arrays or a table, not {what!r}")
            yield _whole(self._of_array(rows), tuple(map(str, range(len(rows)))))

    def _of_pool(self, pool: Pool) -> Part:
        step = step_of(self.kept.get("scaling", {}))
        return _whole(pool if step is None else ScaledPool(pool, step), tuple(map(str, pool.ids)))

    def _of_array(self, rows: NDArray[Any]) -> Pool:
        """Items of an array, in the form of the run's data."""
        told = self.kept
        kind, shape = told["kind"], tuple(told.get("shape", told.get("input_shape", ())))
        if kind == "image" and rows.shape[1:] != shape:  # channels may be last, or not there, as in the data
            if rows.shape[1:] == (*shape[1:], shape[0]):
                rows = np.moveaxis(rows, -1, 1)
            elif shape[0] == 1 and rows.shape[1:] == shape[1:]:
                rows = rows[:, None]
        if rows.shape[1:] != shape:
            what = "images" if kind == "image" else "items"
            raise InvalidArgument(f"{what} of shape {shape} were expected, not {rows.shape[1:]}")
        if kind == "image":
            if told["scale"] > 1 and _are_fractions(rows):
                raise InvalidArgument(
                    f"pixels from 0 to {told['scale']:g} were expected, as the run had them, not fractions up to 1; "
                    f"multiply by {told['scale']:g}"
                )
            return from_arrays(rows, transform=_normalise(told))
        step = Divide(told["scale"]) if "scale" in told else step_of(told.get("scaling", {}))
        return from_arrays(rows, transform=step)

    def _of_decoded(self, made: Sequence[Decoded], ids: Sequence[str], paths: Sequence[str | None]) -> Part:
        """A part of images. Those without pixels are unreadable."""
        lost = {i: one.reason for i, one in enumerate(made) if one.pixels is None}
        read = np.array([i for i in range(len(made)) if i not in lost], np.intp)
        pool = None
        if there := [one.pixels for one in made if one.pixels is not None]:
            pixels, normalise = np.stack(there), _normalise({**self.kept, "scale": 255.0})
            if self.kept["mode"] != "L":
                pool = from_arrays(pixels, transform=normalise)
            elif all(made[i].grey for i in read):  # the three channels are equal
                pool = from_arrays(pixels[:, :1], transform=normalise)
            else:
                pool = from_arrays(pixels, transform=Faded(normalise))
        return Part(tuple(ids), tuple(paths), pool, read, lost)

    def _side(self, source: str) -> int:
        """The side of the squares that the model takes."""
        shape = self.kept.get("shape", ())
        if self.kept["kind"] != "image" or shape[1] != shape[2] or self.kept["mode"] not in ("L", "RGB"):
            raise InvalidData(f"{source} is an image, but the run has {self._said()}; give data of this form")
        return int(shape[1])

    @property
    def _depth(self) -> int:
        return int(self.kept.get("depth", 16))

    @property
    def _step(self) -> int:
        """The number of images that are read at a time."""
        shape = self.kept.get("shape", (1,))
        return max(1, min(_IMAGES, _BYTES // (3 * int(np.prod(shape[1:])))))

    def _said(self) -> str:
        """The data of the run in words."""
        if self.kept["kind"] == "table":
            return f"tables with the columns {some(from_json(self.kept['columns']).names)}"
        what = {"image": "images", "array": "arrays"}.get(self.kept["kind"], "objects of Python")
        return f"{what} of the shape {tuple(self.kept['shape'])}" if "shape" in self.kept else what


def _encoded(pool: Pool, encoder: Encoder, before: Mapping[str, Any]) -> Pool:
    """The features of images."""
    unknown, none = np.full(len(pool), -1, np.int64), from_arrays(np.empty((0, 1)))
    dataset = Dataset("new items", pool, unknown, none, unknown[:0], (), dict(before))
    return encoded(dataset, encoder, cache_folder(), None).train


def _are_paths(what: Any) -> bool:
    if isinstance(what, str | Path):
        return True
    several = isinstance(what, list | tuple) and bool(what)
    return several and all(isinstance(one, str | Path) for one in what)


def _pictures(what: Any, kept: Mapping[str, Any]) -> list[Any]:
    """Images of Pillow, or arrays of bytes that have to be resized, as such; empty for everything else."""
    from PIL import Image

    if isinstance(what, Image.Image):
        return [what]
    if isinstance(what, list | tuple) and what and all(isinstance(one, Image.Image) for one in what):
        return list(what)
    rows = what if isinstance(what, np.ndarray | list | tuple) else ()
    forms = {(np.shape(one), getattr(one, "dtype", None)) for one in rows} if "resize" in kept else set()
    shape = tuple(kept.get("shape", ()))
    if not forms or any(kind != np.uint8 or len(form) not in (2, 3) for form, kind in forms):
        return []
    if len(forms) == 1:
        ((form, _),) = forms
        plain = form in (shape, (*shape[1:], shape[0])) or (shape[0] == 1 and form == shape[1:])
        if plain or (len(form) == 3 and form[2] not in (1, 3, 4)):
            return []
    return [Image.fromarray(np.squeeze(one, 2) if one.shape[2:] == (1,) else one) for one in rows]


def _normalise(told: Mapping[str, Any]) -> Normalise:
    return Normalise(tuple(told["mean"]), tuple(told["std"]), told["scale"])


def _whole(pool: Pool, ids: tuple[str, ...]) -> Part:
    return Part(ids, (None,) * len(ids), pool if len(ids) else None, np.arange(len(ids)), {})


def _chunks(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(values)
    while chunk := list(itertools.islice(rest, size)):
        yield chunk


def _below(root: Path, path: str) -> Path:
    """A path in a list of files; it may have been written on Windows."""
    if "\\" in path and not (root / path).exists():
        path = path.replace("\\", "/")
    return root / path


def _are_fractions(pixels: NDArray[Any]) -> bool:
    """Whether pixels lie between 0 and 1, and not all of them are 0 or 1."""
    if pixels.dtype.kind != "f" or not pixels.size:
        return False
    return bool(pixels.min() >= 0 and pixels.max() <= 1 and ((pixels > 0) & (pixels < 1)).any())
