"""The command `baldur predict`."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.cli.commands import OPTIONS, baldur
from tests.tiny_runs import blobs

from baldur.cli.labels import REFUSED

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.fixture
def photos(tmp_path):
    """A run on photographs, and their folder."""
    rng = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / "photos" / ("day" if i % 2 else "night") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(128 * (i % 2), 128 + 128 * (i % 2), (20, 24, 3), dtype=np.uint8)).save(
            path
        )
    words = (
        "--strategy",
        "random",
        *OPTIONS,
        "--image-size",
        "8",
        "--network",
        "mlp",
        "--rounds",
        "0",
    )
    said = baldur("run", tmp_path / "photos", *words, "--out", tmp_path / "run")
    assert said.exit_code == 0, said.output
    return tmp_path / "photos"


def test_a_folder_of_images(photos, tmp_path):
    out = tmp_path / "deep" / "predictions.csv"
    said = baldur("predict", tmp_path / "run", photos, "--out", out)
    assert said.exit_code == 0, said.output
    assert "24 predictions (" in said.output
    table = pd.read_csv(out)
    assert list(table) == ["id", "path", "prediction", "probability", "day", "night"]
    assert table["id"].tolist() == sorted(f"{p.parent.name}/{p.name}" for p in photos.rglob("*.png"))
    assert np.allclose(table[["day", "night"]].sum(axis=1), 1, atol=1e-5)
    (photos / "day" / "1.png").write_bytes(b"")
    said = baldur("predict", tmp_path / "run", photos / "day" / "1.png", photos / "night", "--out", out)
    assert said.exit_code == REFUSED
    assert "1 item could not be read:" in said.output
    assert "1.png: not an image" in said.output
    assert len(pd.read_csv(out)) == 12
    told = json.loads(baldur("predict", tmp_path / "run", photos, "--out", out, "--json").stdout)
    assert (told["items"], sum(told["classes"].values())) == (23, 23)
    assert told["unreadable"] == [["day/1.png", "not an image"]]
    said = baldur("predict", tmp_path / "run", photos / "night" / "0.png")
    assert said.stdout.splitlines()[0] == "id,path,prediction,probability,day,night"
    for form in ("parquet", "jsonl"):
        out = tmp_path / f"p.{form}"
        baldur("predict", tmp_path / "run", photos, "--out", out)
        read = pd.read_parquet(out) if form == "parquet" else pd.read_json(out, lines=True)
        assert list(read) == list(table)
        assert len(read) == 23
    assert not list(tmp_path.glob(".*.part"))


def test_an_exported_model(photos, tmp_path):
    baldur("export", tmp_path / "run", "--out", tmp_path / "export")
    (model,) = (tmp_path / "export" / "models").iterdir()
    both = [baldur("predict", folder, photos).stdout for folder in (tmp_path / "run", model)]
    assert both[0] == both[1]
    assert len(both[0].splitlines()) == 25


def test_one_model_of_several(finished, arrays, tmp_path):
    said = baldur("predict", finished, arrays)
    assert said.exit_code == 1
    assert "several trials match" in said.output
    words = ("--strategy", "bald", "--seed", "0", "--out", tmp_path / "p.csv")
    assert baldur("predict", finished, arrays, *words).exit_code == 0
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table) == ["id", "prediction", "probability", "0", "1", "2"]
    assert len(table) == len(blobs()[0])


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (("--out", "p.txt"), "ends in .csv, .parquet or .jsonl"),
        (("--json",), "say where to write the predictions"),
        (("--strategy", "none"), "there is no trial with strategy 'none'"),
    ],
)
def test_words_that_cannot_be(finished, arrays, words, answer):
    said = baldur("predict", finished, arrays, *words)
    assert said.exit_code == 1
    assert answer in said.output


def test_places_that_cannot_be(finished, arrays, tmp_path):
    one = ("--strategy", "bald", "--seed", "0")
    for words, answer in {
        (tmp_path / "nowhere", arrays): "there is no folder",
        (tmp_path, arrays): "baldur.db",
        (finished, tmp_path / "none.csv", *one): "there is nothing at",
        (finished, arrays, *one, "--out", arrays.with_suffix(".csv") / "a" / ".."): "ends in",
    }.items():
        said = baldur("predict", *words)
        assert said.exit_code == 1, words
        assert answer in said.output, (answer, said.output)
    table = tmp_path / "table.csv"
    table.write_text("a\n1\n")
    assert "is the data" in baldur("predict", finished, table, *one, "--out", table).output
    assert table.read_text() == "a\n1\n"
    out = tmp_path / "p.csv"
    out.write_text("before")
    assert baldur("predict", finished, table, *one, "--out", out).exit_code == 1
    assert out.read_text() == "before"
