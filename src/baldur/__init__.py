"""Bayesian active learning: find the examples whose labels help most.

baldur.run("digits", "runs/demo", strategies=["random", "bald"], seeds=5)    # compare on labelled data
run = baldur.open("runs/demo")                                               # any run, finished or not
baldur.choose(posterior, pool, k=10, strategy="badge")                       # one batch, without a run
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
"""The version of the package."""

__all__ = [
    "__version__",
    "acquire",
    "choose",
    "data",
    "errors",
    "evaluate",
    "learners",
    "load_model",
    "networks",
    "open",
    "posteriors",
    "run",
    "score",
    "select",
    "stopping",
    "strategies",
]

if TYPE_CHECKING:
    from baldur import (
        acquire,
        data,
        errors,
        evaluate,
        learners,
        networks,
        posteriors,
        score,
        select,
        stopping,
        strategies,
    )
    from baldur.runs.choosing import choose
    from baldur.runs.exported import load_model
    from baldur.runs.opened import open
    from baldur.runs.run import run
else:
    # Nothing is imported before it is used: `import baldur` needs neither torch nor pandas nor pydantic.
    _FUNCTIONS = {
        "choose": "baldur.runs.choosing",
        "load_model": "baldur.runs.exported",
        "open": "baldur.runs.opened",
        "run": "baldur.runs.run",
    }

    def __getattr__(name: str) -> object:
        from difflib import get_close_matches
        from importlib import import_module

        if name in _FUNCTIONS:
            return getattr(import_module(_FUNCTIONS[name]), name)
        if name in __all__:
            return import_module(f"baldur.{name}")
        from importlib.util import find_spec

        if not name.startswith("_") and find_spec(f"baldur.{name}") is not None:
            raise AttributeError(
                f"module 'baldur' does not import {name!r} by itself; write `import baldur.{name}`"
            )
        near = get_close_matches(name, __all__, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise AttributeError(f"module 'baldur' has no attribute {name!r}{hint}")

    def __dir__() -> list[str]:
        return sorted(__all__)
