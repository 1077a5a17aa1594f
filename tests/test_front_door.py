"""`import baldur`: light, and with a sentence for every mistake."""

import subprocess
import sys

import pytest
from tests.tiny_runs import QUICK, blobs

import baldur
from baldur.errors import InvalidArgument, InvalidSettings


def loaded(code):
    """The modules that a fresh process has loaded after the code."""
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(said.stdout.split())


def test_importing_it_imports_nothing_heavy():
    heavy = {"torch", "pandas", "pydantic", "numpy", "sklearn", "matplotlib", "sqlalchemy"}
    assert not loaded("import baldur; dir(baldur); baldur.errors") & heavy


def test_the_names_are_all_there():
    for name in baldur.__all__:
        assert getattr(baldur, name) is not None
    assert set(dir(baldur)) == set(baldur.__all__)
    namespace = {}
    exec("from baldur import *", namespace)
    assert set(baldur.__all__) <= namespace.keys() | {"__version__"}


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(AttributeError, match="did you mean 'strategies'"):
        baldur.stratgies  # noqa: B018


def test_the_old_way_to_run_gets_a_sentence():
    with pytest.raises(InvalidArgument, match=r"write baldur\.run\(\.\.\.\)"):
        baldur.run.run(blobs(), "run")


def test_one_strategy_may_be_given_in_either_way(tmp_path):
    options = QUICK | {"rounds": 0}
    one = baldur.run(blobs(), tmp_path / "a", strategy="random", **options)
    other = baldur.run(blobs(), tmp_path / "b", strategies="random", **options)
    assert [row.strategy for row in one.summary.rows] == [row.strategy for row in other.summary.rows]
    assert "<table" in one._repr_html_()
    with pytest.raises(InvalidSettings, match="same option"):
        baldur.run(blobs(), tmp_path / "c", strategy="random", strategies="bald", **options)


def test_an_unknown_option_names_the_nearest(tmp_path):
    with pytest.raises(InvalidSettings, match="no option 'sedes'; did you mean 'seeds'"):
        baldur.run(blobs(), tmp_path / "run", sedes=3)
    with pytest.raises(InvalidSettings, match="did you mean 'query_size'"):
        baldur.run(blobs(), tmp_path / "run", query_sise=3)
    assert not (tmp_path / "run").exists()
