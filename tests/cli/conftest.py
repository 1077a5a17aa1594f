import shutil

import numpy as np
import pytest
from tests.cli.commands import OPTIONS, baldur
from tests.tiny_runs import blobs


def _saved(folder):
    x, y = blobs()
    np.savez(folder / "blobs.npz", x=x, y=y)
    return folder / "blobs.npz"


@pytest.fixture
def arrays(tmp_path):
    """A file of arrays: the blobs."""
    return _saved(tmp_path)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A finished run over a file of arrays, and what was said of it; its report has drawings."""
    folder = tmp_path_factory.mktemp("finished")
    words = ("--strategy", "random", "--strategy", "bald", *OPTIONS, "--out", folder / "run")
    return folder / "run", baldur("run", _saved(folder), *words)


@pytest.fixture
def finished(made_once, tmp_path):
    """The folder of a finished run, for one test alone."""
    return shutil.copytree(made_once[0], tmp_path / "run")
