"""Verifiers: checks for your own strategies, posteriors, learners, pools, oracles and acquisition functions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "verify_acquisition",
    "verify_learner",
    "verify_oracle",
    "verify_pool",
    "verify_posterior",
    "verify_resume",
    "verify_store",
    "verify_strategy",
]


if TYPE_CHECKING:
    from baldur.testing.acquisition import verify_acquisition
    from baldur.testing.learner import verify_learner
    from baldur.testing.oracle import verify_oracle
    from baldur.testing.pool import verify_pool
    from baldur.testing.posterior import verify_posterior
    from baldur.testing.resume import verify_resume
    from baldur.testing.store import verify_store
    from baldur.testing.strategy import verify_strategy
else:

    def __getattr__(name: str) -> Any:
        """Import a verifier at its first use. `verify_acquisition` works without torch."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{name.removeprefix('verify_')}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
