import pytest

from baldur.data import official
from baldur.data.official import Official, cache_folder, data_roots, download, find
from baldur.errors import DataNotFound, DownloadFailed

SET = Official(
    ("http://first/", "http://second/"),
    {"a.gz": "sha256:1", "b.gz": "md5:2"},
    ("set", "raw/set"),
    {"a.gz": ("a",)},
)


def test_files_are_found_in_any_of_their_folders_but_only_all_together(tmp_path):
    for name in ("set/a.gz", "raw/set/a", "raw/set/b.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find(SET, [tmp_path]) == {"a.gz": tmp_path / "raw/set/a", "b.gz": tmp_path / "raw/set/b.gz"}
    assert find(SET, [tmp_path / "raw/set"]) is not None
    assert find(SET, [tmp_path / "set"]) is None


def test_where_data_and_caches_lie(tmp_path, monkeypatch):
    monkeypatch.setenv("BALDUR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("BALDUR_DATA", str(tmp_path))
    assert data_roots(None, None) == [tmp_path, tmp_path / "cache/data"]
    (tmp_path / "own").mkdir()
    assert data_roots(str(tmp_path / "own"), tmp_path / "c") == [tmp_path / "own", tmp_path / "c/data"]
    with pytest.raises(DataNotFound, match="elsewhere"):
        data_roots(str(tmp_path / "elsewhere"), None)
    monkeypatch.delenv("BALDUR_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/baldur"


def test_the_next_address_is_tried_and_all_failures_are_told(tmp_path, monkeypatch):
    asked = []

    def fetch(url, path, **sums):
        asked.append((url, path.name, sums["sha256" if "sha256" in sums else "md5"]))
        if "first" in url or fail:
            raise DownloadFailed(f"{url} is down")

    monkeypatch.setattr(official, "fetch", fetch)
    fail = False
    assert download(SET, tmp_path, None) == {"a.gz": tmp_path / "set/a.gz", "b.gz": tmp_path / "set/b.gz"}
    assert asked[1:3] == [("http://second/a.gz", "a.gz", "1"), ("http://first/b.gz", "b.gz", "2")]
    fail = True
    with pytest.raises(DownloadFailed, match=r"first/a.gz is down\n.*second/a.gz is down"):
        download(SET, tmp_path, None)
