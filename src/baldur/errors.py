"""All exceptions that a user may catch, under one base class.

Each message says what arrived, what was expected, and what to do.
"""

from collections.abc import Mapping


class BaldurError(Exception):
    """The base class of all exceptions of Baldur."""


class InvalidArgument(BaldurError, ValueError):
    """An argument of a public function is not valid: for example its shape, its size or its name."""


class InvalidSettings(BaldurError, ValueError):
    """A settings file or a command-line option cannot be used."""


class InvalidPredictions(BaldurError, ValueError):
    """Predictions are not normalised log-probabilities; the message names the first bad row."""


class NonFiniteScore(BaldurError, ValueError):
    """A score is NaN or infinite. Baldur never replaces such a score."""


class InvalidLabel(BaldurError, ValueError):
    """A label is not one of the classes."""


class NoStochasticSite(BaldurError, ValueError):
    """The network has no active dropout layer, so all posterior samples would be the same."""


class IdenticalDraws(BaldurError, ValueError):
    """The network has dropout, but its outputs do not depend on it, so all posterior samples are the same."""


class UnsupportedNetwork(BaldurError, ValueError):
    """The network has a part that Baldur cannot sample consistently; the message names it."""


class Unsupported(BaldurError, NotImplementedError):
    """The object does not support the request: for example, a network without features was asked for them."""


class TrainingDiverged(BaldurError, ArithmeticError):
    """The training loss or a weight is no longer finite."""


class InvalidCheckpoint(BaldurError, ValueError):
    """The checkpoint of a fit is damaged, or belongs to another fit."""


class EmptyLabelledSet(BaldurError, ValueError):
    """There are no labelled items to train on."""


class OneClassOnly(UserWarning):
    """All labels so far are of one class, so the model cannot learn to tell classes apart yet."""


class AnswersRefused(UserWarning):
    """Some answers of people were not stored, because they cannot be right. The others were."""


class ItemsLeftOut(UserWarning):
    """Some items could not be read, and got no prediction."""


class SamplesMissTraining(UserWarning):
    """The samples of a posterior get far fewer of their training labels right than the mean prediction does."""


class DataNotFound(BaldurError, FileNotFoundError):
    """A data set, or a folder or file of it, does not exist."""


class InvalidData(BaldurError, ValueError):
    """A data file exists, but its content cannot be used."""


class UnreadableItems(InvalidData):
    """A pool could not read some items during a pass. Your own pool may raise this, too.

    Args:
        reasons: The reason for each item id.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        told = [f"{id}: {why}" for id, why in self.reasons.items()]
        more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
        super().__init__(f"{'; '.join(told[:3])}{more}")

    def __reduce__(self) -> tuple[type, tuple[dict[str, str]]]:
        return type(self), (self.reasons,)


class NonFiniteItems(UnreadableItems, InvalidPredictions):
    """Some items have NaN or infinite inputs, so their predictions are NaN."""


class ItemChanged(BaldurError):
    """The content of a file differs from the content that was recorded under its id."""


class DownloadFailed(BaldurError):
    """A download failed, or its checksum is wrong."""


class ClusterFailed(BaldurError):
    """A cluster cannot be reached, or lost its workers several times; all finished work is kept."""


class JobFailed(BaldurError):
    """A process that ran trials beside others was ended from outside; what was done before is kept."""


class StoreError(BaldurError):
    """A run's folder or database has a problem."""


class RunNotFound(StoreError, FileNotFoundError):
    """There is no run in that folder."""


class RunBusy(StoreError):
    """Another process is already working on this run."""


class NewerStore(StoreError):
    """The database was written by a newer version of Baldur."""


class DamagedArtefact(StoreError):
    """A file of the run is missing, cut short or changed."""


class SettingsChanged(StoreError):
    """A run was started again with settings that differ from its first ones."""


class DiskFull(StoreError, OSError):
    """The disk is full; all earlier results are safe."""


class TieBreakWarning(UserWarning):
    """All scores are the same, so the ranking is just the order of the pool."""


class SpinningThreads(UserWarning):
    """PyTorch's threads spin while they wait for each other, on a machine that is busy."""
