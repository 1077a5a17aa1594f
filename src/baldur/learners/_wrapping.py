"""What learners, posterior functions and ways to train pass on of those that they wrap."""

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
