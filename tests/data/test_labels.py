import datetime
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet as pq

from baldur.data import from_arrays, in_memory, load
from baldur.data.classes import coded
from baldur.data.labels import Rules, label_names, ordered, rules_of
from baldur.errors import InvalidArgument, InvalidLabel

ENOUGH = 8  # copies of each label, so that a split is possible


def of_manifest(values, path, **told):
    lines = ["path,label", *(f"{i}.png,{'' if v is None else v}" for i, v in enumerate(values))]
    (path / "m.csv").write_text("\n".join(lines) + "\n")
    return read_listing(path / "m.csv", told)


def of_json(values, path, **told):
    rows = (json.dumps({"path": f"{i}.png", "label": v}) for i, v in enumerate(values))
    (path / "m.jsonl").write_text("\n".join(rows))
    return read_listing(path / "m.jsonl", told)


def read_listing(file, told):
    from baldur.data.listing import from_manifest

    listing = from_manifest(file, rules_of(**told))
    return sorted({item.label for item in listing.items if item.label}), [
        item.label for item in sorted(listing.items, key=lambda item: int(item.id[:-4]))
    ]


def of_data(data):
    names = (*data.classes, "")
    found = dict(zip(data.train.ids, data.labels.tolist(), strict=True))
    found |= dict(zip(data.test.ids, data.test_labels.tolist(), strict=True))
    return sorted(data.classes), [names[found[str(i)]] for i in range(len(found))]


def of_table(values, path, **told):
    rng = np.random.default_rng(0)
    lines = ["x,label", *(f"{rng.normal()},{'' if v is None else v}" for v in values)]
    (path / "t.csv").write_text("\n".join(lines) + "\n")
    return of_data(load(str(path / "t.csv"), **told))


def of_parquet(values, path, **told):
    x = np.random.default_rng(0).normal(size=len(values))
    pq.write_table(pa.table({"label": values, "x": x}), path / "t.parquet")
    return of_data(load(str(path / "t.parquet"), cache=path / "cache", **told))


def of_npz(values, path, **told):
    y = np.array([np.nan if v is None else v for v in values]) if None in values else np.array(values)
    np.savez(path / "d.npz", x=np.random.default_rng(0).normal(size=(len(values), 2)), y=y)
    return of_data(load(str(path / "d.npz"), **told))


def of_arrays(values, path, **told):
    pool = from_arrays(np.zeros((len(values), 2)))
    return of_data(in_memory(pool, values, test_fraction=0.25, **told))


def of_series(values, path, **told):
    return of_arrays(pd.Series(values), path, **told)


FORMATS = [of_manifest, of_json, of_table, of_parquet, of_npz, of_arrays, of_series]


@pytest.mark.parametrize("read", FORMATS)
@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1, 2], ["1", "2"]),
        ([-1, 1], ["-1", "1"]),
        ([-2, -1, 0], ["-1", "-2", "0"]),
        ([5, 0, 300], ["0", "300", "5"]),
        ([True, False], ["False", "True"]),
        (["cat", "dog"], ["cat", "dog"]),
        ([1, 2, None], ["1", "2"]),
        ([2**62, 2**62 + 1], [str(2**62), str(2**62 + 1)]),
        ([-(2**63), 2**63 - 1], [str(-(2**63)), str(2**63 - 1)]),
        ([0.1 + 0.2, 0.3], ["0.3", "0.30000000000000004"]),
        ([1e-300, 2e-300], ["1e-300", "2e-300"]),
    ],
)
def test_the_classes_are_the_values_that_occur(read, values, classes, tmp_path):
    found, names = read(values * ENOUGH, tmp_path)
    assert found == classes
    assert names == ["" if v is None else str(v) for v in values] * ENOUGH


@pytest.mark.parametrize(
    "day", ["2020-{:02d}-{:02d}", "2020-{:02d}-{:02d} 12:30:00", "{}.{}.2020", "{}/{}/20"]
)
def test_many_dates_are_asked_about(day):
    days = [day.format(1 + i % 5, 1 + i % 7) for i in range(70)]
    with pytest.raises(InvalidLabel, match="35 different dates, but a run learns classes"):
        coded([days], "d", Rules())
    assert len(coded([days], "d", rules_of(task="classification")).classes) == 35
    assert len(coded([days[:14]], "d", Rules()).classes) == 14


def test_one_missing_label_has_its_own_verb():
    assert coded([["a", "b", ""]], "d", Rules()).notes == ("1 of 3 items has no label (empty: 1)",)


def test_numbers_of_many_digits_are_compared_as_they_are_written():
    parts = [np.array([2**63 + 1], np.uint64), np.array([-(2**63), 5])]
    assert coded(parts, "d", Rules()).classes == (str(-(2**63)), "5", str(2**63 + 1))
    many = ["1" * 5000, "2" * 5000, "1e9999", "2e9999", "1e99999999999999999999"]
    assert set(coded([many], "d", Rules()).classes) == set(many)
    with pytest.raises(InvalidLabel, match="same number"):
        coded([["0.10", "1e-1"]], "d", Rules())
    assert coded([torch.tensor([1.0, 2.0], dtype=torch.bfloat16)], "d", Rules()).classes == ("1", "2")


