"""Fits a learner on a cluster: each fit is a task, which Ray does again if its node is lost."""

import tempfile
import threading
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from baldur.distributed.cluster import Cluster
from baldur.distributed.scoring import root
from baldur.distributed.shipping import share
from baldur.protocols import Checkpoint, Labelled, Learner, Pool, Posterior, WrappingLearner, pictures_of

_loading = threading.Lock()  # building a network seeds PyTorch's one generator for a moment


@dataclass
class RayLearner(WrappingLearner):
    """A learner whose fits are tasks of a cluster; with the same seed and threads the same weights as here.

    Args:
        learner: Learns; a copy of it travels with each fit. So it must not show progress or keep records here.
        cluster: Where.
    """

    learner: Learner
    cluster: Cluster
    _pictures: bytes | None = field(default=None, init=False)

    def fit(
        self,
        labelled: Labelled,
        unlabelled: Pool,
        *,
        seed: int,
        round: int,
        previous: Posterior | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> Posterior:
        """Fit on a worker.

        Args:
            labelled: The labelled items.
            unlabelled: The unlabelled items.
            seed: Seed of the fit.
            round: The round.
            previous: Last round's posterior.
            checkpoint: Left alone: a fit whose worker is lost begins anew, there, with the same seed.

        Returns:
            The posterior.

        Raises:
            ClusterFailed: Workers were lost several times.
        """
        self.cluster.start()
        for pool in (labelled.pool, unlabelled):
            share(root(pool))
        fit = partial(_fit, self.learner, labelled, unlabelled, seed, round, previous)
        files, self._pictures = self.cluster.begin(fit, f"the fit of round {round}")()
        with tempfile.TemporaryDirectory() as name:
            for path, content in files.items():
                file = Path(name) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            return self.load(Path(name))

    def load(self, folder: Path) -> Posterior:
        """Load a saved posterior of this learner.

        Args:
            folder: The folder of the saved posterior.

        Returns:
            The posterior.
        """
        with _loading:
            return self.learner.load(folder)

    def pictures(self) -> bytes | None:
        """A PNG of images that the last fit generated; a worker made it.

        Returns:
            The PNG, or None where there are none.
        """
        return self._pictures


def _fit(
    learner: Learner,
    labelled: Labelled,
    unlabelled: Pool,
    seed: int,
    round: int,
    previous: Posterior | None,
) -> tuple[dict[str, bytes], bytes | None]:
    """On a worker: the files of the posterior, and the learner's pictures."""
    posterior = learner.fit(labelled, unlabelled, seed=seed, round=round, previous=previous)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        posterior.save(folder)
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    return files, pictures_of(learner)
