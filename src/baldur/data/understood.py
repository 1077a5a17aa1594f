"""Says in a few lines how a data set was understood."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from baldur.core.sizes import counted
from baldur.data.dataset import Dataset

_MOST = 10  # classes, columns and values that a line names


def understood(dataset: Dataset) -> dict[str, Any]:
    """How a data set was understood.

    Args:
        dataset: The data set.

    Returns:
        Values that JSON can hold: "task", "items", "pool", "test", "unlabelled", "classes" with the number of items of
        each, "inputs", "left_out" (columns, with the reason), "unreadable" (items, with the reason), "duplicates"
        (groups of equal items) and "notes".
    """
    labels = np.concatenate([dataset.labels, dataset.test_labels])
    counts = np.bincount(labels[labels >= 0], minlength=len(dataset.classes)).tolist()
    told = dataset.preprocessing
    columns = (
        told["columns"] if told.get("kind") == "table" else {"numbers": [], "categories": [], "left_out": []}
    )
    inputs: dict[str, Any] = {"kind": told.get("kind", "array")}
    inputs |= {key: told[key] for key in ("shape", "dtype") if key in told}
    if inputs["kind"] == "table":
        inputs["numbers"] = [number["name"] for number in columns["numbers"]]
        inputs["categories"] = {c["name"]: c["values"] for c in columns["categories"]}
        inputs["texts"] = {t["name"]: len(t["terms"]) for t in columns.get("texts", ())}
    if "mean" in told.get("scaling", {}):
        inputs["scaling"] = "standardised"
    return {
        "name": dataset.name,
        "task": "classification",
        "items": len(labels),
        "pool": len(dataset.labels),
        "test": len(dataset.test_labels),
        "unlabelled": int((labels < 0).sum()),
        "classes": dict(zip(dataset.classes, counts, strict=True)),
        "inputs": inputs,
        "left_out": dict(columns["left_out"]),
        "unreadable": dict(dataset.quarantined),
        "duplicates": len(dataset.duplicates),
        "notes": list(dataset.notes),
    }


def lines(dataset: Dataset) -> list[str]:
    """How a data set was understood, as lines of text.

    Args:
        dataset: The data set.

    Returns:
        A few lines.
    """
    told = understood(dataset)
    missing = f", {told['unlabelled']:,} of them without a label" if told["unlabelled"] else ""
    said = [
        f"task: classification, {counted(len(told['classes']), 'class', 'classes')} ({_counted(told['classes'])})",
        f"items: {told['items']:,}{missing}; {told['pool']:,} in the pool, {told['test']:,} for testing",
        f"inputs: {_inputs(told['inputs'])}",
        *told["notes"],
    ]
    if n := told["duplicates"]:
        several = f"{n:,} groups of items have" if n > 1 else "1 group of items has"
        said.append(f"{several} equal content, such as {_some(dataset.duplicates[0], 3)}")
    return said


def _counted(classes: Mapping[str, int]) -> str:
    if len(classes) <= _MOST:
        return ", ".join(f"{name}: {n:,}" for name, n in classes.items())
    low, high = min(classes.values()), max(classes.values())
    several = f"{low:,} to {high:,}" if low < high else f"{low:,}"
    return f"{_some(list(classes), _MOST)}; {several} items each"


def _inputs(told: Mapping[str, Any]) -> str:
    kind, shape = told["kind"], told.get("shape", [])
    size = " × ".join(map(str, shape))
    scaled = f", {told['scaling']}" if "scaling" in told else ""
    if kind == "table":
        numbers, categories = told["numbers"], told["categories"]
        parts = [f"{counted(len(numbers), 'column')} of numbers ({_some(numbers, _MOST)})"] * bool(numbers)
        if categories:
            named = [f"{name}: {counted(len(values), 'value')}" for name, values in categories.items()]
            parts.append(f"{counted(len(categories), 'column')} of categories ({_some(named, _MOST)})")
        if texts := told["texts"]:
            named = [
                f"{name}: {counted(n, 'word or pair of words', 'words and pairs of words')}"
                for name, n in texts.items()
            ]
            parts.append(f"{counted(len(texts), 'column')} of texts ({_some(named, _MOST)})")
        return f"{' and '.join(parts)}, as {counted(prod(shape), 'number')}"
    if kind == "image":
        return f"images of {size} (channels, height, width)"
    if kind == "features":
        return f"features of an encoder, {size} numbers{scaled}"
    if "shape" not in told and kind != "tree":
        return "items as the data set gives them"
    if kind == "tree":
        return "several tensors for each item"
    if len(shape) == 1:
        return f"vectors of {counted(shape[0], 'number')} ({told.get('dtype', 'float32')}){scaled}"
    return f"arrays of {size} ({told.get('dtype', 'float32')})" if shape else "single numbers"


def _some(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")
