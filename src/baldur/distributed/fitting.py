"""Fits a learner on a cluster. Each fit is a task, which Ray repeats if its node is lost."""

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
    """A learner whose fits are tasks of a cluster. The same seed and threads give the same weights as in this process.

    Args:
        learner: The learner. A copy of it is sent with each fit, so it cannot show progress or keep records here.
        cluster: The cluster.
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
            previous: The posterior of the previous round.
            checkpoint: Ignored: if a worker is lost, its fit starts anew elsewhere with the same seed.

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
        """A PNG of the images that the last fit generated.

        Returns:
            The PNG, or None if there are no images.
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
    """Fit on a worker. Returns the files of the posterior and the pictures of the learner."""
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
