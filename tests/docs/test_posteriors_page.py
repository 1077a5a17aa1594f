"""docs/posteriors.md says what its figures say."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_that_of_its_figures():
    spec = importlib.util.spec_from_file_location("make_posteriors", DOCS / "make_posteriors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "posteriors.md").read_text() == module.page(), "run `python docs/make_posteriors.py`"
