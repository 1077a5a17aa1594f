"""Runs whose record is on a server. They come to the same as runs in a folder."""

import os

import pytest
from tests.runs.test_jobs import by_trial
from tests.store.server import PASSWORD, statements
from tests.tiny_runs import QUICK, blob_set, blobs, factory

import baldur
from baldur.errors import InvalidSettings, RunBusy, SettingsChanged, StoreError
from baldur.runs import run
from baldur.runs.observer import Observer
from baldur.store import Store
from baldur.testing import verify_resume
from baldur.testing.resume import history

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture
def url(server):
    return server.url


@pytest.fixture
def whole(server, monkeypatch, tmp_path):
    """A URL that alone has the password."""
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    return server.url.replace("postgres@", "postgres:geheim%3A%201%2F2%403@")


def test_a_run_on_a_server_is_the_same_as_one_in_its_folder(finished, tmp_path, url):
    folder = tmp_path / "served"
    done = run.run(blob_set(), folder, db=url, **QUICK)
    assert done.state == "done"
    assert history(folder) == history(finished)
    assert (folder / "curves.csv").read_text() == (finished / "curves.csv").read_text()
    assert not (folder / "baldur.db").exists()
    more = run.run(blob_set(), folder, **QUICK | {"rounds": 3})  # the folder knows where it is kept
    assert more.state == "done"
    assert baldur.open(folder).status()["round"] == 3
    assert len(baldur.open(folder).labels()) == 2 * (6 + 3 * 4)


def test_the_password_is_in_no_file_and_reaches_the_jobs(tmp_path, whole):
    told = QUICK | {"network": factory, "strategies": ["random", "bald"], "jobs": 2}
    folder = tmp_path / "two"
    done = run.run(blobs(), folder, db=whole, **told)
    assert done.state == "done"
    run.run(blobs(), tmp_path / "one", **told | {"jobs": 1})
    one = by_trial(tmp_path / "one")
    secrets = (PASSWORD.encode(), b"geheim")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if any(secret in path.read_bytes() for secret in secrets)]
    with pytest.raises(StoreError, match="Set PGPASSWORD"):
        baldur.open(folder)
    assert len(baldur.open(folder, db=whole).labels()) == len(one["labels"])
    os.environ["PGPASSWORD"] = PASSWORD  # the fixture restores it
    assert by_trial(folder) == one
    assert "db" not in (folder / "settings.toml").read_text()


def test_a_run_stays_where_it_was_begun(finished, tmp_path, url):
    with pytest.raises(InvalidSettings, match=r"is kept in .*baldur\.db, not in postgresql://"):
        run.run(blob_set(), finished, db=url, **QUICK)
    folder = tmp_path / "served"
    run.run(blob_set(), folder, db=url, **QUICK)
    with pytest.raises(InvalidSettings, match=r"is kept in postgresql://.*, not in .*x\.db"):
        run.run(blob_set(), folder, db=f"sqlite:///{tmp_path}/x.db", **QUICK)
    with pytest.raises(InvalidSettings, match="leave out the URL"):
        run.run(blob_set(), folder, db=url.replace("/baldur", "/postgres"), **QUICK)
    with pytest.raises(SettingsChanged):
        run.run(blob_set(), folder, **QUICK | {"draws": 5})
    with (
        Store.open(folder) as store,
        store.lock("trainer"),
        pytest.raises(RunBusy, match="already the trainer"),
    ):
        run.run(blob_set(), folder, **QUICK | {"rounds": 3})


@pytest.mark.parametrize("again", [True, False])
def test_a_run_that_had_not_trained_starts_anew_where_it_was(tmp_path, url, again):
    def stop(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run(blob_set(), tmp_path, db=url, observer=Observer(event=stop), **QUICK)
    with Store.open(tmp_path) as store:
        before = store.created
    done = run.run(blob_set(), tmp_path, db=url if again else None, **QUICK | {"draws": 4})
    assert done.state == "done"
    with Store.open(tmp_path) as store:
        assert store.created > before
        assert store.url is not None
    assert not (tmp_path / "baldur.db").exists()


def test_a_server_that_cannot_be_used_is_named_before_the_data_are_read(tmp_path, server, monkeypatch):
    monkeypatch.setattr("baldur.runs.run.prepare", pytest.fail)
    with pytest.raises(StoreError, match="cannot connect"):
        run.run(blob_set(), tmp_path / "run", db="postgresql://ann@127.0.0.1:1/x", **QUICK)
    statements(server.url, "public", "DROP ROLE IF EXISTS bob", "CREATE ROLE bob LOGIN PASSWORD 'bob'")
    with pytest.raises(StoreError, match="GRANT CREATE ON DATABASE baldur TO bob"):
        run.run(blob_set(), tmp_path / "run", db=server.url.replace("postgres@", "bob:bob@"), **QUICK)
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_goes_on(tmp_path, url):
    def start(folder, observer):
        run.run(blob_set(), folder, db=url, observer=observer, **QUICK | {"rounds": 1})

    verify_resume(start, tmp_path, every=3)
