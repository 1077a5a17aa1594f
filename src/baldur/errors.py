"""Every exception that a user may catch, under one base.

A message says what arrived, what was expected and what to do about it.
"""

from collections.abc import Mapping


class BaldurError(Exception):
    """Base of everything that Baldur raises on purpose."""


class InvalidArgument(BaldurError, ValueError):
    """An argument of a public function is out of its domain (a shape, a size, a name)."""


class InvalidSettings(BaldurError, ValueError):
    """A settings file or a command-line option cannot be used."""


class InvalidPredictions(BaldurError, ValueError):
    """Predictions are not normalised log-probabilities; names the first bad row."""


class NonFiniteScore(BaldurError, ValueError):
    """A score is NaN or infinite. Scores are never mended."""


class InvalidLabel(BaldurError, ValueError):
    """A label is not one of the classes."""


class NoStochasticSite(BaldurError, ValueError):
    """The network has no active dropout site, so every posterior sample would be the same."""


class IdenticalDraws(BaldurError, ValueError):
    """The draws of a posterior did not differ anywhere over a whole pass."""


class UnsupportedNetwork(BaldurError, ValueError):
    """The network does something that cannot be done consistently; the message names the site."""


class Unsupported(BaldurError, NotImplementedError):
    """The object does not offer what was asked of it (features of a network that has none, say)."""


class TrainingDiverged(BaldurError, ArithmeticError):
    """The training loss is no longer finite."""


class InvalidCheckpoint(BaldurError, ValueError):
    """The checkpoint of a fit is damaged, or it is that of another fit."""


class EmptyLabelledSet(BaldurError, ValueError):
    """There is nothing to train on."""


class OneClassOnly(UserWarning):
    """All labels are of one class, so that there is nothing to tell apart yet."""


class DataNotFound(BaldurError, FileNotFoundError):
    """A data set, a folder or a file of it is not where it should be."""


class InvalidData(BaldurError, ValueError):
    """A data file is there, but its content cannot be used."""


class UnreadableItems(InvalidData):
    """Items that a pool could not read in the middle of a pass; a pool of one's own may raise it, too.

    Args:
        reasons: Why, by item id.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        told = [f"{id}: {why}" for id, why in self.reasons.items()]
        more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
        super().__init__(f"{'; '.join(told[:3])}{more}")

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return type(self), (self.reasons,)


class NonFiniteItems(UnreadableItems, InvalidPredictions):
    """Items whose inputs hold NaN or an infinite value, so that their predictions are NaN."""


class ItemChanged(BaldurError):
    """A file is no longer the one whose content was recorded under its id."""


class DownloadFailed(BaldurError):
    """A download did not arrive, or not with the right checksum."""


class ClusterFailed(BaldurError):
    """A cluster cannot be reached, or it lost its workers again and again; what was done before is kept."""


class StoreError(BaldurError):
    """Something is wrong with a run's folder or database."""


class RunNotFound(StoreError, FileNotFoundError):
    """There is no run at that place."""


class RunBusy(StoreError):
    """Another process already has this role on this run."""


class NewerStore(StoreError):
    """The database was written by a newer version of Baldur."""


class DamagedArtefact(StoreError):
    """A file of the run is missing, cut short or altered."""


class SettingsChanged(StoreError):
    """A run was started again with other settings than it was begun with."""


class DiskFull(StoreError, OSError):
    """There is no room left on the device; what was committed before is safe."""


class TieBreakWarning(UserWarning):
    """Every score is the same by construction, so a ranking by it is the order of the pool."""


class SpinningThreads(UserWarning):
    """PyTorch's threads spin while they wait for each other, on a machine that is busy."""
