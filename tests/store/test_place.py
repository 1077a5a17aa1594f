import tomllib

import pytest
from tests.store.one_round import CLASSES, ON_SERVER
from tests.store.server import PASSWORD

from baldur.errors import InvalidSettings, RunNotFound, StoreError
from baldur.store import Store, doctor
from baldur.store.place import choose, look_up, record

URL = "postgresql://ann@db.example:5433/labels"


def test_without_a_url_a_run_is_in_its_folder(tmp_path):
    at = choose(tmp_path)
    assert at == look_up(tmp_path)
    assert at.file == tmp_path / "baldur.db"
    assert record(tmp_path, at) == ""
    assert choose(tmp_path, f"sqlite:///{tmp_path}/baldur.db") == at


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@db.example:5433/labels",
        "postgres://ann:secret@db.example:5433/labels",
        "postgresql+psycopg2://ann:secret@db.example:5433/labels",
        "postgresql://ann@db.example:5433/labels?password=secret",
        "postgresql://ann:secret@db.example:5433/labels?sslpassword=secret&sslmode=require",
    ],
)
def test_the_record_of_a_server_has_no_password(tmp_path, url):
    at = choose(tmp_path / "Größe 1!", url)
    assert at.schema.startswith("baldur_gro_e_1_") or at.schema.startswith("baldur_groe_1_")
    assert "secret" not in repr(at) + str(at)
    text = record(tmp_path, at)
    assert "secret" not in text
    (tmp_path / "database.toml").write_text(text)
    told = tomllib.loads(text)
    assert told["url"].removesuffix("?sslmode=require") == URL
    assert look_up(tmp_path).schema == told["schema"] == at.schema
    assert look_up(tmp_path, url) == at, "the password is that of the URL"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///labels?host=/var/run/postgresql",
        "postgresql://[::1]/labels",
        "postgresql://an%2Fn@host/lab%20els",
        "postgresql://host",
        "postgresql://ann@a,b/labels?target_session_attrs=read-write&options=-cwork_mem%3D8MB",
    ],
)
def test_the_record_of_any_server_reads_back(tmp_path, url):
    at = choose(tmp_path, url)
    (tmp_path / "database.toml").write_text(record(tmp_path, at))
    assert look_up(tmp_path) == look_up(tmp_path, url) == choose(tmp_path, url) == at


def test_each_run_has_a_schema_of_its_own(tmp_path):
    assert choose(tmp_path, URL).schema != choose(tmp_path, URL).schema
    assert len(choose(tmp_path / ("x" * 200), URL).schema) < 64
    assert choose(tmp_path / "日本", URL).schema.startswith("baldur_")


def test_an_interrupted_creation_is_repeated_in_the_same_schema(tmp_path):
    at = choose(tmp_path, URL)
    (tmp_path / "database.toml").write_text(record(tmp_path, at))
    assert choose(tmp_path, URL).schema == choose(tmp_path).schema == at.schema
    with pytest.raises(
        InvalidSettings, match=r"kept in postgresql://ann@db.example:5433/labels.*not in .*/other"
    ):
        choose(tmp_path, URL.replace("labels", "other"))
    with pytest.raises(InvalidSettings, match=r"not in .*x\.db; leave out the URL"):
        look_up(tmp_path, f"sqlite:///{tmp_path}/x.db")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://ann:secret@host/x", "expected the URL of a PostgreSQL database.*begins with mysql://"),
        ("http://ann:secret@host/x", "begins with http://"),
        ("ann:secret@host/x", "has no ://"),
        ("", "has no ://"),
        (
            "postgresql://ann:secret@host:port/x",
            "cannot be read; write it like postgresql://user@host:5432/name",
        ),
        ("postgresql://ann:secr@et@host/x", "write %40 for @"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained_and_not_repeated(tmp_path, url, words):
    for refuse in (choose, look_up, lambda *a: Store.create(a[0], settings="", classes=CLASSES, url=a[1])):
        with pytest.raises(InvalidSettings, match=words) as error:
            refuse(tmp_path, url)
        assert "secr" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "url = 7",
        "= ",
        "url = 'mysql://x'",
        f"url = '{URL}'",
        "url = 'sqlite:///x'\nschema = 'x'",
        f"url = '{URL}'\nschema = 'a; b'",
        f"url = '{URL}'\nschema = 5",
    ],
)
def test_a_record_that_says_nothing(tmp_path, text):
    (tmp_path / "database.toml").write_text(text)
    with pytest.raises(StoreError, match=r"database\.toml does not say where the run is kept"):
        Store.open(tmp_path)


def test_a_server_is_given_where_no_run_is(tmp_path):
    with pytest.raises(RunNotFound, match=r"database\.toml does not exist"):
        Store.open(tmp_path, url=URL)
    Store.create(tmp_path, settings="", classes=CLASSES).close()
    for wrong in (Store.open, lambda at, url: Store.create(at, settings="", classes=CLASSES, url=url)):
        with pytest.raises(InvalidSettings, match=r"kept in .*baldur\.db, not in postgresql://ann@db"):
            wrong(tmp_path, url=URL)


