"""Items that come later: old items keep their ids, places and preprocessing, whatever the format."""

import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.data.test_labelling import BOTH, PIXELS, SOME, Inputs, opened, png, table

from baldur.data import load_for_labelling, with_added
from baldur.data.growing import Joined, contents_of
from baldur.data.origins import records_of
from baldur.data.pictures import picture_of
from baldur.data.scaling import scaled
from baldur.errors import InvalidData, InvalidLabel, ItemChanged
from baldur.testing import verify_pool

RNG = np.random.default_rng(5)
OLD, NEW = RNG.normal(size=(6, 4)).astype(np.float32), RNG.normal(size=(5, 4)).astype(np.float32)
MORE = RNG.integers(0, 256, (5, 8, 8, 3), np.uint8)


def folder(at, rows, prefix=""):
    at.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(rows):
        (at / f"{prefix}{i}.png").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(at / f"{prefix}{i}.png")
    return at


def frame(rows):
    return pd.DataFrame(
        {"u": rows[:, 0], "v": rows[:, 1], "kind": ["p", "q", "p", "q", "p", "r"][: len(rows)]}
    )


def kept(what, at, suffix):
    at.mkdir(parents=True, exist_ok=True)
    path = at / f"t{suffix}"
    if suffix == ".csv":
        what.to_csv(path, index=False)
    elif suffix == ".jsonl":
        what.to_json(path, orient="records", lines=True)
    elif suffix == ".parquet":
        what.to_parquet(path)
    elif suffix == ".npz":
        np.savez(path, x=what)
    else:
        np.save(path, what)
    return path


# for each format: old items, and new ones of which the last is an old one
SOURCES = {
    "folder": lambda at, rows: folder(at, rows),
    "Parquet of images": lambda at, rows: kept(
        pd.DataFrame({"image": [png(r) for r in rows]}), at, ".parquet"
    ),
    "npz of images": lambda at, rows: kept(rows, at, ".npz"),
    "images": lambda at, rows: rows.copy(),
    "CSV": lambda at, rows: kept(frame(rows), at, ".csv"),
    "JSONL": lambda at, rows: kept(frame(rows), at, ".jsonl"),
    "Parquet": lambda at, rows: kept(frame(rows), at, ".parquet"),
    "data frame": lambda at, rows: frame(rows),
    "npy": lambda at, rows: kept(rows, at, ".npy"),
    "array": lambda at, rows: rows.copy(),
    "tensor": lambda at, rows: torch.from_numpy(rows.copy()),
    "data set of PyTorch": lambda at, rows: Inputs(rows=rows),
}


def made(kind, at):
    images = "images" in kind or kind == "folder"
    old, new = (PIXELS, MORE) if images else (OLD, NEW)
    return SOURCES[kind](at / "old", old), SOURCES[kind](at / "new", np.concatenate([old[:1], new[1:]]))


def inputs(dataset):
    return torch.cat([x for _, x in dataset.train.batches(np.arange(len(dataset.train)), 4)])


@pytest.mark.parametrize("kind", SOURCES)
def test_added_items_follow_and_copies_are_named(kind, tmp_path):
    old, new = made(kind, tmp_path)
    first = opened(old, tmp_path, classes=BOTH)
    both = with_added(first, new, 1, cache=tmp_path / "cache", image_size=8)
    n = len(first.train)
    assert list(both.train.ids)[:n] == list(first.train.ids)
    added = list(both.train.ids)[n:]
    assert [id.removeprefix("added-1/").removesuffix(".png") for id in added] == ["1", "2", "3", "4"]
    assert len({*both.train.ids}) == len(both.train) == len(both.labels) == 10
    (left_out,) = both.quarantined
    zero = first.train.ids[0]
    assert left_out == (f"added-1/{zero}", f"is equal to {zero}, which is there already")
    assert (
        f"1 item is left out, equal to an item that is there already: added-1/{zero} = {zero}" in both.notes
    )
    assert (inputs(both)[:n] == inputs(first)).all()
    assert (both.classes, both.preprocessing, len(both.test)) == (first.classes, first.preprocessing, 0)
    verify_pool(both.train)
    records = list(records_of(both))
    assert [r.id for r in records] == list(both.train.ids)
    assert records[:n] == list(records_of(first))
    if "images" in kind or kind == "folder":
        for position, i in zip(range(n, n + 4), range(1, 5), strict=True):
            assert (np.asarray(Image.open(io_of(picture_of(both, position)))) == MORE[i]).all()

    # read again as a whole, in the order of the run, from places that moved
    moved = tmp_path / "elsewhere"
    if hasattr(old, "exists"):
        for place in ("old", "new"):
            shutil.move(tmp_path / place, moved / place)
        old, new = (moved / place.relative_to(tmp_path) for place in (old, new))
    known = {r.id: (r.sha256, r.size, r.mtime_ns) for r in records if r.size is not None}
    again = opened(
        old, tmp_path, classes=BOTH, added=[new], order=both.train.ids, kept=both.preprocessing, known=known
    )
    assert list(again.train.ids) == list(both.train.ids)
    assert (inputs(again) == inputs(both)).all()
    assert {i: why.split(",")[0] for i, why in again.quarantined} == {
        i: why.split(",")[0] for i, why in both.quarantined
    }


