import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tests.tiny_runs import QUICK, blobs
from typer.testing import CliRunner

from baldur.cli.app import INTERRUPTED, WAITING, app
from baldur.runs import settings as settings_
from baldur.store import Store

OPTIONS = [word for key, value in QUICK.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def baldur(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def arrays(tmp_path):
    x, y = blobs()
    np.savez(tmp_path / "blobs.npz", x=x, y=y)
    return tmp_path / "blobs.npz"


@pytest.fixture
def finished(arrays, tmp_path):
    result = baldur(
        "run", arrays, "--strategy", "random", "--strategy", "bald", *OPTIONS, "--out", tmp_path / "run"
    )
    assert result.exit_code == 0, result.output
    return tmp_path / "run"


def test_help_teaches_every_command():
    words = baldur("--help").output
    for command in ("run", "status", "report", "export", "backup", "doctor"):
        assert command in words
        assert "Usage" in baldur(command, "--help").output


def test_every_setting_is_an_option_and_every_option_has_help():
    words = "".join(baldur("run", "--help-all").output.split())
    for name in settings_.SECTION_OF:
        shown = {"data": "data", "strategies": "--strategy", "targets": "--target"}
        assert shown.get(name, f"--{name.replace('_', '-')}")[:20] in words, name


def test_a_run_prints_its_table_and_where_the_report_is(arrays, tmp_path):
    result = baldur("run", arrays, *OPTIONS, "--out", tmp_path / "run")
    assert "AULC" in result.output
    assert "report.html" in result.output
    assert (
        (tmp_path / "run" / "curves.csv").read_text().startswith("strategy,seed,round,labels,metric,value\n")
    )


def test_json_is_json_and_nothing_else(arrays, tmp_path):
    result = baldur("run", arrays, *OPTIONS, "--json", "--out", tmp_path / "run")
    told = json.loads(result.stdout)
    assert told["state"] == "done"
    for command in ("status", "doctor", "report"):
        json.loads(baldur(command, tmp_path / "run", "--json").stdout)
    status = json.loads(baldur("status", tmp_path / "run", "--json").stdout)
    assert (status["labels"], status["round"], status["state"]) == (28, 2, "done")


def test_quiet_prints_nothing(arrays, tmp_path):
    assert baldur("run", arrays, *OPTIONS, "--quiet", "--out", tmp_path / "run").output == ""


def test_the_folder_and_more_rounds_make_a_run_longer(finished):
    result = baldur("run", "--out", finished, "--rounds", QUICK["rounds"] + 1)
    assert result.exit_code == 0, result.output
    status = json.loads(baldur("status", finished, "--json").stdout)
    assert (status["round"], status["state"]) == (QUICK["rounds"] + 1, "done")
    refused = baldur("run", "--out", finished, "--draws", "4")
    assert (refused.exit_code, "draws was 3 and is 4" in refused.output) == (1, True)


def test_the_folder_alone_goes_on(finished):
    before = (finished / "curves.csv").read_bytes()
    assert baldur("run", "--out", finished).exit_code == 0
    assert (finished / "curves.csv").read_bytes() == before


def test_a_settings_file_reproduces_the_run(finished, tmp_path):
    assert baldur("run", "--settings", finished / "settings.toml", "--out", tmp_path / "again").exit_code == 0
    assert (tmp_path / "again" / "curves.csv").read_bytes() == (finished / "curves.csv").read_bytes()
    result = baldur(
        "run", "--settings", finished / "settings.toml", "--rounds", 1, "--out", tmp_path / "shorter"
    )
    assert result.exit_code == 0
    with Store.open(tmp_path / "shorter") as store:
        assert settings_.from_toml(store.settings).compare.rounds == 1


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


@pytest.mark.parametrize("named", [".", "artefacts/.."])
def test_a_backup_of_the_working_directory(tmp_path, monkeypatch, named):
    Store.create(tmp_path / "run", settings="", classes=["a", "b"]).close()
    (tmp_path / "run" / "artefacts").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "run")
    assert baldur("backup", named).exit_code == 0
    assert (tmp_path / "run.tar").is_file()


def test_the_name_of_a_data_set_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    options = [*OPTIONS, "--rounds", 0, "--strategy", "random"]
    assert baldur("run", "digits", *options, "--out", "run").exit_code == 0
    refused = baldur("run", "./digits", *options, "--out", "other")
    assert (refused.exit_code, str(tmp_path / "digits") in refused.output) == (1, True)


def test_the_doctor_names_what_is_damaged(finished):
    next(finished.rglob("network.safetensors")).write_bytes(b"no")
    result = baldur("doctor", finished)
    assert result.exit_code == 1
    assert "network.safetensors" in result.output or "posterior" in result.output


def test_waiting_for_a_file_has_an_exit_code_of_its_own(arrays, tmp_path):
    result = baldur(
        "run", arrays, *OPTIONS, "--strategy", "bald", "--oracle", "file", "--out", tmp_path / "run"
    )
    assert result.exit_code == WAITING
    assert "answers.csv" in result.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "baldur run DATA"),
        (["run", "nowhere", "--out", "r"], "nowhere"),
        (["run", "digits", "--strategy", "bold", "--out", "r"], "no strategy 'bold'"),
        (["run", "digits", "--rounds", "-1", "--out", "r"], "rounds"),
        (["run", "--settings", "none.toml", "--out", "r"], "none.toml"),
        (["run", "--out", "none"], "baldur run DATA"),
        (["run", "digits", "--strategy", ":foo", "--out", "r"], ":foo"),
        (["run", "digits", "--strategy", ".a:b", "--out", "r"], ".a:b"),
        (["run", "digits", "--first-seed", "9" * 30, "--out", "r"], "first_seed"),
        (["status", "none"], "none"),
        (["doctor", "none"], "none"),
        (["backup", "none"], "none"),
        (["export", "none"], "none"),
        (["report", "none"], "none"),
        (["backup", "--restore", "new", "none.tar"], "none.tar"),
    ],
)
def test_a_mistake_is_a_sentence(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    result = baldur(*words)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output


def test_control_c_is_a_sentence(arrays, tmp_path, monkeypatch):
    from baldur.runs import run as run_

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_, "start", interrupted)
    result = baldur("run", arrays, *OPTIONS, "--out", tmp_path / "run")
    assert result.exit_code == INTERRUPTED
    assert "Nothing is lost" in result.output


