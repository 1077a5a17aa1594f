import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet as pq
from tests.tiny_runs import QUICK

from baldur.data import images, load, parquet
from baldur.errors import InvalidData, InvalidLabel, ItemChanged
from baldur.runs import run
from baldur.testing import verify_pool

RNG = np.random.default_rng(0)


@pytest.fixture
def loaded(tmp_path):
    """Writes a table and loads it, with a cache of its own."""

    def write_and_load(columns, name="p.parquet", rows=None, target=None, **options):
        pq.write_table(pa.table(columns), tmp_path / name, row_group_size=rows or 7)
        return load(str(tmp_path / (target or name)), cache=tmp_path / "cache", image_size=8, **options)

    return write_and_load


def everything(pool):
    ((_, x),) = pool.batches(np.arange(len(pool)), 10_000)
    return x.numpy()


def in_order(data, n):
    """All inputs of a set without a split of its own, by row."""
    x = {
        i: row for pool in (data.train, data.test) for i, row in zip(pool.ids, everything(pool), strict=True)
    }
    return np.stack([x[str(i)] for i in range(n)])


def picture(shade, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (9, 12), shade).save(file, "PNG")
    return file.getvalue()


def test_numbers_are_rows_in_the_order_of_the_columns(loaded):
    a, b = RNG.normal(size=30), RNG.permutation(30)
    table = {"label": [f"c{i % 3}" for i in range(30)], "a": a, "name": ["n"] * 30, "b": b}
    data = loaded(table, standardise=False)
    assert (data.classes, len(data.train), len(data.test)) == (("c0", "c1", "c2"), 24, 6)
    assert (in_order(data, 30) == np.stack([a, b], 1).astype(np.float32)).all()
    told = data.preprocessing
    assert (told["kind"], told["shape"], told["dtype"]) == ("table", [2], "float32")
    assert [number["name"] for number in told["columns"]["numbers"]] == ["a", "b"]
    assert data.notes == ("left out: name (a column with one value only)",)
    assert data.labels.tolist() == [int(i) % 3 for i in data.train.ids]
    verify_pool(data.train)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("float64", "float32"), ("uint8", "float32"), ("int64", "int64"), ("float32", "float32")],
)
@pytest.mark.parametrize("fixed", [True, False])
def test_a_column_of_lists(loaded, kind, dtype, fixed):
    x = RNG.integers(0, 200, size=(20, 3)).astype(kind)
    value = pa.from_numpy_dtype(np.dtype(kind))
    column = pa.array(x.tolist(), pa.list_(value, 3) if fixed else pa.list_(value))
    data = loaded({"label": np.arange(20) % 2, "x": column})
    found = in_order(data, 20)
    assert (str(found.dtype), data.preprocessing["dtype"]) == (dtype, dtype)
    assert found == pytest.approx(x / 255 if kind == "uint8" else x, rel=1e-6)


@pytest.mark.parametrize("nested", [True, False])
def test_images_are_decoded_once_and_a_damaged_one_is_left_out(loaded, monkeypatch, nested, tmp_path):
    seen = []
    original = images.decode_bytes
    monkeypatch.setattr(images, "decode_bytes", lambda *told: seen.append(1) or original(*told))
    contents = [picture((i, 2 * i, 0)) for i in range(20)]
    contents[4], contents[9], contents[11] = contents[4][:40], None, contents[12]
    column = pa.array(
        [{"bytes": c, "path": None} for c in contents] if nested else contents,
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if nested else pa.binary(),
    )
    table = {"id": [f"i{i}" for i in range(20)], "image": column, "label": ["x", "y"] * 10}
    steps = []
    data = loaded(table, progress=lambda *step: steps.append(step))
    assert steps[-1] == ("rows", 20, 20)
    assert dict(data.quarantined).keys() == {"i4", "i9", "i11", "i12"}
    assert len(data.train) + len(data.test) == 16
    assert data.notes == (
        "2 items are left out, each equal to an item with another label: i11 (y) = i12 (x)",
    )
    assert data.duplicates == (("i11", "i12"),)
    x, mean, std = everything(data.train), *(np.array(data.preprocessing[k]) for k in ("mean", "std"))
    shade = int(data.train.ids[0][1:])
    assert x[0, :, 4, 4] == pytest.approx((np.array([shade, 2 * shade, 0]) / 255 - mean) / std, abs=1e-5)
    assert len(seen) == 20
    again = load(str(tmp_path / "p.parquet"), cache=tmp_path / "cache", image_size=8)
    assert len(seen) == 20
    assert (everything(again.train) == x).all()
    assert (again.quarantined, again.train.ids) == (data.quarantined, data.train.ids)


