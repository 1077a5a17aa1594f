import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from baldur.data.columns import TablePool, fit, found_in, from_json
from baldur.errors import InvalidArgument, InvalidData
from baldur.testing import verify_pool

N = 80


def table(seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": np.where(rng.random(N) < 0.2, np.nan, rng.normal(50, 10, N)),
            "time": 1.6e9 + rng.normal(size=N),
            "colour": rng.choice(["red", "green", "blue"], N),
            "yes": rng.random(N) < 0.5,
            "code": pd.array(rng.integers(0, 9, N), "Int64"),
        }
    )


def fitted(frame, positions=None, standardise=True):
    found, rows = found_in({name: frame[name].to_numpy() for name in frame})
    at = np.arange(len(frame)) if positions is None else positions
    columns, notes = fit(found, rows, at, standardise, "t")
    return TablePool(rows, found, columns, tuple(map(str, range(len(frame))))), columns, notes


def everything(pool):
    ((_, x),) = pool.batches(np.arange(len(pool)), 10_000)
    return x.numpy()


def test_inputs_are_those_of_scikit_learn_fitted_to_the_pool_alone():
    frame, pool_rows = table(), np.arange(0, N, 2)
    pool, columns, notes = fitted(frame, pool_rows)
    numbers, train = ["age", "time", "yes", "code"], frame.iloc[pool_rows]
    oracle = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), numbers),
            ("c", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["colour"]),
        ]
    ).fit(train.astype(dict.fromkeys(numbers, float)))
    expected = oracle.transform(frame.astype(dict.fromkeys(numbers, float)))
    assert everything(pool) == pytest.approx(expected, abs=1e-5)
    assert columns.names == (*numbers, "colour")
    changed = frame.copy()
    changed.loc[np.arange(1, N, 2), "age"] = 1e6  # of rows outside of the pool
    assert fitted(changed, pool_rows)[1] == columns
    missing = int(train["age"].isna().sum())
    assert notes == (f"{missing} missing numbers of the pool (age) are filled with the median",)
    verify_pool(pool)


def test_new_rows_are_found_by_name_in_any_order_and_unknown_values_are_ignored():
    frame = table()
    pool, columns, _ = fitted(frame)
    kept = from_json(json.loads(json.dumps(columns.as_json())))
    assert kept == columns
    mixed = frame[["yes", "colour", "code", "time", "age"]].assign(more=1)
    assert (kept.rows(mixed) == everything(pool)).all()
    assert (kept.rows({name: frame[name].tolist() for name in frame}) == everything(pool)).all()
    strange = kept.rows(frame.assign(colour="violet"))
    assert (strange[:, -3:] == 0).all()
    with pytest.raises(InvalidArgument, match="lacks the columns age, colour; it has time, yes, code"):
        kept.rows(frame.drop(columns=["age", "colour"]))
    with pytest.raises(InvalidArgument, match="age was learned as numbers, but it has 'old'"):
        kept.rows(frame.assign(age="old"))
    with pytest.raises(InvalidArgument, match="expected a data frame"):
        kept.rows(frame.to_numpy())


