import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from tests.store.one_round import go_through, past_the_library, write
from tests.store.server import statements

from baldur.errors import DamagedArtefact, DiskFull, InvalidSettings, NewerStore, RunNotFound, StoreError
from baldur.store import ItemRecord, Store, doctor, restore

LOOP = [sys.executable, str(Path(__file__).with_name("tiny_loop.py"))]


@pytest.fixture
def archive(run, trial, tmp_path):
    go_through(trial, 0, following="de")
    trial.artefact(1, "scores", ".npy", lambda p: write(p, b"scores"))
    run.record_items([ItemRecord("a", position=0, part=3, shown={"text": "é"}, key=2**40)])
    run.record_start({"threads": 2})
    run.backup(tmp_path / "run.tar")
    return tmp_path / "run.tar"


def everything(run):
    told = (run.settings, run.classes, run.created, run.items(), run.ledger(), run.requests(), run.phases())
    rankings = [trial.ranking(0) for trial in run.trials()]
    return (*told, rankings, run.starts(), [row[3:] for row in run.metrics() if row.value == row.value])


@pytest.fixture(params=["sqlite", "postgresql"])
def other(request):
    """The URL of the database to which a run is restored."""
    return None if request.param == "sqlite" else request.getfixturevalue("server").url


def test_what_was_saved_is_what_comes_back(run, archive, tmp_path, other):
    restore(archive, tmp_path / "deep" / "again", url=other)
    assert all(finding.level == "ok" for finding in doctor(tmp_path / "deep" / "again"))
    with Store.open(tmp_path / "deep" / "again") as again:
        assert everything(again) == everything(run)
        assert (again.url is None) is (other is None)
        [trial] = again.trials()
        assert trial.find(1, "scores").read_bytes() == b"scores"
        assert trial.find(0, "posterior").is_dir()
        assert again.folder in trial.find(1, "scores").parents
        trial.answer(1, {"d": "cat"}, "ann")
        assert again.ledger()[-1].number == len(run.ledger()) + 1
        again.trial("random", 0)
        again.record_start({})
        trial.incident(0, "new")
        trial.artefact(1, "scores", ".npy", lambda p: write(p, b"more"))
        again.backup(tmp_path / "twice.tar")
    assert (tmp_path / "deep" / "again" / "settings.toml").read_text() == run.settings
    names = {path.name for path in (tmp_path / "deep" / "again").iterdir()}
    kept = {"baldur.db", "baldur.db-journal"} if other is None else {"database.toml"}
    assert names == {"artefacts", "settings.toml"} | kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "run", "run.tar", "twice.tar"]


def test_a_restoration_that_fails_leaves_nothing_on_a_server(archive, tmp_path, server, monkeypatch):
    def schemas():
        return past_the_server(server, "SELECT count(*) FROM information_schema.schemata")

    before = schemas()
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(DiskFull):
            restore(archive, tmp_path / "again", url=server.url)
    assert schemas() == before
    with pytest.raises(InvalidSettings, match="mysql"):
        restore(archive, tmp_path / "again", url="mysql://x/y")
    with pytest.raises(StoreError, match="cannot connect"):
        restore(archive, tmp_path / "again", url="postgresql://postgres@127.0.0.1:1/x")
    assert not (tmp_path / "again").exists()
    restore(archive, tmp_path / "again", url=server.url)


def past_the_server(server, line):
    return statements(server.url, "public", line)


def test_another_run_is_never_overwritten(archive, tmp_path):
    Store.create(tmp_path / "other", settings="", classes=["x"]).close()
    taken = f"sqlite:///{tmp_path}/other/baldur.db"
    with pytest.raises(StoreError, match=r"there is a run in .* already"):
        restore(archive, tmp_path / "again", url=taken)
    with Store.open(tmp_path / "other") as other:
        assert other.classes == ("x",)


