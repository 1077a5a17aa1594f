"""Who answers in a run: simulated annotators, people of CIFAR-10N, or a file."""

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
    """The oracle of each seed. Simulated errors are the same for all strategies of a seed.

    Args:
        compare: Who answers, and how simulated annotators err.
        data_dir: Folder of the official data files.
        folder: The run's.
        dataset: The data.
        pool: The items that may be asked for.
        labels: Their classes, (N,); -1 for unknown.

    Returns:
        The seed of a trial to its oracle.

    Raises:
        InvalidSettings: The settings contradict one another.
        InvalidData: A simulated oracle is asked for, and items have no label.
    """
    if compare.oracle == "file":
        if compare.noise is not None or compare.annotators > 1:
            raise InvalidSettings(
                "--noise and --annotators are for simulated answers; what comes through a file is taken as it is"
            )
        paths = {record.id: record.path for record in dataset.records}
        ids = (*dataset.train.ids, *dataset.test.ids, *(i for i, _ in dataset.quarantined))
        file = oracles.FileOracle(folder, dataset.classes, lambda i: paths.get(i, ""), ids)
        return lambda seed: file  # one for all, for it writes one list of questions
    unknown = int((labels < 0).sum())
    if unknown:
        raise InvalidData(
            f"{unknown} of {len(labels)} items have no label, so the simulated oracle cannot answer for them; "
            "take them out, or answer through a file: --oracle file"
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
    """Those who answer, given a seed, and err as the settings say."""
    noise, classes = compare.noise or "0", dataset.classes
    if noise.partition(":")[0] == "people":
        people = _people(compare, data_dir, noise.partition(":")[2], pool, labels, classes)
        return lambda seed: people
    try:
        transition = oracles.uniform(float(noise), len(classes))
    except (ValueError, InvalidArgument):
        raise InvalidSettings(
            "noise is a share of wrong answers, as 0.2, or people:NAME with first, second, third, majority or worst, "
            f"or people with several annotators; not {noise!r}"
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
    """The answers of CIFAR-10N: one that is named, or the first so many of three."""
    n = compare.annotators
    if n > len(_PEOPLE):
        raise InvalidSettings(f"each image of CIFAR-10N has three answers, so {n} annotators are too many")
    if n > 1 and who:
        raise InvalidSettings(
            f"{n} annotators give the {', '.join(_PEOPLE[:n])} answers, so {who!r} cannot be meant: "
            "say --noise people, or leave --annotators out"
        )
    if n == 1 and not who:
        raise InvalidSettings(
            "say whose answers: --noise people:NAME with first, second, third, majority or worst; or --annotators 3"
        )
    people = cifar10n(data_dir)
    return [
        oracles.from_people(people, name, pool.ids, labels, classes)
        for name in ([who] if who else _PEOPLE[:n])
    ]
