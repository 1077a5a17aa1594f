"""Labels as folders of images: a folder for each class, COCO, and the form that Hugging Face's `datasets` reads."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from baldur.errors import DataNotFound, InvalidArgument, InvalidData
from baldur.runs.labelled import LabelledItem, new
from baldur.runs.labelled_tables import arrow_table, as_rows

_ARRAYS = (".npy", ".npz")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_NO_FILE_NAME = re.compile(r'[<>:"/\\|?*%\x00-\x1f\x7f-\x9f]')
_LONGEST = 120  # bytes of a name, so that there is room for a number and a suffix
_FACTS = ("id", "label", "group", "split", "annotator", "time", "round")


Draw = Callable[[LabelledItem], bytes | None]
"""Gives a PNG of an item; None if there is none."""


def write_folder(
    items: Sequence[LabelledItem],
    classes: Sequence[str],
    place: Path,
    format: str,
    link: bool = False,
    draw: Draw | None = None,
) -> None:
    """Write a folder of images with their labels.

    - imagefolder: CLASS/NAME, and `labels.csv` with the class names as they are. With items that have no label, the
      folders are train/CLASS and unlabeled.
    - coco: images/NAME and annotations.json.
    - huggingface: train/NAME and train/metadata.jsonl. Items that are no images become train.parquet.

    Args:
        items: The items.
        classes: The classes of the run.
        place: The folder.
        format: "imagefolder", "coco" or "huggingface".
        link: Whether the folder holds links to files rather than copies.
        draw: Draws the images that are neither files nor in arrays; None if there are none.

    Raises:
        InvalidArgument: Some items are no images.
        DataNotFound: The file of an item is not there any more.
        StoreError: There is something at the place.
    """
    if format == "huggingface" and draw is None and not any(_is_image(item) for item in items):
        with new(place) as part:
            part.mkdir()
            _write_parquet(items, part)
        return
    _check(items, format, draw)
    with new(place) as part:
        part.mkdir()
        write = {"imagefolder": _imagefolder, "coco": _coco, "huggingface": _huggingface}[format]
        write(items, classes, part, _Pictures(link, draw))


def _is_image(item: LabelledItem) -> bool:
    return item.path is not None and (item.part is None or Path(item.path).suffix in _ARRAYS)


def _check(items: Sequence[LabelledItem], format: str, draw: Draw | None) -> None:
    other = next((item for item in items if not _is_image(item)), None)
    if other is not None and draw is None:
        raise InvalidArgument(
            f"{format} needs images, but the run has no image of {other.id!r}; give --format csv, jsonl or parquet"
        )
    lost = [item for item in items if item.path is not None and not Path(item.path).exists()]
    if lost:
        raise DataNotFound(
            f"{len(lost)} of {len(items)} files are not there any more, such as {lost[0].path}. If the data were "
            "moved, start the run once with their new place: baldur run NEW --out RUN"
        )


@dataclass
class _Pictures:
    """Puts the picture of an item into a folder."""

    link: bool
    draw: Draw | None
    _opened: dict[str, tuple[NDArray[Any], Callable[[NDArray[Any]], Image.Image]]] = field(
        default_factory=dict
    )

    def put(self, item: LabelledItem, names: "_Names", folder: Path) -> Path:
        """Copy, link or draw the picture of an item.

        Args:
            item: The item.
            names: The names in the folder.
            folder: The folder, which is created if needed.

        Returns:
            The file.
        """
        folder.mkdir(parents=True, exist_ok=True)
        source = Path(item.path or "")
        if item.path is not None and item.part is None:
            target = folder / names.of(source.name)
            if self.link:
                target.symlink_to(source.absolute())
            else:
                shutil.copyfile(source, target)
            return target
        id = item.id.removesuffix(".png").replace("/", "-")
        target = folder / names.of(f"{id}.png")
        if _is_image(item):
            self._drawn(item, source).save(target)
            return target
        png = None if self.draw is None else self.draw(item)
        if png is None:
            raise InvalidArgument(f"{item.id!r} cannot be drawn; give --format csv, jsonl or parquet")
        target.write_bytes(png)
        return target

    def _drawn(self, item: LabelledItem, source: Path) -> Image.Image:
        file = source / "x.npy" if source.is_dir() else source
        name = ""
        if file.suffix.lower() == ".npz":
            name = (
                {"train": "x_train", "test": "x_test"}.get(item.id.partition("/")[0], "x")
                if "/" in item.id
                else "x"
            )
        key = f"{file}:{name}"
        if key not in self._opened:
            self._opened[key] = _drawing(file, name)
        x, draw = self._opened[key]
        if item.part is None or item.part >= len(x):
            raise InvalidData(
                f"{file} has {len(x)} items, but the run has {item.id!r}; give the file as it was"
            )
        return draw(x[item.part])


def _drawing(file: Path, name: str) -> tuple[NDArray[Any], Callable[[NDArray[Any]], Image.Image]]:
    """An array of images, and a function that draws one."""
    from baldur.data.array_images import understood
    from baldur.data.arrays import Normalise

    with file.open("rb") as content:
        if name:
            with np.load(content, allow_pickle=False) as stored:
                own = {key.lower(): key for key in stored.files}
                if name not in own:
                    raise InvalidData(f"{file} has no array {name} any more; give the file as it was")
                x = stored[own[name]]
        else:
            x = np.load(file, mmap_mode="r", allow_pickle=False)
    low, high = float(x.min()), float(x.max())
    read = understood(str(file), x.shape, x.dtype, low, high)
    if read.channels < 0:
        raise InvalidArgument(f"the items of {file} are no images; give --format csv, jsonl or parquet")
    count = 1 if read.channels == 0 else x.shape[read.channels]
    if count not in (1, 3, 4):
        raise InvalidArgument(f"the images of {file} have {count} channels; pictures have 1, 3 or 4")
    scale = read.transform.scale if isinstance(read.transform, Normalise) else None

    def draw(pixels: NDArray[Any]) -> Image.Image:
        upright = np.moveaxis(pixels, 0, -1) if read.channels == 1 else pixels
        flat = upright[..., 0] if upright.ndim == 3 and count == 1 else upright
        if flat.dtype == np.uint8 and scale in (None, 255.0):
            return Image.fromarray(np.ascontiguousarray(flat))
        start, width = (0.0, scale) if scale else (min(low, 0.0), max(high, 1.0) - min(low, 0.0))
        octets = np.round(255 * np.clip((flat.astype(np.float64) - start) / width, 0, 1))
        return Image.fromarray(np.ascontiguousarray(octets.astype(np.uint8)))

    return x, draw


class _Names:
    """Names of files in one folder. Each is given once, also where capitals do not count."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {name.casefold() for name in taken}

    def of(self, wanted: str) -> str:
        """A name like the wanted one that a file may have everywhere, and that no other file has."""
        path = Path(file_name(wanted))
        name, number = path.name, 1
        while name.casefold() in self._taken:
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        self._taken.add(name.casefold())
        return name


