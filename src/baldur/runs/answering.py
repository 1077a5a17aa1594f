"""The oracle of a run: simulated annotators, the annotators of CIFAR-10N, or a file."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from baldur import oracles
from baldur.core.seeds import derive
from baldur.data import Dataset
from baldur.data.people import cifar10n
from baldur.errors import InvalidArgument, InvalidData, InvalidSettings
from baldur.protocols import Oracle, Pool
from baldur.runs.settings import CompareSettings


def make_oracle(
    compare: CompareSettings,
    data_dir: str | None,
    folder: Path,
    dataset: Dataset,
    pool: Pool,
    labels: NDArray[np.int64],
) -> Callable[[int], Oracle]:
    """Make the oracles of a run. Simulated errors are the same for all strategies of a seed.

    Args:
        compare: The settings of the oracle and of wrong answers.
        data_dir: Folder with the official data files.
        folder: The run's folder.
        dataset: The data.
        pool: The items that may be requested.
        labels: The classes of these items, (N,); -1 for unknown.

    Returns:
        A function from the seed of a trial to its oracle.

    Raises:
        InvalidSettings: The settings contradict one another.
        InvalidData: Items have no label, so a simulated oracle is impossible.
    """
    if compare.oracle == "file":
        if compare.noise is not None or compare.annotators > 1:
            raise InvalidSettings(
                "--noise and --annotators are for simulated answers; leave them out, or leave out --oracle file"
            )
        paths = {record.id: record.path or "" for record in dataset.records}
        ids = (*dataset.train.ids, *dataset.test.ids, *(i for i, _ in dataset.quarantined))
        file = oracles.FileOracle(folder, dataset.classes, lambda i: paths.get(i, ""), ids)
        return lambda seed: file  # one for all seeds, as it writes one list of questions
    unknown = int((labels < 0).sum())
    if unknown:
        raise InvalidData(
            f"{unknown} of {len(labels)} items {'has' if unknown == 1 else 'have'} no label, so the simulated oracle "
            "cannot answer for them; remove these items, or give answers through a file: --oracle file"
        )
    if compare.noise is None and compare.annotators == 1:
        simulated = oracles.Simulated(pool.ids, labels, dataset.classes)
        return lambda seed: simulated
    return partial(_crowd, _annotators(compare, data_dir, dataset, pool, labels), dataset.classes)


def _crowd(annotators: Callable[[int], Sequence[Oracle]], classes: Sequence[str], seed: int) -> Oracle:
    own = derive(seed, "oracle")
    several = annotators(own)
    return oracles.Crowd(several, classes, votes=len(several), seed=own) if several[1:] else several[0]


def _annotators(
    compare: CompareSettings,
    data_dir: str | None,
    dataset: Dataset,
    pool: Pool,
    labels: NDArray[np.int64],
) -> Callable[[int], Sequence[Oracle]]:
    """A function from a seed to annotators, who make the errors that the settings ask for."""
    noise, classes = compare.noise or "0", dataset.classes
    if noise.partition(":")[0] == "people":
        people = _people(compare, data_dir, noise.partition(":")[2], pool, labels, classes)
        return lambda seed: people
    try:
        transition = oracles.uniform(float(noise), len(classes))
    except (ValueError, InvalidArgument):
        raise InvalidSettings(
            "noise must be a share of wrong answers, such as 0.2, or people:NAME (NAME is first, second, third, "
            f"majority or worst), or people with --annotators 2 or 3; not {noise!r}"
        ) from None
    truth = oracles.Simulated(pool.ids, labels, classes)
    names = [f"annotator {number + 1}" for number in range(compare.annotators)]
    return lambda seed: [oracles.Noisy(truth, classes, transition, seed=seed, annotator=n) for n in names]


_PEOPLE = ("first", "second", "third")


def _people(
    compare: CompareSettings,
    data_dir: str | None,
    who: str,
    pool: Pool,
    labels: NDArray[np.int64],
    classes: Sequence[str],
) -> Sequence[Oracle]:
    """The answers of CIFAR-10N: a named one, or the first n of three."""
    n = compare.annotators
    if n > len(_PEOPLE):
        raise InvalidSettings(
            f"each image of CIFAR-10N has three answers; give at most --annotators 3, not {n}"
        )
    if n > 1 and who:
        raise InvalidSettings(
            f"--annotators {n} uses the answers {', '.join(_PEOPLE[:n])}, so {who!r} cannot be chosen, too; "
            "give --noise people, or leave out --annotators"
        )
    if n == 1 and not who:
        raise InvalidSettings(
            "choose the answers: --noise people:NAME (NAME is first, second, third, majority or worst), or add "
            "--annotators 3"
        )
    people = cifar10n(data_dir)
    return [
        oracles.from_people(people, name, pool.ids, labels, classes)
        for name in ([who] if who else _PEOPLE[:n])
    ]
