"""A run on a cluster: workers compute passes and fits, while the trials and the store stay in this process."""

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from baldur import loop
from baldur.core.devices import pick_device
from baldur.distributed import Cluster, RayLearner, RayScorer
from baldur.distributed.cluster import begin
from baldur.distributed.threads import Stopped, side_by_side
from baldur.posteriors.fit.ensembles import spread
from baldur.protocols import Scorer
from baldur.runs.settings import Settings
from baldur.score.scorer import PoolScorer
from baldur.store import Trial
from baldur.training.contract import Fitting

Place = Callable[[PoolScorer], Scorer]
"""Chooses where a pass over a pool is computed."""

FOLDER = "blocks"
"""Subfolder of the run for the finished blocks of current passes."""


@dataclass
class Elsewhere:
    """The cluster of a run.

    Args:
        cluster: The cluster; it starts with the first pass or fit.
        folder: The run's folder.
        most: Number of trials at a time; None means the number of workers.
    """

    cluster: Cluster
    folder: Path
    most: int | None = None
    _shown: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def spread(self, fitting: Fitting) -> Fitting:
        """A posterior function that fits its members, if any, side by side on processors.

        This is not done on GPUs: a fit keeps its GPU while it waits, so its members might never get one.
        """
        if self.cluster.gpus:
            return fitting
        return spread(fitting, partial(begin, self.cluster.threads, self.cluster.gpus))

    def parts(self, trial: Trial, made: Callable[[Place], loop.Parts]) -> loop.Parts:
        """The parts of one trial. Finished blocks of its passes are kept until the end of the round."""
        folder = self._blocks(trial)
        parts = made(partial(RayScorer, cluster=self.cluster, folder=folder))
        learner = RayLearner(parts.learner, self.cluster)

        def observe(event: loop.Event) -> None:
            if event.phase == "label":
                shutil.rmtree(folder, ignore_errors=True)
            if self.cluster.stopping.is_set():
                raise Stopped  # another process may own the store now
            with self._shown:
                parts.observe(event)

        return replace(parts, learner=learner, generated=learner.pictures, observe=observe)

    def side_by_side(self, trials: Sequence[Trial], go: Callable[[Trial], str]) -> list[str]:
        """Advance trials as far as possible, with as many at a time as there are workers."""

        def whole(trial: Trial) -> str:
            said = go(trial)
            shutil.rmtree(self._blocks(trial), ignore_errors=True)
            return said

        self.cluster.start()
        calls = [partial(whole, trial) for trial in trials]
        said = side_by_side(calls, self.most or self.cluster.size, self.cluster.stopping)
        shutil.rmtree(self.folder / FOLDER, ignore_errors=True)
        return said

    def _blocks(self, trial: Trial) -> Path:
        return self.folder / FOLDER / f"trial-{trial.id}"


def make_elsewhere(settings: Settings, out: Path) -> Elsewhere | None:
    """The cluster of a run, if the settings ask for one.

    Args:
        settings: The settings of the run.
        out: The run's folder.

    Returns:
        The cluster, or None if everything is computed in this process.
    """
    engine = settings.engine
    if engine.engine == "local":
        return None
    cluster = Cluster(
        engine.address,
        engine.workers or None,
        engine.threads or torch.get_num_threads(),
        gpus=float(pick_device(engine.device).type == "cuda"),
    )
    most = (
        1 if settings.compare.oracle == "file" else None
    )  # one file of questions is written by one trial at a time
    return Elsewhere(cluster, out.absolute(), most)