def test_grey_images_have_one_channel(loaded):
    column = [picture(i, "L") for i in range(20)]
    data = loaded({"image": column, "label": np.arange(20) % 2})
    assert everything(data.train).shape == (16, 1, 8, 8)


def test_a_killed_load_goes_on_where_it_was(loaded, tmp_path):
    def blocks():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}

    def stop(what, done, total):
        if done == 21:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded({"label": np.arange(70) % 2, "a": 2.0 * np.arange(70)}, progress=stop)
    before = blocks()
    data = load(str(tmp_path / "p.parquet"), cache=tmp_path / "cache", standardise=False)
    assert (len(before), len(blocks())) == (3, 10)
    assert blocks().items() >= before.items()  # none was made again
    assert (in_order(data, 70)[:, 0] == 2 * np.arange(70)).all()


def test_a_row_group_is_read_in_parts(loaded, monkeypatch):
    monkeypatch.setattr(parquet, "_BLOCK_ITEMS", 4)
    data = loaded({"label": np.arange(30) % 2, "a": 2.0 * np.arange(30)}, rows=10, standardise=False)
    assert [len(np.load(path)) for path in data.train.whole.stored.paths] == [4, 4, 2] * 3
    assert (in_order(data, 30)[:, 0] == 2 * np.arange(30)).all()
    verify_pool(data.train)


def test_splits_and_groups_as_in_a_manifest(loaded):
    table = {"label": [1, 2, None, -1] * 5, "a": 2.0 * np.arange(20)}
    data = loaded(table | {"split": ["train"] * 15 + ["test"] * 5}, missing=-1)
    assert (len(data.test), data.classes) == (5, ("1", "2"))
    assert data.labels.tolist()[:4] == [0, 1, -1, -1]
    grouped = loaded(
        {"label": ["a", "b"] * 10, "a": 2.0 * np.arange(20), "group": [f"p{i // 4}" for i in range(20)]}
    )
    assert not set(grouped.train.groups) & set(grouped.test.groups)


def test_a_folder_of_files_named_after_their_splits(loaded, tmp_path):
    (tmp_path / "set/data").mkdir(parents=True)
    table = {"label": ["a", "b"] * 5, "x": 2.0 * np.arange(10)}
    pq.write_table(pa.table(table), tmp_path / "set/data/train-00000-of-00001.parquet")
    data = loaded(table, "set/data/test-00000-of-00001.parquet", target="set")
    assert (len(data.train), len(data.test)) == (10, 10)
    assert data.test.ids[3] == "data/test-00000-of-00001.parquet/3"
    assert len(data.duplicates) == 10
    with pytest.raises(InvalidData, match=r"has the inputs x .*b\.parquet y .*same columns"):
        loaded({"label": ["a"], "y": [1.0]}, "set/b.parquet", target="set")


LISTS = {"label": ["a", "b"] * 5, "x": pa.array([[1.0 * i, 2.0] for i in range(10)], pa.list_(pa.float32()))}


@pytest.mark.parametrize("table", [LISTS, {"label": ["a", "b"] * 5, "x": 2.0 * np.arange(10)}])
def test_a_file_without_rows_is_passed_over(loaded, tmp_path, table):
    (tmp_path / "set").mkdir()
    for name in ("a", "c"):
        pq.write_table(pa.table(table).slice(0, 0), tmp_path / f"set/{name}.parquet")
    with pytest.raises(InvalidData, match=r"no row of .*set can be used; it has no rows"):
        load(str(tmp_path / "set"), cache=tmp_path / "cache")
    data = loaded(table, "set/b.parquet", target="set")
    assert len(data.train) + len(data.test) == 10


@pytest.mark.parametrize("first", [[5.0], [], None])
def test_the_first_file_that_has_a_list_says_how_wide_all_are(loaded, tmp_path, first):
    (tmp_path / "set").mkdir()
    for name, rows in (("a", [None, []]), ("b", [[7.5, 2.0], [8.5, 4.0]])):
        table = {"label": ["a", "b"], "x": pa.array(rows, pa.list_(pa.float32()))}
        pq.write_table(pa.table(table), tmp_path / f"set/{name}.parquet")
    rows = [first, *LISTS["x"].to_pylist()[1:]]
    data = loaded(LISTS | {"x": pa.array(rows, pa.list_(pa.float32()))}, "set/c.parquet", target="set")
    has = {
        row: f"has {n} number{'s' * (n != 1)}, and the first row 2"
        for row, n in (("a", 0), ("c", len(first or [])))
    }
    assert dict(data.quarantined) == {
        "a.parquet/0": has["a"],
        "a.parquet/1": has["a"],
        "c.parquet/0": has["c"],
    }
    assert len(data.train) + len(data.test) == 11