def test_an_sqlite_file_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").mkdir()
    Store.create(tmp_path / "run", settings="", classes=CLASSES, url="sqlite:///fast/birds.db").close()
    assert (tmp_path / "fast" / "birds.db").exists()
    monkeypatch.chdir("/")
    with Store.open(tmp_path / "run") as run:
        assert run.classes == CLASSES
    assert not (tmp_path / "run" / "baldur.db").exists()


@ON_SERVER
def test_options_of_the_url_hold_beside_those_of_the_run(tmp_path, url):
    more = f"{url}?options=-cwork_mem%3D8MB&application_name=mine&connect_timeout=3"
    with Store.create(tmp_path / "run", settings="", classes=CLASSES, url=more) as run:
        shown = {
            name: run._database.text(f"SHOW {name}")[0][0]
            for name in (
                "work_mem",
                "search_path",
                "lock_timeout",
                "application_name",
                "transaction_isolation",
            )
        }
    schema = shown.pop("search_path")
    assert schema.startswith("baldur_run_")
    assert shown == {
        "work_mem": "8MB",
        "lock_timeout": "30s",
        "application_name": "mine",
        "transaction_isolation": "read committed",
    }


@ON_SERVER
def test_a_database_of_another_encoding(tmp_path, url):
    make = "CREATE DATABASE old ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    import psycopg

    with psycopg.connect(url, password=PASSWORD, autocommit=True) as connection:
        connection.execute(make)
    with pytest.raises(StoreError, match=r"SQL_ASCII.*use a database with the encoding UTF8"):
        Store.create(tmp_path / "run", settings="", classes=CLASSES, url=url.replace("/baldur", "/old"))


@ON_SERVER
def test_no_password_is_written(tmp_path, url, monkeypatch):
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pgpass"))
    whole = url.replace("postgres@", "postgres:geheim%3A%201%2F2%403@")
    folder = tmp_path / "run"
    Store.create(folder, settings="", classes=CLASSES, url=whole).close()
    assert not [path for path in folder.rglob("*") if path.is_file() and PASSWORD[:6] in path.read_text()]
    with pytest.raises(StoreError, match="Set PGPASSWORD"):
        Store.open(folder)
    with Store.open(folder, url=whole) as run:
        assert PASSWORD[:6] not in repr(run) + repr(run._database) + str(run._database.place)
    host, port = url.split("@")[1].split("/")[0].split(":")
    (tmp_path / "pgpass").write_text(f"{host}:{port}:*:postgres:{PASSWORD.replace(':', chr(92) + ':')}\n")
    (tmp_path / "pgpass").chmod(0o600)
    Store.open(folder).close()
    assert doctor(folder)


@ON_SERVER
def test_another_machine_with_the_same_artefacts_opens_the_run(tmp_path, url):
    with Store.create(tmp_path / "here", settings="", classes=CLASSES, url=url) as run:
        trial = run.trial("bald", 0)
        path = trial.artefact(None, "note", ".txt", lambda path: path.write_text("x") and None)
        (tmp_path / "mounted elsewhere").symlink_to(tmp_path / "here")
        with Store.open(tmp_path / "mounted elsewhere") as seen, seen.lock("trainer"):
            found = seen.trial("bald", 0).find(None, "note")
            assert found is not None
            assert found.parts[-4:] == path.parts[-4:]
            assert run.is_held("trainer")
        other = url.replace("127.0.0.1", "localhost")  # known there by another name
        with Store.open(tmp_path / "mounted elsewhere", url=other) as seen:
            assert seen.created == run.created


@ON_SERVER
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("postgres@", "postgres:wrong@", "password"),
        ("postgres@", "nobody:x@", "nobody"),
        ("/baldur", "/nothing", "nothing"),
        ("127.0.0.1:", "127.0.0.1:1", "Check that the server runs"),
        ("127.0.0.1", "nowhere.invalid", "Check that the server runs"),
        ("/baldur", "/baldur?nonsense=1", "nonsense"),
    ],
)
def test_a_server_that_cannot_be_reached(tmp_path, url, old, new, words):
    url = (
        url[: url.index("127.0.0.1:")] + "127.0.0.1:1/baldur" if new.endswith(":1") else url.replace(old, new)
    )
    with pytest.raises(StoreError, match=f"cannot connect to postgresql://.*{words}") as error:
        Store.create(tmp_path / "run", settings="", classes=CLASSES, url=url)
    assert "\n" not in str(error.value)
    assert "wrong" not in str(error.value)
    assert not (tmp_path / "run" / "database.toml").exists()


@ON_SERVER
def test_a_user_who_may_not_make_a_schema(tmp_path, url, server):
    from tests.store.server import statements

    statements(url, "public", "DROP ROLE IF EXISTS eve", "CREATE ROLE eve LOGIN PASSWORD 'eve'")
    with pytest.raises(StoreError, match="GRANT CREATE ON DATABASE baldur TO eve"):
        Store.create(tmp_path / "run", settings="", classes=CLASSES, url=url.replace("postgres@", "eve:eve@"))


def test_without_psycopg(tmp_path, monkeypatch):
    monkeypatch.setattr("baldur.store.postgres.find_spec", lambda name: None)
    with pytest.raises(InvalidSettings, match=r"pip install 'baldur\[postgres\]'"):
        Store.create(tmp_path, settings="", classes=CLASSES, url=URL)
