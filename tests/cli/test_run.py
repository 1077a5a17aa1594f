"""`baldur run`."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.cli.commands import OPTIONS, baldur
from tests.tiny_runs import QUICK, blobs

from baldur.cli.app import INTERRUPTED, WAITING
from baldur.runs import settings as settings_
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")
NO_ROUNDS = [*OPTIONS, "--rounds", 0]


def test_every_setting_is_an_option_and_every_option_has_help():
    words = "".join(baldur("run", "--help-all").output.split())
    for name in settings_.SECTION_OF:
        shown = {"data": "data", "strategies": "--strategy", "targets": "--target"}
        assert shown.get(name, f"--{name.replace('_', '-')}")[:20] in words, name


def test_a_run_prints_its_table_and_where_the_report_is(made_once):
    folder, result = made_once
    assert result.exit_code == 0, result.output
    assert "AULC" in result.output
    assert "report.html" in result.output
    assert "<svg" in (folder / "report.html").read_text()
    assert (folder / "curves.csv").read_text().startswith("strategy,seed,round,labels,metric,value\n")


def test_json_is_json_and_nothing_else(arrays, tmp_path):
    result = baldur("run", arrays, *NO_ROUNDS, "--json", "--out", tmp_path / "run")
    told = json.loads(result.stdout)
    assert told["state"] == "done"
    for command in ("status", "doctor", "report"):
        json.loads(baldur(command, tmp_path / "run", "--json").stdout)
    status = json.loads(baldur("status", tmp_path / "run", "--json").stdout)
    assert (status["labels"], status["round"], status["state"]) == (12, 0, "done")


def test_quiet_prints_nothing(arrays, tmp_path):
    assert baldur("run", arrays, *NO_ROUNDS, "--quiet", "--out", tmp_path / "run").output == ""


def test_the_folder_and_more_rounds_make_a_run_longer(finished):
    result = baldur("run", "--out", finished, "--rounds", QUICK["rounds"] + 1)
    assert result.exit_code == 0, result.output
    status = json.loads(baldur("status", finished, "--json").stdout)
    assert (status["round"], status["state"]) == (QUICK["rounds"] + 1, "done")
    refused = baldur("run", "--out", finished, "--draws", "4")
    assert (refused.exit_code, "draws was 3 and is now 4" in refused.output) == (1, True)


def test_the_folder_alone_goes_on(finished):
    before = (finished / "curves.csv").read_bytes()
    assert baldur("run", "--out", finished).exit_code == 0
    assert (finished / "curves.csv").read_bytes() == before


def test_a_run_goes_on_without_its_file_of_settings(finished, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(finished, copy)
    (copy / "settings.toml").unlink()
    assert baldur("run", "--out", copy).exit_code == 0
    assert (copy / "curves.csv").read_bytes() == (finished / "curves.csv").read_bytes()


def test_a_settings_file_reproduces_the_run(finished, tmp_path):
    assert baldur("run", "--settings", finished / "settings.toml", "--out", tmp_path / "again").exit_code == 0
    assert (tmp_path / "again" / "curves.csv").read_bytes() == (finished / "curves.csv").read_bytes()
    result = baldur(
        "run", "--settings", finished / "settings.toml", "--rounds", 0, "--out", tmp_path / "shorter"
    )
    assert result.exit_code == 0
    with Store.open(tmp_path / "shorter") as store:
        assert settings_.from_toml(store.settings).compare.rounds == 0


def test_the_name_of_a_data_set_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    options = [*NO_ROUNDS, "--strategy", "random"]
    assert baldur("run", "digits", *options, "--out", "run").exit_code == 0
    refused = baldur("run", "./digits", *options, "--out", "other")
    assert (refused.exit_code, str(tmp_path / "digits") in refused.output) == (1, True)


def test_waiting_for_a_file_has_an_exit_code_of_its_own(arrays, tmp_path):
    result = baldur(
        "run", arrays, *OPTIONS, "--strategy", "bald", "--oracle", "file", "--out", tmp_path / "run"
    )
    assert result.exit_code == WAITING
    assert "answers.csv" in result.output


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
    options = [*OPTIONS, "--rounds", 1, "--image-size", 16, "--network", "mlp"]
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
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "blobs.npz", x=x + number, y=y)
    assert baldur("run", "a/blobs.npz", "--strategy", "random", *NO_ROUNDS).exit_code == 0
    result = baldur("run", "b/blobs.npz")
    assert result.exit_code == 1
    assert "give another folder (--out)" in result.output


def test_data_and_runs_that_were_moved_go_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, light in (("dark", 40), ("light", 200)):
        (tmp_path / "old" / "pets" / name).mkdir(parents=True)
        for i in range(15):
            Image.new("RGB", (20, 20), (light + i, light, light - i)).save(
                tmp_path / "old" / "pets" / name / f"{i}.png"
            )
    options = [*OPTIONS, "--image-size", "8", "--strategy", "bald"]
    assert baldur("run", "old/pets", *options, "--out", "whole", "--rounds", "2").exit_code == 0
    assert baldur("run", "old/pets", *options, "--out", "run", "--rounds", "1").exit_code == 0
    (tmp_path / "old").rename(tmp_path / "new")
    (tmp_path / "run").rename(tmp_path / "moved")
    result = baldur("run", "--out", "moved")
    assert result.exit_code == 1
    assert "give their new place: baldur run NEW --out moved" in result.output
    result = baldur("run", "--data", "new/pets", "--out", "moved", "--rounds", "2")
    assert result.exit_code == 0, result.output
    with Store.open(tmp_path / "moved") as store, Store.open(tmp_path / "whole") as whole:
        assert store.metrics() == whole.metrics()
        assert all(item.path.startswith(str(tmp_path / "new")) for item in store.items().values())
    assert baldur("run", "--out", "moved").exit_code == 0, "the new place is kept"
    assert "give one" in baldur("run", "new/pets", "--data", "other", "--out", "moved").output


def test_a_comparison_asks_for_what_can_be_answered_in_a_sitting(arrays, tmp_path):
    folder = tmp_path / "run"
    options = [*OPTIONS, "--oracle", "file", "--initial", "20", "--rounds", "1", "--seeds", "5"]
    strategies = ("--strategy", "bald", "--strategy", "random")
    result = baldur("run", arrays, *strategies, *options, "--out", folder)
    assert result.exit_code == 3
    asked = [line.split(",")[0] for line in (folder / "requests.csv").read_text().split()[1:]]
    assert 20 < len(asked) <= 50
    assert f"read the {len(asked)} questions in {folder}/requests.csv" in result.output.replace("\n", " ")
    (folder / "answers.csv").write_text("id,label\n" + "".join(f"{i},{n % 3}\n" for n, i in enumerate(asked)))
    assert baldur("run", "--out", folder).exit_code == 3
    with Store.open(folder) as store:
        rounds = {(trial.strategy, trial.seed): trial.latest().round for trial in store.trials()}
    begun = [key for key, round in rounds.items() if round]
    assert len(begun) < 10
    assert begun == [(s, n) for n in range(len(begun) // 2) for s in ("bald", "random")]


def test_what_an_interrupted_run_waits_for(arrays, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    options = [*OPTIONS, "--strategy", "bald", "--oracle", "file", "--out", folder]
    assert baldur("run", arrays, *options).exit_code == 3

    def stopped(*_):
        raise KeyboardInterrupt

    said = f"waiting for 6 answers: read the 6 questions in {folder}/requests.csv, fill in the labels there"
    assert said in baldur("status", folder).output.replace("\n", " ")
    monkeypatch.setattr("baldur.runs.run.start", stopped)
    result = baldur("run", "--out", folder)
    assert result.exit_code == 130
    assert said in result.output
    assert "Nothing is lost" in result.output


def test_a_run_goes_on_from_any_directory(arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert baldur("run", "blobs.npz", "--strategy", "random", *NO_ROUNDS, "--out", "[run]").exit_code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = baldur("run", "--out", tmp_path / "[run]")
    assert result.exit_code == 0
    assert "[run]/report.html" in result.output


@pytest.mark.filterwarnings("always")
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