@pytest.mark.parametrize("lengths", [[2, 3] * 10, [2, 3, 4] * 10, [2] + [3] * 19])
def test_lists_of_a_length_that_is_not_that_of_most_are_refused(loaded, lengths):
    table = {"label": np.arange(len(lengths)) % 2, "x": [[0.5 + i] * n for i, n in enumerate(lengths)]}
    others = sum(n != 2 for n in lengths)
    with pytest.raises(
        InvalidData, match=rf"first list of x has 2 numbers, but {others} of {len(lengths)} lists"
    ):
        loaded(table)
    data = loaded(table, reading=1)  # as the first version did
    assert len(data.quarantined) == others


def test_what_differs_between_files_is_said(loaded, tmp_path):
    (tmp_path / "set").mkdir()
    pq.write_table(pa.table(LISTS), tmp_path / "set/a.parquet")
    fixed = pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32(), 3))
    says = r"b\.parquet has the inputs x \(lists of 3 float32\), and .*a\.parquet x \(lists of 2 float32\)"
    with pytest.raises(InvalidData, match=says):
        loaded({"label": ["a"], "x": fixed}, "set/b.parquet", target="set")
    pq.write_table(pa.table({"label": ["a"], "x": [b"1"]}), tmp_path / "set/a.parquet")
    says = r"inputs x \(structs with bytes\), and .* x \(bytes\)"
    with pytest.raises(InvalidData, match=says):
        loaded({"label": ["a"], "x": [{"bytes": b"1"}]}, "set/b.parquet", target="set")


def test_rows_that_cannot_be_used_are_named(loaded):
    x = [[1.0, 2.0], [1.0], None, [1.0, None], [np.nan, 2.0], *([[3.0, 4.0]] * 15)]
    data = loaded({"label": np.arange(20) % 2, "x": pa.array(x, pa.list_(pa.float64()))})
    reasons = dict(data.quarantined)
    assert reasons.keys() == {"1", "2", "3", "4"}
    assert reasons["1"] == "has 1 number, and the first row 2"
    assert "missing" in reasons["3"]
    table = {"label": np.arange(9) % 2, "a": [1e300, None, np.inf, *range(6)]}
    data = loaded(table, "q.parquet", reading=1)  # as the first version did
    assert dict(data.quarantined).keys() == {"0", "1", "2"}
    assert len(data.train) + len(data.test) == 6


@pytest.mark.parametrize(
    ("columns", "error", "says"),
    [
        ({"a": [1.0]}, InvalidData, "no column label; it has a"),
        ({"label": ["a"]}, InvalidData, "there are none; it has label"),
        ({"label": ["a"], "x": [[1.0]], "y": [2]}, InvalidData, "several columns that could be: x, y"),
        ({"label": ["a"], "x": [b"1"], "y": [b"2"]}, InvalidData, "several columns that could be: x, y"),
        ({"label": [np.inf], "x": [1]}, InvalidLabel, "item 0: the label is inf"),
        ({"label": [[1]], "x": [1]}, InvalidLabel, r"must be one text or number, not \[1\]"),
        ({"label": ["a", "b"], "x": [1, 2], "id": [3, 3]}, InvalidData, "the id '3' occurs twice"),
        (
            {"label": ["a"] * 2, "x": [1, 2], "id": ["i", None]},
            InvalidData,
            "id has no value in row 1, counted",
        ),
        (
            {"label": ["a"] * 2, "x": [1, 2], "id": [None, 3]},
            InvalidData,
            "id has no value in row 0, counted",
        ),
        (
            {"label": ["a"] * 2, "x": [1, 2], "id": ["i", " "]},
            InvalidData,
            "id has no value in row 1, counted",
        ),
        ({"label": ["a"], "x": [1], "split": ["half"]}, InvalidData, "not 'half'"),
        ({"label": ["a"], "x": [np.nan]}, InvalidData, "no column of .* x is a column without values"),
        (
            {"label": ["a"], "x": [[np.nan]]},
            InvalidData,
            "no row of .* can be used; the first is 0: holds NaN",
        ),
        ({"label": pa.array([], pa.string()), "x": pa.array([], pa.int8())}, InvalidData, "it has no rows"),
        ({"label": ["a"], "x": pa.array([[]], pa.list_(pa.int8()))}, InvalidData, "are empty"),
    ],
)
def test_what_does_not_fit_is_refused(loaded, columns, error, says):
    with pytest.raises(error, match=says):
        loaded(columns)


