"""`baldur run mnist` with every strategy, on a small MNIST made of scikit-learn's digits."""

import gzip
import struct

import numpy as np
import pytest
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from baldur.cli.app import app
from baldur.runs.names import STRATEGIES
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")
OPTIONS = {
    "discriminative": ["--strategy", "discriminative(queries=1)"],
    "learning_loss": ["--strategy", "learning_loss", "--learner", "tests.tiny_runs:loss_learner"],
}


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mnist")
    images, labels = load_digits(return_X_y=True)
    large = np.kron(images.reshape(-1, 8, 8) * 255 / 16, np.ones((3, 3)))  # 24 x 24
    large = np.pad(large, ((0, 0), (2, 2), (2, 2))).astype(np.uint8)
    for side, part in (("train", slice(0, 160)), ("t10k", slice(160, 200))):
        for kind, array in (("images", large[part]), ("labels", labels[part].astype(np.uint8))):
            head = struct.pack(f">I{array.ndim}I", 0x0800 | array.ndim, *array.shape)
            name = f"{side}-{kind}-idx{array.ndim}-ubyte.gz"
            (folder / name).write_bytes(gzip.compress(head + array.tobytes(), 1))
    return folder


def go(mnist, tmp_path, monkeypatch, rounds, *options):
    monkeypatch.setenv("BALDUR_CACHE", str(tmp_path / "cache"))
    words = f"run mnist --data-dir {mnist} --out {tmp_path / 'run'} --quiet --seeds 1 --rounds {rounds}"
    quick = "--query-size 5 --initial 10 --draws 4 --epochs 2 --epoch-size 32"
    result = CliRunner().invoke(app, [*words.split(), *quick.split(), *options])
    assert result.exit_code == 0, result.output
    with Store.open(tmp_path / "run") as store:
        assert [m.labels for m in store.metrics("test") if m.metric == "accuracy"] == [10, 15, 20][
            : rounds + 1
        ]
        assert len({row.item for row in store.labels()}) == 10 + 5 * rounds


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"variance", "gaussian_information_gain"}))
def test_a_round_of_every_strategy(tmp_path, monkeypatch, mnist, name):
    options = OPTIONS.get(name, ["--strategy", name])
    go(mnist, tmp_path, monkeypatch, 1, "--network", "tests.tiny_runs:factory", *options)


def test_rounds_with_the_network_of_the_paper(tmp_path, monkeypatch, mnist):
    go(mnist, tmp_path, monkeypatch, 2, "--strategy", "badge")
