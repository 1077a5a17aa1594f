import json

import numpy as np
import pandas as pd

from baldur.data import Dataset, from_arrays, in_memory, load
from baldur.data.labels import Rules
from baldur.data.scaling import scaled
from baldur.data.tables import from_table
from baldur.data.understood import lines, understood

RNG = np.random.default_rng(0)


def test_a_table_in_a_few_lines():
    table = {
        "id": list(range(40)),
        "age": [None if i == 3 else i * i for i in range(40)],
        "colour": ["red", "green"] * 20,
    }
    labels = ["a"] * 20 + ["b"] * 18 + ["NA"] * 2
    data = from_table("t", table, labels, test_fraction=0.25, rules=Rules())
    said = lines(data)
    assert said[:3] == [
        "task: classification, 2 classes (a: 20, b: 18)",
        "items: 40, 2 of them without a label; 30 in the pool, 10 for testing",
        "inputs: 1 column of numbers (age) and 1 column of categories (colour: 2 values), as 3 numbers",
    ]
    assert "2 of 40 items have no label (NA: 2)" in said
    assert "left out: id (an id, by its name)" in said
    told = json.loads(json.dumps(understood(data)))
    assert told["classes"] == {"a": 20, "b": 18}
    assert told["inputs"]["categories"] == {"colour": ["green", "red"]}
    assert (told["left_out"], told["unlabelled"], told["task"]) == (
        {"id": "an id, by its name"},
        2,
        "classification",
    )


def test_vectors_and_arrays_and_trees():
    y = np.arange(40) % 2
    for x, says in (
        (RNG.normal(size=(40, 3)), "inputs: vectors of 3 numbers (float32)"),
        (RNG.normal(size=(40, 1)), "inputs: vectors of 1 number (float32)"),
        (RNG.normal(size=(40, 2, 3)), "inputs: arrays of 2 × 3 (float32)"),
        (RNG.normal(size=40), "inputs: single numbers"),
        ({"a": np.zeros((40, 2))}, "inputs: several tensors for each item"),
    ):
        assert lines(in_memory(from_arrays(x), y, test_fraction=0.25))[2] == says
    vectors = scaled(in_memory(from_arrays(RNG.normal(size=(40, 3))), y, test_fraction=0.25))
    assert lines(vectors)[2] == "inputs: vectors of 3 numbers (float32), standardised"
    assert lines(load("digits"))[2] == "inputs: images of 1 × 8 × 8 (channels, height, width)"


def test_long_lists_are_shortened():
    y = np.arange(100).repeat(6)
    x = pd.DataFrame({f"c{i}": RNG.normal(size=600) for i in range(30)})
    said = lines(from_table("t", {c: x[c].to_numpy() for c in x}, y, test_fraction=0.2, rules=Rules()))
    assert (
        said[0]
        == "task: classification, 100 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more; 6 items each)"
    )
    assert "c9 and 20 more), as 30 numbers" in said[2]


def test_items_that_are_left_out_and_equal_ones_are_counted():
    base = in_memory(from_arrays(np.zeros((12, 2))), np.arange(12) % 2, test_fraction=0.25)
    bad = tuple((f"{i}.png", "is no image") for i in range(8))
    data = Dataset(
        "d",
        base.train,
        base.labels,
        base.test,
        base.test_labels,
        ("a", "b"),
        {},
        (),
        bad,
        (("x", "y"), ("p", "q")),
    )
    said = lines(data)
    assert said[2] == "inputs: items as the data set gives them"
    assert said[3:] == ["2 groups of items have equal content, such as x, y"]
    assert len(understood(data)["unreadable"]) == 8
