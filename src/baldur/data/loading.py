"""Loads a data set by its name or path."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from baldur.data import named
from baldur.data.by_name import by_name
from baldur.data.copies import EARLIER
from baldur.data.dataset import Dataset, KnownRecord
from baldur.data.download import Progress
from baldur.data.encoders.exported import Encoder, encoded, load_encoder
from baldur.data.files import from_listing
from baldur.data.images import SUFFIXES
from baldur.data.labels import Rules, rules_of
from baldur.data.listing import MANIFESTS, Item, Listing, from_folder, from_manifest
from baldur.data.near import with_near_copies
from baldur.data.official import cache_folder
from baldur.data.parquet import from_parquet, parquet_files
from baldur.data.stored_arrays import from_npy, from_npz
from baldur.data.tables import from_rows, is_table
from baldur.data.text_files import from_texts, has_texts
from baldur.errors import DataNotFound, InvalidData

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10")
_KINDS = (
    "a folder of images or of .txt files with a subfolder for each class, an .npz, .npy or .parquet file,"
    " or a .csv or .jsonl file, with a column label and a column path or the columns of a table"
)


def load(
    name_or_path: str,
    *,
    data_dir: str | None = None,
    image_size: int = 64,
    test_fraction: float = 0.2,
    seed: int = 0,
    layout: Literal["classes", "splits"] | None = None,
    reading: int = EARLIER + 1,
    encoder: str | Encoder | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    known: Mapping[str, KnownRecord] | None = None,
    missing: Any = None,
    task: str = "auto",
    standardise: bool = True,
    label: str | None = None,
    text: str | None = None,
    inputs: str | Sequence[str] | None = None,
    id: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Dataset:
    """Load a data set by its name or path.

    Args:
        name_or_path: "digits", "mnist", "fashion-mnist" or "cifar10", or one of these paths. A folder of images or of
            .txt files has a subfolder for each class, below train and test if there are such. An .npz file has the
            arrays x and y, or x_train, y_train, x_test and y_test. An .npy file has its labels beside it in
            NAME_labels.npy; a folder may have x.npy and y.npy. A Parquet file, or a folder of them, has the
            column label, optionally id, split and group, and images, or columns of numbers and categories. So
            has a table (.csv, .jsonl). A manifest (.csv, .jsonl) has path, label, and optionally split and group.
        data_dir: The folder with the official files of a named set; by default $BALDUR_DATA. Missing files
            are downloaded.
        image_size: The side of photographs in pixels, after resizing to squares.
        test_fraction: The share of test items, if the data name no test split.
        seed: Of that split.
        layout: The subfolders of a folder of images: "classes", or "splits" with class folders inside. By default,
            it is recognised, if it is plain.
        reading: The rules of reading. 2 keeps equal items on one side of a split; 1 reads labels, columns and pixels
            as early versions did, too.
        encoder: A pretrained network that turns images into features: hf:NAME of
            transformers, FILE.pt2, package.module:factory, or an encoder that is loaded.
        cache: The folder for downloads, decoded images and features; by default $BALDUR_CACHE, or else
            ~/.cache/baldur.
        device: The device of the encoder.
        progress: Called with the name of the task, the amount that is done, and the total amount.
        known: The recorded facts of files by id (sha256, size, mtime in ns), to notice changed files. If
            there are any, other files are left out, so that the pools stay the same.
        missing: One value that means a missing label, or several; by default an empty text, nan, NaN, NA, null
            and None. In arrays, NaN is always missing.
        task: "auto" refuses labels that look like amounts; "classification" takes each value as a class.
        standardise: Whether the columns of a table are standardised.
        label: The column of a table with the classes; by default label.
        text: The column of texts that become inputs. By default, the only column of texts, if there is no other input.
        inputs: The columns that become inputs; by default all that can.
        id: The column with the unique name of each row; by default id.
        split: The column with train, test or val; by default split.
        group: The column with the group of each row; by default group.

    Returns:
        The data set.

    Raises:
        DataNotFound: There is no data set of that name, and nothing at that path.
        InvalidData: The data cannot be used.
        InvalidLabel: A label is not one of the classes.
        ItemChanged: The content of a known file changed, or the file is missing.
        DownloadFailed: Official files are missing, and cannot be downloaded.
    """
    return read(
        name_or_path,
        rules_of(missing, task, reading, columns=by_name(label, text, inputs, id, split, group)),
        data_dir=data_dir,
        image_size=image_size,
        test_fraction=test_fraction,
        seed=seed,
        layout=layout,
        encoder=encoder,
        cache=cache,
        device=device,
        progress=progress,
        known=known,
        standardise=standardise,
    )


def read(
    name_or_path: str,
    rules: Rules,
    *,
    data_dir: str | None,
    image_size: int,
    test_fraction: float,
    seed: int,
    layout: Literal["classes", "splits"] | None,
    encoder: str | Encoder | None,
    cache: Path | None,
    device: str,
    progress: Progress | None,
    known: Mapping[str, KnownRecord] | None,
    standardise: bool,
) -> Dataset:
    """Read a data set by its name or path; see `load` for the arguments.

    Args:
        name_or_path: See `load`.
        rules: How labels and columns are read.
        data_dir: See `load`.
        image_size: See `load`.
        test_fraction: See `load`; 0 draws no test items.
        seed: See `load`.
        layout: See `load`.
        encoder: See `load`.
        cache: See `load`.
        device: See `load`.
        progress: See `load`.
        known: See `load`.
        standardise: See `load`.

    Returns:
        The data set.
    """
    reading = rules.reading
    encoder = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
    image_size = image_size if encoder is None else encoder.size(image_size)
    path = Path(name_or_path).expanduser()
    if any(rules.columns) and not (path.suffix.lower() in MANIFESTS or parquet_files(path)) and path.exists():
        raise InvalidData(f"{path} has no columns with names; leave out {rules.columns.options()}")
    loaded = _named(name_or_path, data_dir, cache, test_fraction, seed, progress, reading)
    if loaded is None:
        loaded = _arrays(path, test_fraction, seed, rules)
    if loaded is None and parquet_files(path):
        loaded = from_parquet(
            path,
            image_size=image_size,
            test_fraction=test_fraction,
            seed=seed,
            cache=cache_folder(cache),
            colour=encoder is not None,
            progress=progress,
            rules=rules,
            standardise=standardise,
        )
    table = path.suffix.lower() in MANIFESTS and path.is_file() and reading > EARLIER
    if loaded is None and table and is_table(path, rules):
        loaded = from_rows(path, test_fraction=test_fraction, seed=seed, rules=rules, standardise=standardise)
    if loaded is None and path.is_dir() and has_texts(path):
        loaded = from_texts(
            path, layout, test_fraction=test_fraction, seed=seed, rules=rules, standardise=standardise
        )
    if loaded is None:
        loaded = from_listing(
            name_or_path,
            _listing(path, layout, rules),
            image_size=image_size,
            test_fraction=test_fraction,
            seed=seed,
            cache=cache_folder(cache),
            known=known or {},
            colour=encoder is not None,
            progress=progress,
            rules=rules,
        )
    if encoder is not None:
        loaded = with_features(loaded, encoder, device, cache, progress)
    return with_near_copies(loaded) if reading > EARLIER else loaded


def with_features(
    dataset: Dataset, encoder: str | Encoder, device: str, cache: Path | None, progress: Progress | None
) -> Dataset:
    """A data set of images with features in their place.

    Args:
        dataset: The data set.
        encoder: See `load`.
        device: See `load`.
        cache: See `load`.
        progress: See `load`.

    Returns:
        The data set.
    """
    network = load_encoder(encoder, device) if isinstance(encoder, str) else encoder
    return encoded(dataset, network, cache_folder(cache), progress)


def _named(
    name: str,
    data_dir: str | None,
    cache: Path | None,
    test_fraction: float,
    seed: int,
    progress: Progress | None,
    reading: int,
) -> Dataset | None:
    match name:
        case "digits":
            return named.digits(test_fraction, seed, reading)
        case "mnist":
            return named.mnist(data_dir, cache, progress, reading)
        case "fashion-mnist":
            return named.fashion_mnist(data_dir, cache, progress, reading)
        case "cifar10":
            return named.cifar10(data_dir, cache, progress, reading)
    return None


def _arrays(path: Path, test_fraction: float, seed: int, rules: Rules) -> Dataset | None:
    if path.suffix.lower() == ".npz" and path.is_file():
        return from_npz(path, test_fraction, seed, rules)
    if (path.suffix.lower() == ".npy" and path.is_file()) or (path / "x.npy").is_file():
        return from_npy(path, test_fraction, seed, rules)
    return None


def _listing(path: Path, layout: Literal["classes", "splits"] | None, rules: Rules) -> Listing:
    if path.is_dir():
        return from_folder(path, layout, rules.reading, rules)
    if path.is_file() and path.suffix.lower() in MANIFESTS:
        return from_manifest(path, rules)
    if path.is_file() and path.suffix.lower() in SUFFIXES and rules.labelling is not None:
        return Listing([Item(path.name, path, "", "", "")], ())
    if path.exists():
        raise InvalidData(f"{path} has an unknown format; give {_KINDS}")
    near = get_close_matches(path.name.lower(), NAMES, 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise DataNotFound(
        f"there is no data set called {str(path)!r}, and nothing at that path. {hint}"
        f"The named data sets are {', '.join(NAMES)}. Otherwise give {_KINDS}"
    )