def test_a_backup_takes_the_place_of_the_last_one_only_when_it_is_whole(run, archive, monkeypatch):
    before = archive.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(
            os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(StoreError, match="no room left"):
            run.backup(archive)
    assert archive.read_bytes() == before
    run.trial("random", 0)
    run.backup(archive)
    assert archive.read_bytes() != before
    assert sorted(path.name for path in archive.parent.iterdir()) == ["run", "run.tar"]


def test_where_a_backup_can_be(run, tmp_path):
    run.backup(tmp_path / "new" / "run.tar")
    assert (tmp_path / "new" / "run.tar").is_file()
    with pytest.raises(StoreError, match="is a folder"):
        run.backup(tmp_path)
    with pytest.raises(StoreError, match="may write to"):
        run.backup(tmp_path / "new" / "run.tar" / "more.tar")


def test_a_damaged_file_is_not_saved_as_if_it_were_sound(run, trial, tmp_path):
    path = trial.artefact(0, "scores", ".npy", lambda p: write(p, b"scores"))
    write(path, b"Scores")
    with pytest.raises(DamagedArtefact, match="altered"):
        run.backup(tmp_path / "run.tar")
    path.unlink()
    run.backup(tmp_path / "run.tar")
    restore(tmp_path / "run.tar", tmp_path / "again")
    with Store.open(tmp_path / "again") as again:
        assert again.artefacts() == []
    assert len(run.artefacts()) == 1, "a backup changes nothing"


def test_while_the_run_goes_on(tmp_path, url):
    folder, more = tmp_path / "run", [] if url is None else [url]
    with subprocess.Popen([*LOOP, str(folder), "4", *more], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with Store.open(folder) as run:
            count = 0
            while process.poll() is None:
                run.backup(tmp_path / f"{count}.tar")
                count += 1
                time.sleep(0.05)
        assert process.returncode == 0
    assert count > 2
    for number in {0, count // 2, count - 1}:
        restore(tmp_path / f"{number}.tar", tmp_path / str(number))
        assert not [f for f in doctor(tmp_path / str(number)) if f.level == "error"]
    again = tmp_path / str(count // 2)
    subprocess.run([*LOOP, str(again), "4"], check=True, capture_output=True)
    with Store.open(again) as one, Store.open(folder) as other:
        assert one.requests() == other.requests()
        assert one.metrics() == other.metrics()


def test_a_folder_that_is_not_empty(archive, tmp_path):
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine" / "thesis", b"x")
    with pytest.raises(StoreError, match="not empty"):
        restore(archive, tmp_path / "mine")
    with pytest.raises(StoreError, match="not empty"):
        restore(archive, tmp_path / "mine" / "thesis")
    (tmp_path / "empty").mkdir()
    restore(archive, tmp_path / "empty")
    assert (tmp_path / "empty" / "baldur.db").exists()


def test_what_is_no_backup(archive, tmp_path):
    with pytest.raises(RunNotFound, match="no backup"):
        restore(tmp_path / "not there.tar", tmp_path / "new")
    write(tmp_path / "text.tar", b"hello" * 1000)
    content = archive.read_bytes()
    for size in (600, 3000, len(content) // 2, len(content) - 15000):
        write(tmp_path / "short.tar", content[:size])
        with pytest.raises(StoreError, match="nothing was restored"):
            restore(tmp_path / "short.tar", tmp_path / "new")
    with pytest.raises(StoreError, match="not a whole backup"):
        restore(tmp_path / "text.tar", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".baldur*"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("artefacts/../../evil", tarfile.REGTYPE),
        ("/tmp/evil", tarfile.REGTYPE),
        ("evil", tarfile.REGTYPE),
        ("artefacts/evil", tarfile.SYMTYPE),
        ("artefacts/evil", tarfile.LNKTYPE),
        ("artefacts/evil", tarfile.FIFOTYPE),
        ("baldur.db", tarfile.REGTYPE),
    ],
)
def test_archives_that_mean_harm(archive, tmp_path, name, kind):
    with tarfile.open(archive, "a") as tar:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "../../../etc/passwd"
        tar.addfile(member, io.BytesIO())
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreError, match="nothing was restored"):
        restore(archive, tmp_path / "new")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_archive_that_was_altered(run, archive, tmp_path):
    content = archive.read_bytes()
    assert content.count(b"w" * 100) == 1
    write(archive, content.replace(b"w" * 100, b"v" * 100))
    with pytest.raises(DamagedArtefact, match="nothing was restored"):
        restore(archive, tmp_path / "new")
    run.close()
    past_the_library(run.folder, "UPDATE alembic_version SET version_num = '9999'")

    def save_and_restore():
        run.backup(archive)  # from a server, the rows are copied, so they must be known
        restore(archive, tmp_path / "new")

    with pytest.raises(NewerStore):
        save_and_restore()
    assert not (tmp_path / "new").exists()