@pytest.mark.parametrize(
    "days",
    [
        np.array(["2020-01-02", "2020-01-03"], "datetime64[D]"),
        np.array(["2020-01-02", "2020-01-03"], "datetime64[ns]"),
        pd.Series(pd.to_datetime(["2020-01-02", "2020-01-03"])),
        [datetime.date(2020, 1, 2), datetime.date(2020, 1, 3)],
        np.array([1, 2], "timedelta64[s]"),
    ],
    ids=["days", "nanoseconds", "pandas", "dates", "durations"],
)
def test_dates_are_no_labels(days):
    with pytest.raises(
        InvalidLabel, match=r"position 0: the label is the date or time .* give them as texts"
    ):
        coded([days], "d", Rules())


@pytest.mark.parametrize("read", FORMATS)
@pytest.mark.parametrize("values", [[-1, 0, 1], [-1, 0, 1, 2], [-1, 0], [-1, 1, 2]])
def test_minus_one_beside_codes_is_asked_about(read, values, tmp_path):
    with pytest.raises(InvalidLabel, match=r"Is -1 a class, or a missing label.*missing=-1.*--missing"):
        read(values * ENOUGH, tmp_path)
    others = sorted({str(v) for v in values} - {"-1"})
    assert read(values * ENOUGH, tmp_path, missing=-1)[0] == others
    assert read(values * ENOUGH, tmp_path, missing="")[0] == ["-1", *others]


@pytest.mark.parametrize("read", [of_manifest, of_json, of_table, of_parquet])
@pytest.mark.parametrize("word", ["", "nan", "NaN", "NA", "null", "None", " NA "])
def test_texts_that_mean_missing(read, word, tmp_path):
    assert read(["a", "b", word] * ENOUGH, tmp_path) == (["a", "b"], ["a", "b", ""] * ENOUGH)
    if word.strip():
        assert read(["a", "b", word] * ENOUGH, tmp_path, missing=["", "?"])[0] == sorted(
            ["a", "b", word.strip()]
        )
    assert read(["a", "b", "?"] * ENOUGH, tmp_path, missing=["", "?"])[0] == ["a", "b"]


@pytest.mark.parametrize("read", FORMATS)
def test_amounts_are_no_classes(read, tmp_path):
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=60).round(3), rng.integers(50, 350, 300), np.arange(1, 30).repeat(4)):
        with pytest.raises(InvalidLabel, match=r"look like amounts.*task=\"classification\""):
            read(values.tolist(), tmp_path)
    found, _ = read(rng.integers(50, 90, 300).tolist(), tmp_path, task="classification")
    assert len(found) > 24
    codes = np.arange(100).repeat(6).tolist()
    assert len(read(codes, tmp_path)[0]) == 100


def test_ids_are_no_classes(tmp_path):
    with pytest.raises(InvalidLabel, match=r"40 different texts for 40 items.*ids or free text"):
        of_manifest([f"name {i}" for i in range(40)], tmp_path)


def test_a_number_is_one_class_however_it_is_written(tmp_path):
    assert of_json([1, 1.0, 2] * ENOUGH, tmp_path)[0] == ["1", "2"]
    assert of_json([1, "1", 2] * ENOUGH, tmp_path)[0] == ["1", "2"]
    with pytest.raises(InvalidLabel, match=r"labels '1' \(line 2\) and '1.0' \(line 3\), .* same number"):
        of_manifest(["1", "1.0", "2"], tmp_path)


def test_missing_labels_are_counted_and_likely_twins_are_named():
    values = ["a", "b", "", "NA", "NA", "A"]
    _, _, notes = coded([values], "d", Rules())
    assert notes == (
        "3 of 6 items have no label (NA: 2, empty: 1)",
        "the classes 'A' and 'a' differ only in case or spaces",
    )


def test_the_rules_of_the_first_version():
    (codes,), classes, notes = coded([[2, -1, 1]], "d", Rules(reading=1))
    assert (codes.tolist(), classes, notes) == ([2, -1, 1], ("0", "1", "2"), ())
    named = label_names(["NA", "", "1", "1.0"], "d", Rules(reading=1), str)
    assert named == (["NA", "", "1", "1.0"], ())


def test_what_is_no_label_is_named():
    for value in (np.inf, object(), b"\xff"):
        with pytest.raises(InvalidLabel, match="row 1: the label is"):
            label_names(["a", value], "d", Rules(), lambda i: f"row {i}")
    with pytest.raises(InvalidArgument, match="not 'regression'"):
        rules_of(task="regression")


def test_classes_that_are_numbers_are_sorted_as_numbers():
    assert ordered(["10", "9", "10"]) == ("9", "10")
    assert ordered(["b", "10", "9"]) == ("10", "9", "b")


def test_a_class_that_may_mean_missing_is_named():
    _, classes, notes = coded([["N/A", "a", "b", "NA"]], "d", Rules())
    assert classes == ("N/A", "a", "b")
    assert notes[-1] == (
        "'N/A' counts as a class; if it means a missing label, give --missing 'NA' --missing 'N/A'"
    )
    assert coded([["N/A", "a", "b"]], "d", rules_of("NA")).notes == ()


def test_labels_without_an_axis_and_masked_labels_are_refused():
    with pytest.raises(InvalidLabel, match=r"one label for each item was expected, shape \(N,\), not 3"):
        coded([3], "d", Rules())
    with pytest.raises(InvalidLabel, match="masked array; fill it"):
        coded([np.ma.masked_equal([0, 1, 2], 1)], "d", Rules())
