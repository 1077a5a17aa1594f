"""Bayesian deep active learning: which examples are worth labelling."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_FUNCTIONS = {"run": "baldur.runs.run", "load_model": "baldur.runs.exported"}


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'baldur' has no attribute {name!r}")
