"""Commands that read a run's folder."""

import pytest
from tests.cli.commands import OPTIONS, baldur

from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


def test_status_report_export_backup_doctor(finished, tmp_path):
    assert "bald" in baldur("status", finished).output
    assert baldur("report", finished, finished, "--out", tmp_path / "both.html").exit_code == 0
    assert (tmp_path / "both.html").read_text().startswith("<!doctype html>")
    assert baldur("export", finished, "--out", tmp_path / "export").exit_code == 0
    assert (tmp_path / "export" / "labels.csv").exists()
    assert baldur("backup", finished, tmp_path / "run.tar").exit_code == 0
    assert baldur("backup", "--restore", tmp_path / "restored", tmp_path / "run.tar").exit_code == 0
    assert baldur("doctor", tmp_path / "restored").exit_code == 0
    assert baldur("run", "--out", tmp_path / "restored").exit_code == 0


def test_a_run_on_a_server(arrays, tmp_path, server, monkeypatch):
    folder, words = tmp_path / "run", ("--strategy", "random", *OPTIONS)
    assert baldur("run", arrays, *words, "--out", folder, "--db", server.url).exit_code == 0
    assert not (folder / "baldur.db").exists()
    assert "done" in baldur("status", folder).output
    assert baldur("report", folder).exit_code == 0
    assert baldur("export", folder).exit_code == 0
    assert baldur("doctor", folder).exit_code == 0
    assert baldur("run", "--out", folder, "--rounds", 3).exit_code == 0
    assert baldur("backup", folder, tmp_path / "run.tar").exit_code == 0
    again = ("backup", "--restore", tmp_path / "again", tmp_path / "run.tar")
    assert baldur(*again, "--db", server.url).exit_code == 0
    assert baldur("run", "--out", tmp_path / "again", "--rounds", 4).exit_code == 0
    assert baldur("backup", "--restore", tmp_path / "here", tmp_path / "run.tar").exit_code == 0
    assert baldur("status", tmp_path / "here").exit_code == 0
    monkeypatch.setenv("PGPASSWORD", "wrong")
    refused = baldur("status", folder)
    assert refused.exit_code == 1
    assert "PGPASSWORD" in refused.output


@pytest.mark.parametrize("named", [".", "artefacts/.."])
def test_a_backup_of_the_working_directory(tmp_path, monkeypatch, named):
    Store.create(tmp_path / "run", settings="", classes=["a", "b"]).close()
    (tmp_path / "run" / "artefacts").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "run")
    assert baldur("backup", named).exit_code == 0
    assert (tmp_path / "run.tar").is_file()


def test_the_doctor_names_what_is_damaged(finished):
    next(finished.rglob("network.safetensors")).write_bytes(b"no")
    result = baldur("doctor", finished)
    assert result.exit_code == 1
    assert "network.safetensors" in result.output or "posterior" in result.output


def test_labels_are_exported_for_other_programs(finished, tmp_path):
    said = baldur("export", finished, "--format", "csv")
    assert said.exit_code == 1
    assert "several trials match" in said.output
    of_one = ("--strategy", "bald", "--format")
    printed = baldur("export", finished, *of_one, "csv").output
    assert printed.splitlines()[0].startswith("id,label,")
    assert baldur("export", finished, *of_one, "csv", "--out", tmp_path / "x.csv").exit_code == 0
    assert (tmp_path / "x.csv").read_text().splitlines() == printed.splitlines()
    every = baldur("export", finished, *of_one, "jsonl", "--all").output.splitlines()
    assert len(every) >= len(printed.splitlines()) - 1
    for words in (("--format", "yaml", "--out", tmp_path / "y"), ("--seed", "0"), ("--all",), ("--link",)):
        assert baldur("export", finished, "--strategy", "bald", *words).exit_code == 1
    said = baldur("export", finished, *of_one, "parquet")
    assert "say where to write it" in said.output
