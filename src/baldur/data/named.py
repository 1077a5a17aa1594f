"""The named data sets: digits, MNIST, Fashion-MNIST and CIFAR-10."""

import gzip
import hashlib
import tarfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baldur.data.arrays import ArrayPool, Normalise, image_preprocessing
from baldur.data.copies import EARLIER, sides
from baldur.data.dataset import Dataset, halves
from baldur.data.download import Progress
from baldur.data.official import Official, data_roots, download, find
from baldur.data.scanning import scan
from baldur.errors import InvalidData, InvalidLabel
from baldur.protocols import View

_DIGITS = tuple("0123456789")
_CLOTHES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_THINGS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_IDX_NAMES = {name: (name[:-3], name[:-3].replace("-idx", ".idx")) for name in _IDX}

_MNIST = Official(
    addresses=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    sums={
        _IDX[0]: "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        _IDX[1]: "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        _IDX[2]: "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        _IDX[3]: "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    folders=("mnist", "MNIST", "MNIST/raw"),
    alternatives=_IDX_NAMES,
)
_FASHION = Official(
    addresses=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    sums={
        _IDX[0]: "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        _IDX[1]: "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        _IDX[2]: "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        _IDX[3]: "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    folders=("fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
    alternatives=_IDX_NAMES,
)
# sha256 of the test labels, unpacked: the two sets have the same file names and are told apart by content
_TEST_LABELS = {
    "mnist": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    "fashion-mnist": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

_CIFAR10_FOLDER = Official(
    addresses=(),
    sums={f"{name}.bin": "" for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")},
    folders=("cifar-10-batches-bin", "cifar10/cifar-10-batches-bin", "cifar10"),
    alternatives={},
)
_CIFAR10 = Official(
    addresses=("https://www.cs.toronto.edu/~kriz/",),
    sums={"cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530"},
    folders=("cifar10", "cifar-10"),
    alternatives={},
)
_CIFAR10_BATCH = 10_000  # items in a file
_CIFAR10_MEAN, _CIFAR10_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def digits(test_fraction: float, seed: int, reading: int = EARLIER + 1) -> Dataset:
    """The 1,797 handwritten digits (8×8 pixels) that come with scikit-learn.

    Args:
        test_fraction: The share of test items, the same for each class.
        seed: Of the split.
        reading: The rules, as in `load`.

    Returns:
        The data set; ids are positions in the original.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    x, labels = images.astype(np.uint8).reshape(-1, 1, 8, 8), labels.astype(np.int64)
    ids = tuple(map(str, range(len(x))))
    split = sides(ids, labels, scan([x]).first, test_fraction, seed, classes=_DIGITS, reading=reading)
    normalise = Normalise((0.0,), (1.0,), scale=16.0)
    whole = ArrayPool(x, ids, labels=labels, transform=normalise)
    return Dataset(
        "digits",
        *halves(whole, labels, split.test, split.kept),
        _DIGITS,
        image_preprocessing((1, 8, 8), normalise),
        quarantined=split.left_out,
        duplicates=split.duplicates,
        notes=split.notes,
    )


def mnist(
    data_dir: str | None, cache: Path | None, progress: Progress | None, reading: int = EARLIER + 1
) -> Dataset:
    """MNIST (Y. LeCun, C. Cortes, C. Burges, 1998): 60,000 + 10,000 handwritten digits, 28×28.

    Args:
        data_dir: The folder with its files, or with a folder "mnist".
        cache: The folder for downloads.
        progress: Called during downloads.
        reading: The rules, as in `load`.

    Returns:
        The data set.
    """
    return _idx_set("mnist", _MNIST, _DIGITS, (0.1307, 0.3081), data_dir, cache, progress, reading)


def fashion_mnist(
    data_dir: str | None, cache: Path | None, progress: Progress | None, reading: int = EARLIER + 1
) -> Dataset:
    """Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, 2017): 60,000 + 10,000 pictures of clothes, 28×28.

    Args:
        data_dir: The folder with its files, or with a folder "fashion-mnist".
        cache: The folder for downloads.
        progress: Called during downloads.
        reading: The rules, as in `load`.

    Returns:
        The data set.
    """
    return _idx_set("fashion-mnist", _FASHION, _CLOTHES, (0.2860, 0.3530), data_dir, cache, progress, reading)


def cifar10(
    data_dir: str | None, cache: Path | None, progress: Progress | None, reading: int = EARLIER + 1
) -> Dataset:
    """CIFAR-10 (A. Krizhevsky, 2009): 50,000 + 10,000 colour images of ten classes, 32×32.

    Args:
        data_dir: The folder with "cifar-10-batches-bin", with its files, or with the official archive.
        cache: The folder for downloads.
        progress: Called during downloads.
        reading: The rules, as in `load`.

    Returns:
        The data set.
    """
    roots = data_roots(data_dir, cache)
    names = tuple(_CIFAR10_FOLDER.sums)
    if files := find(_CIFAR10_FOLDER, roots):
        contents = {name: path.read_bytes() for name, path in files.items()}
    else:
        files = find(_CIFAR10, roots) or download(_CIFAR10, roots[0], progress)
        contents = _members(next(iter(files.values())), names)
    parts = [_cifar_batch(name, contents.pop(name)) for name in names]
    train = np.concatenate([x for x, _ in parts[:-1]]), np.concatenate([y for _, y in parts[:-1]])
    return _pixels("cifar10", train, parts[-1], _THINGS, _CIFAR10_MEAN, _CIFAR10_STD, reading)


def _pixels(
    name: str,
    train: tuple[NDArray[np.uint8], NDArray[np.int64]],
    test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    classes: tuple[str, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    reading: int,
) -> Dataset:
    """A data set of two arrays of pixels (n, channels, height, width) with their labels."""
    halved = {"train": train, "test": test}
    ids = {side: tuple(f"{side}/{i:05d}" for i in range(len(y))) for side, (_, y) in halved.items()}
    normalise = Normalise(mean, std)
    pools = {side: ArrayPool(x, ids[side], labels=y, transform=normalise) for side, (x, y) in halved.items()}
    split = sides(
        ids["train"] + ids["test"],
        np.concatenate([train[1], test[1]]),
        scan([train[0], test[0]]).first,
        0.5,
        0,
        classes=classes,
        named=np.repeat([False, True], [len(train[1]), len(test[1])]),
        reading=reading,
    )
    kept = np.flatnonzero(split.kept[: len(train[1])])
    pool = pools["train"] if len(kept) == len(train[1]) else View(pools["train"], kept)
    preprocessing = image_preprocessing(train[0].shape[1:], normalise)
    return Dataset(
        name,
        pool,
        train[1][kept],
        pools["test"],
        test[1],
        classes,
        preprocessing,
        quarantined=split.left_out,
        duplicates=split.duplicates,
        notes=split.notes,
    )


def _idx_set(
    name: str,
    official: Official,
    classes: tuple[str, ...],
    moments: tuple[float, float],
    data_dir: str | None,
    cache: Path | None,
    progress: Progress | None,
    reading: int,
) -> Dataset:
    roots = data_roots(data_dir, cache)
    files = find(official, roots) or download(official, roots[0], progress)
    train, test = (
        (_idx(files[images], 3)[:, None], _idx(files[labels], 1).astype(np.int64))
        for images, labels in (_IDX[:2], _IDX[2:])
    )
    where = files[_IDX[3]].parent
    content = hashlib.sha256(test[1].astype(np.uint8).tobytes()).hexdigest()
    if other := next((n for n, sum in _TEST_LABELS.items() if sum == content and n != name), None):
        raise InvalidData(f"the files in {where} are those of {other}, not of {name}; give the right folder")
    for x, y in (train, test):
        if len(x) != len(y):
            raise InvalidData(f"{where} has {len(x)} images, but {len(y)} labels; download its files again")
        if len(y) and y.max() >= len(classes):
            raise InvalidLabel(f"{where} has the label {y.max()}, but {name} has {len(classes)} classes")
    return _pixels(name, train, test, classes, moments[:1], moments[1:], reading)


def _idx(path: Path, axes: int) -> NDArray[np.uint8]:
    """The array in an idx file, compressed or not: a magic number, the length of each axis, the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidData(f"{path} is damaged ({error}); remove it to download it again") from None
    head = content[: 4 + 4 * axes].ljust(4 + 4 * axes, b"\0")
    shape = np.frombuffer(head, ">u4", offset=4).astype(int)
    if head[:4] != bytes((0, 0, 8, axes)) or len(content) != len(head) + shape.prod():
        raise InvalidData(f"{path} is not a whole idx file with {axes} axes; remove it to download it again")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(tuple(shape))


def _members(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The content of the named members of a tar archive; nothing is written to disk."""
    found = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                if (name := Path(member.name).name) in names and (file := tar.extractfile(member)):
                    found[name] = file.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InvalidData(f"{archive} is damaged ({error}); remove it to download it again") from None
    if missing := sorted(set(names) - found.keys()):
        raise InvalidData(f"{archive} lacks {', '.join(missing)}; remove it to download it again")
    return found


def _cifar_batch(name: str, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pixels (n, 3, 32, 32) and labels of one file: for each item a label byte, then 3 × 32 × 32 bytes."""
    if len(content) != _CIFAR10_BATCH * 3073:
        raise InvalidData(
            f"{name} of CIFAR-10 has {len(content):,} bytes, not {_CIFAR10_BATCH * 3073:,}; download it again"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    if rows[:, 0].max() >= len(_THINGS):
        raise InvalidLabel(f"{name} of CIFAR-10 has the label {rows[:, 0].max()}, but there are 10 classes")
    return rows[:, 1:].reshape(-1, 3, 32, 32), rows[:, 0].astype(np.int64)
