import os
import subprocess

import pytest
from tests.store.one_round import write

from baldur.errors import DamagedArtefact, DiskFull, InvalidArgument, StoreError
from baldur.store import Request, Store, artefacts


def damage(path, how):
    if how == "cut short":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "altered":
        path.write_bytes(b"X" + path.read_bytes()[1:])
    else:
        path.unlink()


def everything(run):
    """Every file below the run's artefacts."""
    return sorted(path for path in (run.folder / "artefacts").rglob("*") if path.is_file())


def test_a_file_is_kept_and_found(run, trial):
    assert trial.find(0, "scores") is None
    path = trial.artefact(0, "scores", ".npy", lambda p: write(p, b"123"))
    assert path.suffix == ".npy"
    assert trial.find(0, "scores") == path
    assert path.read_bytes() == b"123"
    assert trial.find(None, "scores") is trial.find(1, "scores") is None
    [row] = run.artefacts("scores")
    assert (row.strategy, row.seed, row.round, row.path, row.bytes) == ("bald", 0, 0, path, 3)
    assert run.artefacts("posterior") == []


def test_a_new_one_takes_the_place_of_the_old(run, trial):
    for content in (b"old", b"new", b"new"):
        for round in (0, None):
            path = trial.artefact(round, "scores", ".npy", lambda p, c=content: write(p, c))
            assert trial.find(round, "scores") == path
            assert path.read_bytes() == content
    assert len(everything(run)) == len(run.artefacts()) == 2


def test_a_folder_is_one_artefact(run, trial):
    def save(folder):
        (folder / "deep").mkdir()
        write(folder / "weights", b"w")
        write(folder / "deep" / "config", b"c")

    folder = trial.artefact_folder(0, "posterior", save)
    assert trial.find(0, "posterior") == folder
    (folder / "deep" / "config").rename(folder / "config")
    with pytest.raises(DamagedArtefact):
        trial.find(0, "posterior")


@pytest.mark.parametrize("how", ["cut short", "altered", "missing"])
def test_damage_is_never_overlooked(run, trial, how):
    path = trial.artefact(0, "scores", ".npy", lambda p: write(p, b"12345678"))
    damage(path, how)
    with pytest.raises(DamagedArtefact, match=rf"{path} .*{how}.*put it back from a backup"):
        trial.find(0, "scores")


@pytest.mark.parametrize(
    ("kind", "suffix"), [("../x", ".npy"), ("Scores", ""), ("", ""), ("scores", "npy"), ("s", "/.x")]
)
def test_names_that_are_no_names(trial, kind, suffix):
    with pytest.raises(InvalidArgument, match="an artefact needs a kind"):
        trial.artefact(0, kind, suffix, lambda p: write(p, b""))


def test_older_rounds_are_forgotten(run, trial):
    for round in range(4):
        trial.artefact(round, "posterior", "", lambda p: write(p, b"p"))
        trial.artefact(round, "scores", "", lambda p: write(p, b"s"))
    trial.artefact(None, "posterior", "", lambda p: write(p, b"p"))
    trial.forget("posterior", before=3)
    assert [row.round for row in run.artefacts("posterior")] == [3, None]
    assert len(run.artefacts("scores")) == 4
    assert everything(run) == sorted(row.path for row in run.artefacts())


def test_a_failed_write_leaves_the_last_one(run, trial):
    path = trial.artefact(0, "scores", ".npy", lambda p: write(p, b"good"))

    def fail(temporary):
        write(temporary, b"half")
        raise KeyError

    with pytest.raises(KeyError):
        trial.artefact(0, "scores", ".npy", fail)
    assert trial.find(0, "scores") == path
    assert everything(run) == [path]


def test_a_full_disk_leaves_the_last_one(run, trial, monkeypatch):
    path = trial.artefact(0, "scores", ".npy", lambda p: write(p, b"good"))

    def fill(temporary):
        write(temporary, b"half")
        with open("/dev/full", "wb") as full:
            full.write(b"x")

    with pytest.raises(DiskFull, match="no room left"):
        trial.artefact(0, "scores", ".npy", fill)

    def refuse(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskFull):
        trial.artefact(0, "scores", ".npy", lambda p: write(p, b"late"))
    monkeypatch.undo()
    with pytest.raises(DiskFull):  # some libraries only say so in words
        trial.artefact(
            0, "scores", ".npy", lambda p: (_ for _ in ()).throw(RuntimeError("I/O: No space left on device"))
        )
    assert trial.find(0, "scores") == path
    assert everything(run) == [path]


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        with Store.create(disk / "run", settings="", classes=["cat"]) as run:
            trial = run.trial("bald", 0)
            trial.begin([Request("a", 0)])
            checkpoint = trial.checkpoint(0)
            checkpoint.save(lambda p: write(p, b"1" * 1000))
            with pytest.raises(DiskFull):
                checkpoint.save(lambda p: write(p, b"2" * 4_000_000))
            assert checkpoint.latest().read_bytes() == b"1" * 1000
            with pytest.raises(DiskFull, match="committed before is safe"):
                begin_many(run)
            begun = [t for t in run.trials() if t.latest()]
            assert all(len(t.open_requests(0)) == 1000 for t in begun[1:])
            checkpoint.latest().unlink()
            assert trial.latest().state == "requested"
        with Store.open(disk / "run") as run:
            assert run.trial("bald", 0).open_requests(0) == ["a"]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def begin_many(run):
    for i in range(100):
        requests = [Request(f"a rather long name of an item {j}", j) for j in range(1000)]
        run.trial(f"s{i}", 0).begin(requests)


def test_sweeping_removes_only_what_nobody_names(run, trial):
    path = trial.artefact(0, "scores", ".npy", lambda p: write(p, b"good"))
    root = run.folder / "artefacts"
    write(root / ".new-0123", b"half written")
    (root / ".new-4567").mkdir()
    write(root / ".new-4567" / "weights", b"half written")
    write(path.with_name("scores-0123456789ab.npy"), b"written, but not recorded")
    write(path.with_name("mine.txt"), b"somebody else's")
    with pytest.raises(StoreError, match="lock"):
        run.sweep()
    with run.lock("trainer"):
        assert len(run.sweep()) == 3
        assert run.sweep() == []
    assert everything(run) == [path.with_name("mine.txt"), path]


def test_sweeping_forgets_a_file_that_was_deleted(run, trial):
    path = trial.artefact(0, "posterior", "", lambda p: write(p, b"good"))
    path.unlink()
    with run.lock("trainer"):
        assert run.sweep() == [path.relative_to(run.folder).as_posix()]
    assert trial.find(0, "posterior") is None
    [incident] = run.incidents()
    assert (incident.strategy, incident.round) == ("bald", 0)
    assert "no longer there" in incident.what


def test_a_run_without_its_artefacts_does_not_forget_them(run, trial):
    trial.artefact(0, "posterior", "", lambda p: write(p, b"good"))
    (run.folder / "artefacts").rename(run.folder / "elsewhere")
    with run.lock("trainer"):
        assert run.sweep() == []
    (run.folder / "elsewhere").rename(run.folder / "artefacts")
    assert trial.find(0, "posterior") is not None


def test_a_text_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "settings.toml"
    artefacts.write_text(file, "old")
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(DiskFull):
        artefacts.write_text(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
