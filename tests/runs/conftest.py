import shutil

import pytest
from tests.tiny_runs import QUICK, blob_set

from baldur.runs import run


@pytest.fixture(scope="session")
def _made_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run.run(blob_set(), folder, **QUICK)
    return folder


@pytest.fixture
def finished(_made_once, tmp_path):
    """The folder of a finished run over the blobs with quick settings, for one test alone."""
    return shutil.copytree(_made_once, tmp_path / "run")
