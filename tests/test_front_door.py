"""`import baldur`: light, and with a sentence for every mistake."""

import importlib.util
import re
import rlcompleter
import subprocess
import sys
from pathlib import Path

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


def test_help_and_completion_show_every_name():
    told = subprocess.run(
        [sys.executable, "-c", "import baldur; help(baldur)"], capture_output=True, text=True, check=True
    ).stdout
    completer = rlcompleter.Completer({"baldur": baldur})
    completed = [completer.complete("baldur.", i) or "" for i in range(100)]
    names = set(baldur.__all__) - {"__version__"}
    assert names <= {text.removeprefix("baldur.").rstrip("()") for text in completed}
    assert names <= set(re.findall(r"^    (\w+)", told, re.MULTILINE))
    assert f"VERSION\n    {baldur.__version__}" in told


TYPED = """
from pathlib import Path

import baldur

outcome = baldur.run("digits", Path("runs/a"), strategies=["random", "bald"], seeds=2)
state: str = outcome.state
curves = baldur.open("runs/a").curves()
ids: tuple[str, ...] = baldur.choose(baldur.posteriors.MCDropout(baldur.networks.mlp((8,), 3)), [], k=10).ids
"""

WRONG = """
import baldur

count: int = baldur.choose(baldur.posteriors.Estimators([], classes=3), [], k=10).ids
baldur.chose
baldur.posteriors.MCDropot
baldur.open(3)
"""


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_type_checker_sees_the_names(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "wrong.py").write_text(WRONG)
    root = Path(__file__).resolve().parents[1]
    files = [str(tmp_path / name) for name in ("typed.py", "wrong.py")]
    said = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--no-pretty", *files],
        cwd=root,
        capture_output=True,
        text=True,
    ).stdout
    errors = re.findall(r"(\w+)\.py:(\d+): error: .*\[([\w-]+)\]", said)
    assert errors == [
        ("wrong", "4", "assignment"),
        ("wrong", "5", "attr-defined"),
        ("wrong", "6", "attr-defined"),
        ("wrong", "7", "arg-type"),
    ], said


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


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import numpy as np
import baldur.report, baldur.store
from baldur import acquire, evaluate, select
rng = np.random.default_rng(0)
log_probs = acquire.from_probs(rng.dirichlet(np.ones(3), (20, 5)))
assert len(select.top(acquire.bald(log_probs), 3).indices) == 3
assert len(select.batchbald(log_probs, 3).indices) == 3
assert len(select.k_center(rng.random((20, 4)), 3).indices) == 3
assert 0 <= evaluate.accuracy(evaluate.predictive(log_probs), np.arange(20) % 3) <= 1
"""


def test_scores_selections_and_reports_work_without_torch():
    assert not loaded(WITHOUT_TORCH) & {"torch"}