def test_without_standardisation_numbers_stay():
    frame = table()
    pool, columns, _ = fitted(frame, standardise=False)
    filled = frame["age"].fillna(frame["age"].median())
    assert everything(pool)[:, 0] == pytest.approx(filled.to_numpy(), rel=1e-6)
    assert {(n.mean, n.scale) for n in columns.numbers} == {(0.0, 1.0)}


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        *((name, [3, 1, 2] * 10, "a column without a name; give it one") for name in ("", "Unnamed: 0")),
        *((name, [3, 1, 2] * 10, "an id, by its name") for name in ("id", "ID", "Patient_ID", "customerId")),
        *((name, [3, 1, 2] * 10, "an id, by its name") for name in ("index", "label_idx", "uuid")),
        ("n", range(30), "the number of the row"),
        ("n", range(1, 31), "the number of the row"),
        ("c", ["x"] * 30, "a column with one value only"),
        ("c", [2.5] * 30, "a column with one value only"),
        ("c", [None] * 30, "a column without values"),
        ("c", [f"text {i}" for i in range(30)], "text or an id: 30 different values in 30 rows"),
        ("c", pd.date_range("2020", periods=30).to_numpy(), "a date; give numbers, such as"),
        *(
            (name, [3, 1, 2] * 10, "")
            for name in ("idea", "paid", "body_mass_index", "width", "valid", "indexed")
        ),
        ("c", [1.5, None, 2] * 10, ""),
        ("c", [1.0, np.inf, 2] * 10, ""),
        ("c", [f"kind {i % 21}" for i in range(30)], "text"),
        ("c", [f"kind {i % 15}" for i in range(30)], ""),
        ("c", ["1", "2", "?"] * 10, ""),
        ("c", ["1", "2", "many"] * 10, ""),
        ("c", [True, False, None] * 10, ""),
    ],
)
def test_columns_that_are_no_inputs(name, values, why):
    other = np.random.default_rng(0).normal(size=30)
    found, rows = found_in({name: values if isinstance(values, np.ndarray) else list(values), "other": other})
    columns, notes = fit(found, rows, np.arange(30), True, "t")
    assert columns.names == (("other",) if why else columns.names)
    assert ("other" in columns.names, len(columns.names)) == (True, 1 if why else 2)
    told = dict(columns.left_out).get(name, "")
    assert told.startswith(why) if why else told == ""
    assert any(f"left out: {name} ({why}" in note for note in notes) == bool(why)


def test_some_column_must_be_an_input():
    found, rows = found_in({"id": [1, 2, 3], "c": [1, 1, 1]})
    with pytest.raises(InvalidData, match="id is an id, by its name; c is a column with one value only"):
        fit(found, rows, np.arange(3), True, "t")


@pytest.mark.parametrize("n", [19, 30, 300])
def test_a_text_that_differs_in_each_row_is_no_input(n):
    frame = pd.DataFrame({"filename": [f"img{i}.png" for i in range(n)], "a": np.arange(n) % 7})
    assert fitted(frame)[1].left_out == (("filename", f"text or an id: {n} different values in {n} rows"),)


def test_a_cell_that_makes_numbers_to_text_is_named():
    rng = np.random.default_rng(0)
    for strange in ("hello", "inf", "1,5"):
        values = [f"{v:.3f}" for v in rng.normal(size=N)]
        values[7] = strange
        frame = pd.DataFrame({"dose": values, "a": rng.normal(size=N)})
        assert fitted(frame)[1].left_out == (
            ("dose", f"numbers, but also {strange!r}; correct or empty such cells"),
        )


def test_a_column_of_missing_texts_has_no_values():
    frame = pd.DataFrame({"a": np.arange(N) % 7, "b": ["NA", ""] * (N // 2)})
    assert fitted(frame)[1].left_out == (("b", "a column without values"),)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300, -1e39])
def test_a_number_that_float32_does_not_hold_counts_as_missing_and_is_named(value):
    found, rows = found_in(
        {"a": np.arange(9.0) ** 2, "dose": np.array([3.0, 1, 4, 1, 5, 9, 2, value, value])}
    )
    for positions, lost in (
        (np.arange(9), 2),
        (np.arange(8), 1),
        (np.arange(7), 0),
    ):  # also where only test rows do
        columns, notes = fit(found, rows, positions, True, "d")
        assert notes[0] == "2 infinite or too large values of the column dose count as missing"
        assert (f"{lost} missing" in " ".join(notes)) == bool(lost)
        assert np.isfinite(columns.rows({"a": np.ones(2), "dose": np.array([value, 3.0])})).all()
        assert abs(columns.numbers[1].mean - (25 + 3 * lost) / (7 + lost)) < 1e-9


def test_a_text_among_the_numbers_of_test_rows_leaves_the_column_out():
    found, rows = found_in({"a": np.arange(30.0) ** 2, "b": [*map(str, range(1, 30)), "inf"]})
    _, notes = fit(found, rows, np.arange(29), True, "d")
    assert notes == ("left out: b (numbers, but also 'inf'; correct or empty such cells)",)


def test_a_column_of_lists_is_named():
    found, rows = found_in({"a": np.arange(30.0) ** 2, "b": [[i, 2 * i] for i in range(30)]})
    assert fit(found, rows, np.arange(30), True, "d")[1][0].startswith(
        "left out: b (lists; give a column for each number"
    )
