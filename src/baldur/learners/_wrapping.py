"""What learners and posterior functions pass on of those that they wrap."""

from collections.abc import Mapping
from typing import Any

from baldur.protocols import Labelled


class WrappingLearner:
    """A learner around another, `self.learner`."""

    learner: Any

    def held_out(self, labelled: Labelled) -> Labelled | None:
        """Which items a fit on these does not train on, if the inner learner holds any out."""
        inner = getattr(self.learner, "held_out", None)
        held: Labelled | None = None if inner is None else inner(labelled)
        return held

    def pictures(self) -> bytes | None:
        """A PNG of what the last fit made up, if the inner learner makes anything up."""
        inner = getattr(self.learner, "pictures", None)
        made: bytes | None = None if inner is None else inner()
        return made


class WrappingFitting:
    """A posterior function around another, `self.inner`."""

    inner: Any

    @property
    def options(self) -> Mapping[str, Any]:
        """What networks are built with."""
        own: Mapping[str, Any] = getattr(self.inner, "options", {})
        return own

    def pictures(self) -> bytes | None:
        """A PNG of what the last fit made up, if the inner function makes anything up."""
        inner = getattr(self.inner, "pictures", None)
        made: bytes | None = None if inner is None else inner()
        return made
