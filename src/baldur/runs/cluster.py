"""A run on a cluster: passes and fits go to its workers, trials wait for them side by side, the store stays here."""

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
"""Where a pass over a pool is computed."""

FOLDER = "blocks"
"""Below the run's folder: what is done of passes that are going on."""


@dataclass
class Elsewhere:
    """The cluster of a run.

    Args:
        cluster: Started with the first pass or fit.
        folder: Of the run.
        most: Trials that go on at a time; None for as many as there are workers.
    """

    cluster: Cluster
    folder: Path
    most: int | None = None
    _shown: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def spread(self, fitting: Fitting) -> Fitting:
        """A posterior function whose members, if it has any, are fitted side by side, each on processors.

        A fit on a GPU keeps it while it waits for its members, which would wait for one in vain.
        """
        if self.cluster.gpus:
            return fitting
        return spread(fitting, partial(begin, self.cluster.threads, self.cluster.gpus))

    def parts(self, trial: Trial, made: Callable[[Place], loop.Parts]) -> loop.Parts:
        """The parts of one trial; what was done of its passes is kept until the round is over."""
        folder = self._blocks(trial)
        parts = made(partial(RayScorer, cluster=self.cluster, folder=folder))
        learner = RayLearner(parts.learner, self.cluster)

        def observe(event: loop.Event) -> None:
            if event.phase == "label":
                shutil.rmtree(folder, ignore_errors=True)
            if self.cluster.stopping.is_set():
                raise Stopped  # the store may be another's by now
            with self._shown:
                parts.observe(event)

        return replace(parts, learner=learner, generated=learner.pictures, observe=observe)

    def side_by_side(self, trials: Sequence[Trial], go: Callable[[Trial], str]) -> list[str]:
        """Take trials as far as they go, as many at a time as there are workers."""

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
    """The cluster that the settings name, if they do.

    Args:
        settings: What the run is told.
        out: Its folder.

    Returns:
        None where everything is computed here.
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
