import subprocess
import sys

import pytest

from baldur.data import load
from baldur.errors import DataNotFound, InvalidData


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(DataNotFound, match=r"Did you mean mnist\?.*digits, mnist, fashion-mnist, cifar10"):
        load("mnsit")
    with pytest.raises(DataNotFound, match="a folder of images"):
        load("/no/such/place")


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InvalidData, match="unknown format; give a folder of images"):
        load(str(tmp_path / "notes.txt"))


def test_importing_is_light():
    code = "import sys, baldur.data; print([m for m in ('torch', 'PIL', 'sklearn') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
