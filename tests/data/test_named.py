import gzip
import io
import struct
import tarfile

import numpy as np
import pytest

from baldur.data import load, named
from baldur.errors import InvalidData, InvalidLabel


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    for side, n in (("train", 6), ("t10k", 3)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        images[-1] = images[0]
        (tmp_path / f"{side}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{side}-labels-idx1-ubyte").write_bytes(idx(np.arange(n, dtype=np.uint8)))
    return tmp_path


def test_digits_are_the_1797_of_scikit_learn():
    data = load("digits")
    assert (len(data.train), len(data.test), data.classes) == (1438, 359, tuple("0123456789"))
    assert sorted(map(int, [*data.train.ids, *data.test.ids])) == list(range(1797))
    ((_, x),) = data.train.batches(np.arange(len(data.train)), 2000)
    assert x.shape == (1438, 1, 8, 8)
    assert (x.min(), x.max()) == (0, 1)
    assert data.preprocessing["shape"] == [1, 8, 8]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    at = [int(i) for i in data.train.ids]
    assert (x.flatten(1).numpy() * 16 == images[at]).all()
    assert (data.labels == labels[at]).all()


def test_the_split_of_digits_depends_on_the_seed():
    assert list(load("digits").test.ids) == list(load("digits").test.ids)
    assert list(load("digits").test.ids) != list(load("digits", seed=1).test.ids)
    assert len(load("digits", test_fraction=0.5).test) in range(890, 905)


def test_mnist_files_are_read_compressed_or_not(mnist):
    data = load("mnist", data_dir=str(mnist))
    assert list(data.train.ids) == [f"train/{i:05d}" for i in range(1, 5)]
    assert dict(data.quarantined).keys() == {"train/00000", "train/00005"}  # one picture with two labels
    assert "train/00000 (0) = train/00005 (5)" in data.notes[0]
    assert data.test_labels.tolist() == [0, 1, 2]
    ((_, x),) = data.train.batches(np.array([0]), 1)
    raw = gzip.decompress((mnist / "train-images-idx3-ubyte.gz").read_bytes())[16 + 784 : 16 + 2 * 784]
    expected = (np.frombuffer(raw, np.uint8) / 255 - 0.1307) / 0.3081
    assert x.flatten().numpy() == pytest.approx(expected.astype(np.float32), abs=1e-5)
    assert data.duplicates == (("train/00000", "train/00005"), ("test/00000", "test/00002"))
    other = load("fashion-mnist", data_dir=str(mnist))
    assert (other.classes[0], other.preprocessing["mean"]) == ("T-shirt/top", [0.286])


def test_the_files_of_another_set_are_noticed(mnist, monkeypatch):
    import hashlib

    monkeypatch.setitem(named._TEST_LABELS, "mnist", hashlib.sha256(bytes([0, 1, 2])).hexdigest())
    assert load("mnist", data_dir=str(mnist)).name == "mnist"
    with pytest.raises(InvalidData, match="those of mnist, not of fashion-mnist"):
        load("fashion-mnist", data_dir=str(mnist))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train-images-idx3-ubyte.gz", gzip.compress(b"0" * 5000, mtime=0)[:40], "damaged"),
        ("train-images-idx3-ubyte.gz", b"<html>not found</html>", "damaged"),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(idx(np.zeros((6, 28, 28), np.uint8))[:-1], mtime=0),
            "not a whole",
        ),
        ("train-labels-idx1-ubyte", idx(np.zeros(5, np.uint8)), "6 images, but 5 labels"),
        ("train-labels-idx1-ubyte", b"", "not a whole"),
        ("train-labels-idx1-ubyte", bytes((0, 0, 8, 1, 0, 0)), "not a whole"),
    ],
    ids=("cut gzip", "a page", "a pixel short", "a label short", "empty", "a head cut"),
)
def test_a_damaged_file_is_named(mnist, name, content, says):
    (mnist / name).write_bytes(content)
    with pytest.raises(InvalidData, match=says):
        load("mnist", data_dir=str(mnist))


def test_a_label_beyond_the_classes_is_refused(mnist):
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx(np.full(6, 10, np.uint8)))
    with pytest.raises(InvalidLabel, match="label 10"):
        load("mnist", data_dir=str(mnist))


@pytest.fixture
def cifar10(monkeypatch):
    monkeypatch.setattr(named, "_CIFAR10_BATCH", 4)
    rng = np.random.default_rng(0)
    rows = {name: rng.integers(0, 256, (4, 3073), dtype=np.uint8) for name in named._CIFAR10_FOLDER.sums}
    for i, batch in enumerate(rows.values()):
        batch[:, 0] = i
    return rows


@pytest.mark.parametrize("packed", [False, True])
def test_cifar10_is_read_from_its_folder_or_its_archive(cifar10, tmp_path, packed):
    if packed:
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as tar:
            for name, rows in cifar10.items():
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = rows.size
                tar.addfile(member, io.BytesIO(rows.tobytes()))
    else:
        (tmp_path / "cifar-10-batches-bin").mkdir()
        for name, rows in cifar10.items():
            (tmp_path / "cifar-10-batches-bin" / name).write_bytes(rows.tobytes())
    data = load("cifar10", data_dir=str(tmp_path))
    assert data.labels.tolist() == np.repeat(np.arange(5), 4).tolist()
    assert data.test_labels.tolist() == [5] * 4
    ((_, x),) = data.train.batches(np.array([4]), 1)
    pixels = cifar10["data_batch_2.bin"][0, 1:].reshape(3, 32, 32)
    mean, std = (np.array(data.preprocessing[k]).reshape(3, 1, 1) for k in ("mean", "std"))
    assert x[0].numpy() == pytest.approx(((pixels / 255 - mean) / std).astype(np.float32), abs=1e-5)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"0" * 100, InvalidData, "100 bytes"),
        (b"\x0a" * 4 * 3073, InvalidLabel, "label 10"),
    ],
)
def test_a_bad_batch_of_cifar10_is_named(cifar10, tmp_path, content, error, says):
    for name, rows in cifar10.items():
        (tmp_path / name).write_bytes(rows.tobytes())
    (tmp_path / "data_batch_3.bin").write_bytes(content)
    with pytest.raises(error, match=f"data_batch_3.*{says}"):
        load("cifar10", data_dir=str(tmp_path))


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(gzip.compress(b"0" * 2000)[:20])
    with pytest.raises(InvalidData, match="damaged"):
        load("cifar10", data_dir=str(tmp_path))
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz"):
        pass
    with pytest.raises(InvalidData, match=r"lacks data_batch_1\.bin"):
        load("cifar10", data_dir=str(tmp_path))