def test_a_damaged_file_is_named(loaded, tmp_path):
    columns = {"label": np.arange(5000) % 2, "a": RNG.normal(size=5000)}
    loaded(columns, rows=1000)
    whole = (tmp_path / "p.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[:500])
    with pytest.raises(InvalidData, match=r"cut\.parquet cannot be read as Parquet"):
        load(str(tmp_path / "cut.parquet"), cache=tmp_path / "cache")
    column = pq.ParquetFile(tmp_path / "p.parquet").metadata.row_group(3).column(1)
    at = column.dictionary_page_offset or column.data_page_offset
    (tmp_path / "rotten.parquet").write_bytes(whole[:at] + b"\xff" * 60 + whole[at + 60 :])
    with pytest.raises(InvalidData, match=r"rotten\.parquet cannot be read as Parquet"):
        load(str(tmp_path / "rotten.parquet"), cache=tmp_path / "cache")


def test_a_damaged_first_list_is_named(loaded, tmp_path):
    loaded(LISTS)
    whole = (tmp_path / "p.parquet").read_bytes()
    column = pq.ParquetFile(tmp_path / "p.parquet").metadata.row_group(0).column(1)
    at = column.dictionary_page_offset or column.data_page_offset
    (tmp_path / "p.parquet").write_bytes(whole[:at] + b"\xff" * 40 + whole[at + 40 :])
    with pytest.raises(InvalidData, match=r"p\.parquet cannot be read as Parquet"):
        load(str(tmp_path / "p.parquet"), cache=tmp_path / "cache")


@pytest.mark.usefixtures("without_charts")
def test_a_run_over_images_goes_on_with_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setenv("BALDUR_CACHE", str(tmp_path / "cache"))
    contents = [picture((6 * i, 0, 255 * (i % 2))) for i in range(40)]
    pq.write_table(pa.table({"image": contents, "label": ["a", "b"] * 20}), tmp_path / "p.parquet")
    options = QUICK | {"strategies": ["bald"], "network": "mlp", "image_size": 8}
    done = run.run(str(tmp_path / "p.parquet"), tmp_path / "run", **options)
    assert done.state == "done"
    assert len(list((tmp_path / "run/artefacts").rglob("picks-*.png"))) == 2
    assert run.run(str(tmp_path / "p.parquet"), tmp_path / "run", **(options | {"rounds": 3})).state == "done"
    contents[0] = picture("white")
    pq.write_table(pa.table({"image": contents, "label": ["a", "b"] * 20}), tmp_path / "p.parquet")
    with pytest.raises(ItemChanged, match="started with other data"):
        run.run(str(tmp_path / "p.parquet"), tmp_path / "run", **(options | {"rounds": 3}))


def test_deep_and_transparent_images_are_read_as_in_files(loaded):
    deep = [np.full((9, 9), 100 * (i + 1), np.uint16) for i in range(10)]
    files = [io.BytesIO() for _ in deep]
    for file, pixels in zip(files, deep, strict=True):
        Image.fromarray(pixels).save(file, "PNG")
    table = {"image": [file.getvalue() for file in files], "label": ["a", "b"] * 5}
    data = loaded(table)
    assert data.preprocessing["depth"] == 10
    assert in_order(data, 10)[:, 0, 0, 0] * 0.226 + 0.449 == pytest.approx(
        np.arange(1, 11) * 100 / 1023, abs=1 / 255
    )
    assert "white is 1,023 (10 bits)" in data.notes[0]
    clear = [picture((0, 0, 0, 0), "RGBA"), *[picture((i, 0, 0)) for i in range(9)]]
    data = loaded({"image": clear, "label": ["a", "b"] * 5})
    assert data.notes == ("1 image is transparent, and put on white: 0",)
    with pytest.raises(ItemChanged, match="reads 0 otherwise"):
        loaded({"image": clear, "label": ["a", "b"] * 5}, reading=1)
