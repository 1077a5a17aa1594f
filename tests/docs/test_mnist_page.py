"""docs/mnist.md is what its curves say."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_of_the_curves_beside_it():
    spec = spec_from_file_location("make_mnist", DOCS / "make_mnist.py")
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    _, curves = made.read([made.CURVES])
    assert {name for name, _ in curves} == set(made.PUBLISHED)
    assert made.PAGE.read_text() == made.page(curves)
