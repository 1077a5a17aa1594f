"""kill -9 while somebody labels: what was acknowledged is there once, and the curve is that of a calm run."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from tests.runs.killed import kill_people

import baldur


def test_killed_a_hundred_times_while_labelling(tmp_path):
    kill_people(tmp_path, kills=100, seed=1, epochs=20, longest=1.0)


def test_killed_while_labelling_on_a_server(tmp_path, server):
    kill_people(tmp_path, kills=20, seed=2, epochs=20, longest=1.0, url=server.url)


def test_three_hundred_images_with_three_restarts(tmp_path):
    """The interval of the quality covers the accuracy on all images that have no label."""
    for n, (image, digit) in enumerate(zip(*load_digits(return_X_y=True), strict=True)):
        place = tmp_path / "photos" / f"{n:04}-{digit}.png"
        place.parent.mkdir(exist_ok=True)
        Image.fromarray((image.reshape(8, 8) * 15.9).astype(np.uint8)).save(place)
    for labels in (75, 150, 225, 300):
        command = [sys.executable, str(Path(__file__).with_name("notebook.py")), str(labels)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        print(done.stdout)
    run = baldur.open(tmp_path / "run")
    rest = sorted({path.name for path in (tmp_path / "photos").iterdir()} - set(run.labels().item))
    x = np.stack([np.asarray(Image.open(tmp_path / "photos" / name)) for name in rest])
    right = run.model().predict(x) == [name[5] for name in rest]
    print(f"accuracy on the {len(rest)} images without a label: {right.mean():.3f}")
    quality = run.quality()
    assert len(run.labels()) == 300
    assert quality.low <= right.mean() <= quality.high