def test_a_folder_of_images_one_of_which_is_none(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(15):
            pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8) // (1 + (name == "dog"))
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{i}.png")
    (tmp_path / "pets" / "cat" / "broken.png").write_text("not an image")
    options = [*OPTIONS, "--image-size", 16, "--network", "mlp"]
    result = baldur("run", tmp_path / "pets", "--strategy", "bald", *options, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "broken.png" in result.output
    assert "broken.png" in (tmp_path / "run" / "report.html").read_text()
    changed = next(p for p in sorted((tmp_path / "pets" / "dog").iterdir()))
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(changed)
    result = baldur("run", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert changed.name in result.output


def test_another_set_of_the_same_name_is_not_taken_for_this_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, y = blobs()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "blobs.npz", x=x, y=y)
    assert baldur("run", "a/blobs.npz", "--strategy", "random", *OPTIONS).exit_code == 0
    result = baldur("run", "b/blobs.npz")
    assert result.exit_code == 1
    assert "give another folder (--out)" in result.output


def test_a_run_goes_on_from_any_directory(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert baldur("run", "blobs.npz", "--strategy", "random", *OPTIONS, "--out", "[run]").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = baldur("run", "--out", tmp_path / "[run]")
    assert result.exit_code == 0
    assert "[run]/report.html" in result.output


def test_texts_that_are_not_utf_8(arrays, tmp_path):
    (tmp_path / "bad.toml").write_bytes("data = 'caf\xe9'".encode("latin-1"))
    assert baldur("run", "--settings", tmp_path / "bad.toml", "--out", tmp_path / "r").exit_code == 1
    options = [*OPTIONS, "--strategy", "bald", "--oracle", "file", "--out", tmp_path / "run"]
    baldur("run", arrays, *options)
    (tmp_path / "run" / "answers.csv").write_bytes("id,label\n1,caf\xe9\n".encode("latin-1"))
    result = baldur("run", "--out", tmp_path / "run")
    assert result.exit_code == 1
    assert "UTF-8" in result.output


def test_an_encoder_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BALDUR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "brightness.py").write_text(
        "from torch import nn\n\ndef encoder():\n    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())\n"
    )
    for name, light in (("dark", 40), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(15):
            Image.new("RGB", (20, 20), (light + i, light, light - i)).save(
                tmp_path / "pictures" / name / f"{i}.png"
            )
    options = [
        *OPTIONS,
        "--encoder",
        "brightness:encoder",
        "--image-size",
        16,
        "--epochs",
        20,
        "--out",
        "run",
    ]
    result = baldur("run", "pictures", "--strategy", "margin", *options)
    assert result.exit_code == 0, result.output
    with Store.open(tmp_path / "run") as store:
        assert store.preprocessing["kind"] == "features"
        assert [m.value for m in store.metrics() if m.metric == "accuracy"][-1] == 1.0
        assert len(store.artefacts("picks")) == 2


def test_help_imports_nothing_heavy():
    code = "import sys, baldur.cli; print([m for m in ('torch', 'matplotlib', 'sqlalchemy') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
