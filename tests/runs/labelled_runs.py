"""Runs with labels of awkward names, made through the store alone."""

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from baldur.store import Event, ItemRecord, Store

AWKWARD = ("cat", "Cat", "a/b", "..", "NUL", "dog.", " hen", "Käse", 'a "b", c', "x" * 200, "%2F", "猫")
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda name: name.strip() == name and name not in ("nan", "NaN", "NA", "null", "None")
)


def labelled_run(folder, records, labels, classes=None):
    """A run of one trial in which "ann" gave some labels."""
    store = Store.create(folder, settings="", classes=classes or sorted(set(labels.values())))
    store.record_items(records)
    told = store.trial("bald", 0).tell(
        [Event(f"event {i}", "label", i, "ann", value) for i, value in labels.items()]
    )
    assert not told.refused
    return store


def photographs(folder, n, name="photo.png"):
    """n image files with one name, each in a folder of its own."""
    paths = []
    for i in range(n):
        paths.append(folder / str(i) / name)
        paths[-1].parent.mkdir(parents=True)
        noise = np.random.default_rng(i).integers(0, 256, (9, 7, 3), np.uint8)
        Image.fromarray(noise).save(paths[-1])
    return paths


def run_of_photographs(folder, classes=AWKWARD, each=2):
    """A run with some photographs of each class, and one without a label."""
    paths = photographs(folder / "photos", each * len(classes) + 1)
    records = [
        ItemRecord(f"{p.parent.name}/photo.png", i, str(p), split="train") for i, p in enumerate(paths)
    ]
    labels = {record.id: classes[i % len(classes)] for i, record in enumerate(records[:-1])}
    return labelled_run(folder / "run", records, labels, classes), labels
