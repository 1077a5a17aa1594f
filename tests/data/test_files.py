import os
import shutil

import numpy as np
import pytest
from PIL import Image

from baldur.data import files, images, load
from baldur.errors import InvalidData, ItemChanged


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    return tmp_path / "photos"


@pytest.fixture
def opened(tmp_path, monkeypatch):
    """Loads with a cache of its own; the files that were decoded in the last load."""
    seen = []
    original = images.decode
    monkeypatch.setattr(images, "decode", lambda path, *how: seen.append(path.name) or original(path, *how))

    def load_again(path, **options):
        seen.clear()
        return load(str(path), cache=tmp_path / "cache", image_size=8, **options), sorted(seen)

    return load_again


def everything(pool):
    ((_, x),) = pool.batches(np.arange(len(pool)), 1000)
    return x


def test_photographs_are_normalised_and_known(photos, opened):
    steps = []
    data, decoded = opened(photos, progress=lambda *step: steps.append(step))
    assert (len(data.train), len(data.test), len(decoded)) == (16, 4, 20)
    assert steps[-1] == ("images", 20, 20)
    x = everything(data.train)
    assert x.shape == (16, 3, 8, 8)
    path = photos / data.train.ids[3]
    mean, std = (np.array(data.preprocessing[k]).reshape(3, 1, 1) for k in ("mean", "std"))
    expected = (images.decode(path, 8).pixels / 255 - mean) / std
    assert x[3].numpy() == pytest.approx(expected.astype(np.float32), abs=1e-5)
    record = {r.id: r for r in data.records}[data.train.ids[3]]
    assert (record.path, record.split, record.sha256) == (str(path), "train", images.sha256_of(path))
    assert (record.size, record.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert data.labels.tolist() == [("cat", "dog").index(i.split("/")[0]) for i in data.train.ids]
    assert data.preprocessing["resize"] == "short side, then centre crop"


def test_nothing_is_decoded_twice(photos, opened):
    first, _ = opened(photos)
    second, decoded = opened(photos)
    assert decoded == []
    assert (everything(first.train) == everything(second.train)).all()
    assert second.records == first.records


def test_only_blocks_with_new_files_are_decoded(photos, opened, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK_ITEMS", 4)
    opened(photos)
    shutil.copy(photos / "cat/0.png", photos / "dog/new.png")
    data, decoded = opened(photos)
    assert "new.png" in decoded
    assert len(decoded) <= 8
    assert data.duplicates == (("cat/0.png", "dog/new.png"),)


def test_a_killed_load_goes_on_with_the_block_that_it_was_in(photos, opened, monkeypatch):
    monkeypatch.setattr(files, "_BLOCK_ITEMS", 4)

    def stop(what, done, total):
        if done == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened(photos, progress=stop)
    assert len(opened(photos)[1]) <= 12


def test_an_unreadable_image_is_named_and_the_rest_goes_on(photos, opened):
    (photos / "cat/3.png").write_text("no pixels")
    (photos / "dog/4.png").write_bytes((photos / "dog/4.png").read_bytes()[:200])
    data, _ = opened(photos)
    assert dict(data.quarantined).keys() == {"cat/3.png", "dog/4.png"}
    ids = [*data.train.ids, *data.test.ids]
    assert len(ids) == 18
    assert not {"cat/3.png", "dog/4.png"} & set(ids)
    assert not {"cat/3.png", "dog/4.png"} & {r.id for r in data.records}
    assert everything(data.train).shape[0] + everything(data.test).shape[0] == 18
    assert opened(photos)[1] == []


def test_a_folder_without_one_readable_image_is_refused(tmp_path, opened):
    (tmp_path / "p/cat").mkdir(parents=True)
    (tmp_path / "p/cat/a.png").write_text("no pixels")
    with pytest.raises(InvalidData, match=r"cat/a\.png: not an image"):
        opened(tmp_path / "p")


def test_grey_images_have_one_channel_unless_one_has_colour(photos, opened):
    for path in photos.rglob("*.png"):
        Image.open(path).convert("L").save(path)
    data, _ = opened(photos)
    assert everything(data.train).shape == (16, 1, 8, 8)
    assert (data.preprocessing["mode"], data.preprocessing["mean"]) == ("L", [0.449])
    pixels = images.decode(photos / data.train.ids[0], 8).pixels[:1]
    assert everything(data.train)[0].numpy() == pytest.approx((pixels / 255 - 0.449) / 0.226, abs=1e-5)
    Image.new("RGB", (9, 9), "red").save(photos / "cat/0.png")
    assert everything(opened(photos)[0].train).shape == (16, 3, 8, 8)


def known(data):
    return {r.id: (r.sha256, r.size, r.mtime_ns) for r in data.records}


def test_a_changed_file_is_noticed(photos, opened):
    data, _ = opened(photos)
    os.utime(photos / "cat/1.png")
    opened(photos, known=known(data))
    shutil.copy(photos / "cat/2.png", photos / "cat/1.png")
    with pytest.raises(ItemChanged, match=r"cat/1\.png is no longer the file"):
        opened(photos, known=known(data))


def test_a_change_that_kept_size_and_time_is_noticed_from_the_hash(photos, opened):
    data, _ = opened(photos)
    id, (_, size, mtime) = next(iter(known(data).items()))
    with pytest.raises(ItemChanged, match=id):
        opened(photos, known={id: ("0" * 64, size, mtime)})
    opened(photos, known={id: (None, size, mtime)})


def test_a_deleted_file_is_noticed(photos, opened):
    data, _ = opened(photos)
    (photos / "dog/9.png").unlink()
    with pytest.raises(ItemChanged, match=r"dog/9\.png is no longer there"):
        opened(photos, known=known(data))


def test_what_was_added_since_a_run_began_changes_nothing_in_it(photos, opened):
    (photos / "cat/3.png").write_text("no pixels")
    before, _ = opened(photos)
    Image.new("RGB", (9, 9), "red").save(photos / "cat/3.png")
    (photos / "ant").mkdir()
    Image.new("RGB", (9, 9), "blue").save(photos / "ant/0.png")
    after, _ = opened(photos, known=known(before))
    assert (list(after.train.ids), list(after.test.ids)) == (list(before.train.ids), list(before.test.ids))
    assert (after.classes, after.records) == (before.classes, before.records)
    assert dict(after.quarantined).keys() == {"cat/3.png", "ant/0.png"}
    assert opened(photos)[0].classes == ("ant", "cat", "dog")


def manifest(photos, rows):
    (photos / "m.csv").write_text("path,label,split,group\n" + "\n".join(",".join(row) for row in rows))
    return photos / "m.csv"


def test_groups_of_a_manifest_stay_on_one_side(photos, opened):
    rows = [(f"{c}/{i}.png", c, "", f"p{i // 2}") for c in ("cat", "dog") for i in range(10)]
    data, _ = opened(manifest(photos, rows), test_fraction=0.4)
    assert (len(data.train), len(data.test)) == (12, 8)
    assert not set(data.train.groups) & set(data.test.groups)
    assert {r.group for r in data.records} == {f"p{i}" for i in range(5)}


def test_a_group_in_both_splits_is_refused(photos, opened):
    rows = [("cat/0.png", "cat", "train", "p1"), ("dog/0.png", "dog", "test", "p1")]
    with pytest.raises(InvalidData, match="'p1' has items in both"):
        opened(manifest(photos, rows))


def test_unlabelled_items_stay_in_the_pool_and_missing_files_are_quarantined(photos, opened):
    rows = [(f"cat/{i}.png", "cat" if i else "", "", "") for i in range(10)] + [("gone.png", "cat", "", "")]
    data, _ = opened(manifest(photos, rows))
    assert data.labels[list(data.train.ids).index("cat/0.png")] == -1
    assert data.train.groups is None
    assert dict(data.quarantined) == {"gone.png": "No such file or directory"}


def test_everything_in_test_is_refused(photos, opened):
    with pytest.raises(InvalidData, match="some must be in train"):
        opened(manifest(photos, [("cat/0.png", "cat", "test", "")]))


def test_transparent_and_animated_images_are_named_and_old_runs_refuse_them(photos, opened):
    Image.new("RGBA", (9, 9), (0, 0, 0, 0)).save(photos / "cat/0.png")
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    frames[0].save(photos / "dog/a.gif", save_all=True, append_images=frames[1:])
    data, _ = opened(photos)
    assert data.preprocessing["transparency"] == "on white"
    assert data.notes == (
        "1 image is transparent, and put on white: cat/0.png",
        "1 image is the first of several in a file: dog/a.gif",
    )
    with pytest.raises(ItemChanged, match=r"reads cat/0\.png otherwise"):
        opened(photos, reading=1)
    (photos / "cat/0.png").unlink()
    assert len(opened(photos, reading=1)[0].train) == 16


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_the_range_in_use_is_that_of_all_images(photos, opened, bits):
    rng = np.random.default_rng(0)
    deep = {}
    for i, path in enumerate(sorted(photos.rglob("*.png"))):
        deep[path] = rng.integers(0, 2 ** (bits - 1 - i % 3), (8, 8)).astype(np.uint16)
        deep[path][0, 0] = 2 ** (bits - 1) if i == 7 else 0
        Image.fromarray(deep[path]).save(path)
    data, decoded = opened(photos)
    assert len(decoded) == (20 if bits == 16 else 40)
    assert data.preprocessing["depth"] == bits
    x = everything(data.train)
    for row, id in zip(x, data.train.ids, strict=True):
        pixels = row[0].numpy() * 0.226 + 0.449
        assert pixels == pytest.approx(deep[photos / id] / (2**bits - 1), abs=1 / 255)
    assert f"white is {2**bits - 1:,} ({bits} bits)" in data.notes[0]
    again, decoded = opened(photos)
    assert decoded == []
    assert (everything(again.train) == x).all()
    if bits < 16:
        with pytest.raises(ItemChanged, match="otherwise"):
            opened(photos, reading=1)


def test_pixels_in_the_cache_of_an_earlier_version_are_not_used(photos, opened, monkeypatch):
    keys = []
    monkeypatch.setattr(files, "key_of", lambda *parts: keys.append(parts[0]) or str(len(keys)) * 64)
    opened(photos)
    assert set(keys) == {"pixels 3"}


def test_the_same_pixels_in_another_file_are_a_copy(photos, opened):
    for name, options in (
        ("a.bmp", {}),
        ("b.png", {"compress_level": 0}),
        ("c.tif", {"compression": "tiff_lzw"}),
    ):
        Image.open(photos / "cat/0.png").save(photos / "cat" / name, **options)
    data, _ = opened(photos)
    assert data.duplicates == (("cat/0.png", "cat/a.bmp", "cat/b.png", "cat/c.tif"),)
    on_test = {i in set(data.test.ids) for i in data.duplicates[0]}
    assert len(on_test) == 1
    assert opened(photos, reading=1)[0].duplicates == ()