def io_of(content):
    import io

    return io.BytesIO(content)


@pytest.mark.parametrize("kind", [kind for kind in SOURCES if kind not in ("data set of PyTorch",)])
def test_a_source_that_grew_has_its_new_items_at_the_end(kind, tmp_path):
    images = "images" in kind or kind == "folder"
    old, new = (PIXELS, MORE) if images else (OLD, NEW)
    first = opened(SOURCES[kind](tmp_path / "a", old), tmp_path, classes=BOTH)
    rows = (
        np.concatenate([old, new, old[:1]]) if kind not in ("CSV", "JSONL", "Parquet", "data frame") else None
    )
    if kind == "folder":
        grown = folder(folder(tmp_path / "a", new, "0-before-all-others-"), old[:1], "copy-")
        names = [f"0-before-all-others-{i}.png" for i in range(5)]
    elif rows is None:
        whole = pd.concat([frame(old), frame(new), frame(old)[:1]], ignore_index=True)
        grown = (
            whole
            if kind == "data frame"
            else kept(whole, tmp_path / "b", {"CSV": ".csv", "JSONL": ".jsonl"}.get(kind, ".parquet"))
        )
        names = [str(i) for i in range(6, 11)]
    else:
        grown = SOURCES[kind](tmp_path / "b", rows)
        names = [str(i) for i in range(6, 11)]
    known = {r.id: (r.sha256, r.size, r.mtime_ns) for r in records_of(first) if r.size is not None}
    again = opened(
        grown, tmp_path, classes=BOTH, order=first.train.ids, kept=first.preprocessing, known=known
    )
    assert list(again.train.ids) == [*first.train.ids, *names]
    assert (inputs(again)[:6] == inputs(first)).all()
    assert dict(again.quarantined) == {
        "copy-0.png"
        if kind == "folder"
        else "11": f"is equal to {first.train.ids[0]}, which is there already"
    }
    assert again.preprocessing == first.preprocessing
    assert [r.id for r in records_of(again)] == list(again.train.ids)


def test_files_that_were_sorted_into_folders_are_found_by_their_content(tmp_path):
    first = opened(folder(tmp_path / "a", PIXELS), tmp_path, classes=BOTH)
    known = {r.id: (r.sha256, r.size, r.mtime_ns) for r in records_of(first)}
    (tmp_path / "a" / "owl").mkdir()
    shutil.move(tmp_path / "a" / "3.png", tmp_path / "a" / "owl" / "renamed.png")
    again = opened(
        tmp_path / "a", tmp_path, classes=BOTH, order=first.train.ids, kept=first.preprocessing, known=known
    )
    assert list(again.train.ids) == list(first.train.ids)
    assert again.moved == ("3.png",)
    assert [r.path for r in records_of(again)][3] == str(tmp_path / "a" / "owl" / "renamed.png")
    assert again.labels.tolist() == [-1, -1, -1, 0, -1, -1]


def test_a_missing_or_changed_item_is_named(tmp_path):
    first = opened(folder(tmp_path / "a", PIXELS), tmp_path, classes=BOTH)
    told = {"order": first.train.ids, "kept": first.preprocessing, "classes": BOTH}
    told["known"] = {r.id: (r.sha256, r.size, r.mtime_ns) for r in records_of(first)}
    (tmp_path / "a" / "3.png").unlink()
    with pytest.raises(ItemChanged, match=r"3\.png is no longer there"):
        opened(tmp_path / "a", tmp_path, **told)
    Image.fromarray(MORE[0]).save(tmp_path / "a" / "3.png")
    with pytest.raises(ItemChanged, match=r"3\.png is no longer the file"):
        opened(tmp_path / "a", tmp_path, **told)
    with pytest.raises(
        ItemChanged, match="the run has the item 4 and 1 more items, which the data no longer have"
    ):
        load_for_labelling(OLD[:4], classes=BOTH, order=[str(i) for i in range(6)])