def file_name(text: str) -> str:
    """A text as the name of a file or folder. Characters that are not allowed everywhere are written as `%2F`.

    Args:
        text: Any text, such as the name of a class.

    Returns:
        The name; the text itself where that is possible.
    """
    told = text.encode("utf-8", "replace").decode()
    name = _NO_FILE_NAME.sub(lambda found: "".join(f"%{b:02X}" for b in found[0].encode()), told)
    if not name or name[0] in ". " or _RESERVED.fullmatch(name):
        name = (f"%{ord(name[0]):02X}" if name else "%") + name[1:]
    if name[-1] in ". ":
        name = f"{name[:-1]}%{ord(name[-1]):02X}"
    if len(name.encode()) > _LONGEST:
        digest, suffix = sha256(text.encode("utf-8", "replace")).hexdigest()[:8], Path(name).suffix[:10]
        short = name.encode()[: _LONGEST - 20].decode("utf-8", "ignore").rstrip(". ")
        name = f"{short}-{digest}{suffix if suffix.isascii() else ''}"
    return name


def _imagefolder(
    items: Sequence[LabelledItem], classes: Sequence[str], part: Path, pictures: _Pictures
) -> None:
    known, every = _Names(["labels.csv", "unlabeled"]), any(item.label is None for item in items)
    folders = {name: known.of(name) for name in classes}
    top = part / "train" if every else part
    names: dict[Path, _Names] = {}
    lines = []
    for item in items:
        folder = part / "unlabeled" if item.label is None else top / folders[item.label]
        target = pictures.put(item, names.setdefault(folder, _Names()), folder)
        lines.append([target.relative_to(part).as_posix(), *_facts(item)])
    with (part / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", *_FACTS], *lines])


def _facts(item: LabelledItem) -> list[Any]:
    return [item._asdict()[name] for name in _FACTS]


def _coco(items: Sequence[LabelledItem], classes: Sequence[str], part: Path, pictures: _Pictures) -> None:
    """An annotation of a whole image has a box of the whole image."""
    names, images, annotations = _Names(), list[dict[str, Any]](), list[dict[str, Any]]()
    for number, item in enumerate(items, 1):
        target = pictures.put(item, names, part / "images")
        with Image.open(target) as picture:
            width, height = picture.size
        about = {"item": item.id, "group": item.group, "split": item.split}
        images.append({"id": number, "file_name": target.name, "width": width, "height": height, **about})
        if item.label is None:
            continue
        told = {"annotator": item.annotator, "time": item.time, "round": item.round}
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": classes.index(item.label) + 1,
                "bbox": [0, 0, width, height],
                "area": width * height,
                "segmentation": [[0, 0, width, 0, width, height, 0, height]],
                "iscrowd": 0,
                **told,
            }
        )
    categories = [{"id": n, "name": name, "supercategory": ""} for n, name in enumerate(classes, 1)]
    info = {"description": "Labels of whole images, exported by Baldur"}
    whole = {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    (part / "annotations.json").write_text(json.dumps(whole, ensure_ascii=False, indent=1), encoding="utf-8")


def _huggingface(
    items: Sequence[LabelledItem], classes: Sequence[str], part: Path, pictures: _Pictures
) -> None:
    for split in ("train", "test"):
        some = [item for item in items if item.split == split]
        if not some:
            continue
        names, lines = _Names(["metadata.jsonl"]), []
        for item in some:
            target = pictures.put(item, names, part / split)
            lines.append({"file_name": target.name, **dict(zip(_FACTS, _facts(item), strict=True))})
        with (part / split / "metadata.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _write_parquet(items: Sequence[LabelledItem], part: Path) -> None:
    columns, rows = as_rows(items)
    for split in ("train", "test"):
        some = [row for row, item in zip(rows, items, strict=True) if item.split == split]
        if some:
            table = arrow_table(columns, some)  # says how to install pyarrow
            from pyarrow import parquet

            parquet.write_table(table, part / f"{split}.parquet")
