"""The verifier of learners."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baldur.protocols import Labelled, Learner, Pool, Posterior, held_out_of


class _Killed(Exception):
    pass


class _Slot:
    """A checkpoint slot in a folder; the fit is killed right after its n-th save."""

    def __init__(self, folder: Path, kill_after: int | None = None) -> None:
        self.path = folder / "checkpoint"
        self.kill_after = kill_after
        self.saves = 0

    def latest(self) -> Path | None:
        return self.path if self.path.exists() else None

    def save(self, write: Callable[[Path], None]) -> None:
        temporary = self.path.with_suffix(".part")
        write(temporary)
        temporary.replace(self.path)
        self.saves += 1
        if self.saves == self.kill_after:
            raise _Killed


def verify_learner(make_learner: Callable[[], Learner], labelled: Labelled, unlabelled: Pool) -> None:
    """Check that a learner is reproducible, survives being killed, and loads what it saved.

    The same seed must give the same posterior, and another seed another posterior. No global generator of PyTorch or
    NumPy may change. A fit that is killed after a checkpoint and resumed must end exactly like an uninterrupted fit. A
    loaded posterior must give the same draws as before. A learner that holds items out must always hold out the same.

    Args:
        make_learner: Makes a learner that saves at least one checkpoint in a fit. It is called several times.
        labelled: Labelled items for the fits.
        unlabelled: Items for comparing posteriors.

    Raises:
        AssertionError: A check failed. The message names it.
    """
    _, x = next(unlabelled.batches(np.arange(min(len(unlabelled), 64)), 64))

    def fit(seed: int, slot: _Slot | None = None) -> Posterior:
        return make_learner().fit(labelled, unlabelled, seed=seed, round=1, checkpoint=slot)

    once, again = (held_out_of(make_learner(), labelled) for _ in range(2))
    same = list(once.pool.ids if once else ()) == list(again.pool.ids if again else ())
    assert same, "the learner holds out other items when it is asked again"
    before = _generators()
    first = fit(1)
    assert _generators() == before, "fitting moved a global random generator"
    told = _told(first, x)
    assert torch.equal(_told(fit(1), x), told), "two fits with the same seed differ"
    assert not torch.equal(_told(fit(2), x), told), "fits with different seeds are the same"

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = _Slot(folder)
        assert torch.equal(_told(fit(1, whole), x), told), "keeping checkpoints changes the fit"
        assert whole.saves > 0, "no checkpoint was saved; let the learner save one at the end of each epoch"
        for kill_after in sorted({1, (whole.saves + 1) // 2, whole.saves}):
            whole.path.unlink(missing_ok=True)
            slot = _Slot(folder, kill_after)
            with suppress(_Killed):
                fit(1, slot)
            rest = _Slot(folder)
            same = torch.equal(_told(fit(1, rest), x), told)
            assert same, f"a fit that was killed after checkpoint {kill_after} and went on ends elsewhere"
            assert rest.saves < whole.saves, "a fit that was killed began again from nothing"

        saved = folder / "posterior"
        saved.mkdir()
        first.save(saved)
        loaded = make_learner().load(saved)
        assert torch.equal(_told(loaded, x), told), "a posterior that was saved and loaded gives other draws"


def _told(posterior: Posterior, x: Any) -> torch.Tensor:
    return torch.as_tensor(posterior.draw(seed=0)(x)).cpu()


def _generators() -> tuple[Any, ...]:
    of_numpy: Any = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), of_numpy[1].tolist(), of_numpy[2:]