def test_new_items_are_prepared_as_the_old_ones(tmp_path):
    grey = np.ascontiguousarray(PIXELS[..., 0])
    first = opened(folder(tmp_path / "a", grey), tmp_path, classes=BOTH)
    assert first.preprocessing["mode"] == "L"
    both = with_added(first, folder(tmp_path / "b", MORE), 1, cache=tmp_path / "cache", image_size=8)
    assert inputs(both).shape == (11, 1, 8, 8)
    weights = np.array([0.299, 0.587, 0.114])
    expected = ((MORE @ weights) / 255 - 0.449) / 0.226
    assert inputs(both)[6:, 0].numpy() == pytest.approx(expected, abs=1e-5)
    colour = opened(folder(tmp_path / "c", PIXELS), tmp_path, classes=BOTH)
    assert (
        inputs(
            with_added(colour, folder(tmp_path / "d", grey[:2] // 2), 1, cache=tmp_path, image_size=8)
        ).shape[1]
        == 3
    )


def test_tables_keep_their_columns_and_scales(tmp_path):
    first = load_for_labelling(frame(OLD), classes=BOTH)
    new = frame(NEW * 100).assign(kind=["p", "new", "q", "r", "p"])[["kind", "v", "u"]]
    both = with_added(first, new, 1)
    assert inputs(both).shape == (11, inputs(first).shape[1])
    assert both.notes[-1].endswith("the column kind has new values, which count as no known value: new")
    number = first.preprocessing["columns"]["numbers"][0]
    assert inputs(both)[6:, 0].numpy() == pytest.approx(
        (NEW[:, 0] * 100 - number["mean"]) / number["scale"], rel=1e-4
    )
    with pytest.raises(InvalidData, match="lacks the columns v"):
        with_added(first, new.drop(columns="v"), 1)
    with pytest.raises(InvalidData, match="the column u as numbers, but it has 'high'"):
        with_added(first, new.assign(u=["high"] * 5), 1)


def test_scaled_data_grow_too():
    first = scaled(load_for_labelling(OLD * 50, classes=BOTH))
    both = with_added(first, NEW * 50, 1)
    mean, std = (np.array(first.preprocessing["scaling"][name]) for name in ("mean", "std"))
    assert inputs(both)[6:].numpy() == pytest.approx((NEW * 50 - mean) / std, rel=1e-4)
    assert len(with_added(first, OLD[:2] * 50, 1).train) == 6


def test_several_additions_and_groups(tmp_path):
    first = opened(pd.DataFrame(table(SOME, group=list("aabbcc"))), tmp_path)
    second = with_added(first, frame(NEW).assign(text="x", group=list("defga")), 1)
    third = with_added(second, (frame(NEW + 1).assign(text="y"), ["tit", None, None, None, "owl"]), 2)
    assert third.labels.tolist()[-5:] == [1, -1, -1, -1, 0]
    assert third.train.groups[6:] == [*"defga", *(f"added-2/{i}" for i in range(5))]
    assert third.train.ids[11] == "added-2/0"
    assert len(contents_of(third)) == 16
    assert with_added(third, frame(NEW + 1).assign(text="y"), 3).train.ids == third.train.ids
    with pytest.raises(InvalidLabel, match="the labels bat, which are not among the classes owl, tit"):
        with_added(first, (frame(NEW).assign(text="x"), ["bat"] * 5), 1)


def test_one_image_is_a_place(tmp_path):
    first = opened(folder(tmp_path / "a", PIXELS), tmp_path, classes=BOTH)
    folder(tmp_path / "b", MORE)
    both = with_added(first, tmp_path / "b" / "3.png", 4, cache=tmp_path / "cache", image_size=8)
    assert list(both.train.ids)[6:] == ["added-4/3.png"]
    inside = with_added(first, tmp_path / "a" / "2.png", 1, cache=tmp_path / "cache", image_size=8)
    assert (len(inside.train), inside.quarantined) == (
        6,
        (("added-1/2.png", "is equal to 2.png, which is there already"),),
    )


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (OLD, NEW[:, :3], r"items of shape \(3,\), and the run items of \(4,\)"),
        (PIXELS, MORE / np.float32(255), "values from 0 to 1, but the values of the run are larger"),
        (PIXELS / np.float32(255), MORE, "values up to 255, but the values of the run are from 0 to 1"),
        (PIXELS, OLD, "shape"),
        (OLD, frame(NEW), "inputs of the kind table, but the run began with the kind array"),
        (frame(OLD), NEW, "began with the kind table"),
        (PIXELS, "digits", "the form"),
        ({"a": torch.from_numpy(OLD)}, {"b": torch.from_numpy(NEW[:, :2])}, "the form"),
    ],
)
def test_items_of_another_form_are_refused(first, second, says):
    with pytest.raises((InvalidData, InvalidLabel), match=says):
        with_added(load_for_labelling(first, classes=[str(i) for i in range(10)]), second, 1)


def test_ids_that_begin_like_added_ones(tmp_path):
    first = opened(folder(tmp_path / "a" / "added-1", PIXELS).parent, tmp_path, classes=BOTH)
    assert first.train.ids[0] == "added-1/0.png"
    with pytest.raises(InvalidData, match="begins like those of added items"):
        with_added(first, folder(tmp_path / "b", MORE), 1, cache=tmp_path / "cache", image_size=8)


def test_joined_pools_obey_the_contract():
    from baldur.data import from_arrays

    verify_pool(Joined(from_arrays(OLD), from_arrays(NEW), tuple("abcdefghijk")))
    trees = [from_arrays({"x": rows, "n": np.arange(len(rows))}) for rows in (OLD, NEW)]
    pool = Joined(*trees, tuple("abcdefghijk"))
    order = np.array([7, 2, 9, 0, 10, 1])
    ((_, x),) = pool.batches(order, 6)
    assert x["x"].numpy().tolist() == np.concatenate([OLD, NEW])[order].tolist()
    assert x["n"].tolist() == [1, 2, 3, 0, 4, 1]
