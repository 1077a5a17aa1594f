"""Data that people will label: items without labels, or with some."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from baldur.data.arrays import from_arrays, refuse_other_rows
from baldur.data.by_name import NO_NAMES, ByName, by_name
from baldur.data.cells import columns_of, is_columns, is_frame, is_split
from baldur.data.classes import class_names, none_known, recoded
from baldur.data.dataset import Dataset, KnownRecord
from baldur.data.download import Progress
from baldur.data.encoders.exported import Encoder
from baldur.data.growing import in_order, joined
from baldur.data.labels import Labelling, Rules, rules_of
from baldur.data.loading import NAMES, read, with_features
from baldur.data.memory import in_memory
from baldur.data.tables import from_columns
from baldur.data.text_files import are_texts, from_list
from baldur.data.torch_dataset import LABEL_NAMES, from_dataset, is_dataset
from baldur.errors import InvalidArgument

_ADDED = "added-"
"""The beginning of the ids of items that were added later."""

IN_MEMORY = "in memory"
"""The name of a data set that was given in Python."""

_OF_A_RUN = ("input_shape", "facts", "scaling")  # in the preprocessing of a run, but not in that of its data


def load_for_labelling(
    what: Any,
    *,
    classes: Any = None,
    data_dir: str | None = None,
    image_size: int = 64,
    layout: Literal["classes", "splits"] | None = None,
    encoder: str | Encoder | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    missing: Any = None,
    task: str = "auto",
    standardise: bool = True,
    known: Mapping[str, KnownRecord] | None = None,
    kept: Mapping[str, Any] | None = None,
    order: Sequence[str] = (),
    added: Sequence[Any] = (),
    label: str | None = None,
    text: str | None = None,
    inputs: str | Sequence[str] | None = None,
    id: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Dataset:
    """Data that people will label. Labels that the data have are kept, and all items are in the pool.

    There are test items only if the data name them. To read the data of a run again, give `known`, `kept` and `order`.
    Then old items keep their places and their preprocessing, and new items follow them.

    Args:
        what: A path that `load` takes: a folder of images or .txt files with or without subfolders, a list of files, a
            table, arrays or Parquet. Or objects in Python: arrays x, a list of texts, a tuple (x, y) with missing
            labels in y, a data frame, a dict of columns or a Hugging Face `Dataset` with or without the column label,
            a PyTorch data set of inputs or pairs, or a `Dataset`.
        classes: The names of the classes; by default those that occur. The first folder on the path of an image that
            has the name of a class gives its label. Numbers in y are positions, unless the classes are numbers.
        data_dir: See `load`.
        image_size: See `load`.
        layout: See `load`.
        encoder: See `load`.
        cache: See `load`.
        device: See `load`.
        progress: See `load`.
        missing: See `load`. If the classes are given, -1 is missing, too.
        task: See `load`.
        standardise: See `load`.
        known: The recorded facts of the files of a run by id, to notice changed files.
        kept: The preprocessing of the run.
        order: The ids of the pool of the run, in order.
        added: What was added later, in the order of addition: each as in `what`, or one image. Their ids begin with
            added-1/, added-2/ and so on. Items that are equal to an earlier one are left out and named.
        label: See `load`.
        text: See `load`.
        inputs: See `load`.
        id: See `load`.
        split: See `load`.
        group: See `load`.

    Returns:
        The data set.

    Raises:
        InvalidArgument: The classes or the objects cannot be used.
        InvalidData: The data cannot be used, or have fewer than two classes and none are given.
        InvalidLabel: A label is not one of the classes.
        ItemChanged: An item of the run is missing, or its content changed.
    """
    names = None if classes is None else class_names(classes, missing)
    columns = by_name(label, text, inputs, id, split, group)
    reading = _Reading(
        data_dir, image_size, layout, encoder, cache, device, progress, missing, task, standardise, columns
    )
    later = tuple(f"{_ADDED}{number}/" for number in range(1, len(added) + 1))
    own = {id: facts for id, facts in (known or {}).items() if not id.startswith(later)}
    dataset = reading.of(what, names, own, kept, frozenset(order))
    for number, place in enumerate(added, 1):
        dataset = reading.grown(dataset, place, number, known or {}, frozenset(order))
    return in_order(dataset, order)


def with_added(
    dataset: Dataset,
    place: Any,
    number: int,
    *,
    data_dir: str | None = None,
    image_size: int = 64,
    layout: Literal["classes", "splits"] | None = None,
    encoder: str | Encoder | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    missing: Any = None,
    task: str = "auto",
    standardise: bool = True,
    label: str | None = None,
    text: str | None = None,
    inputs: str | Sequence[str] | None = None,
    id: str | None = None,
    split: str | None = None,
    group: str | None = None,
) -> Dataset:
    """A data set with items that are added to it. Old items keep their places, and new items follow them.

    Args:
        dataset: The data set of a run, also with scaled numbers.
        place: The new items, as `load_for_labelling` takes them; or the path of one image.
        number: 1 for the first addition to the run, 2 for the second, and so on. The ids of the items begin with it.
        data_dir: See `load`.
        image_size: See `load`.
        layout: See `load`.
        encoder: See `load`.
        cache: See `load`.
        device: See `load`.
        progress: See `load`.
        missing: See `load`.
        task: See `load`.
        standardise: See `load`.
        label: See `load`.
        text: See `load`.
        inputs: See `load`.
        id: See `load`.
        split: See `load`.
        group: See `load`.

    Returns:
        The data set. Items that are there already by their content are left out, and named in `quarantined`.

    Raises:
        InvalidData: The new items cannot be used, or have another form.
        InvalidLabel: A label is not one of the classes.
    """
    columns = by_name(label, text, inputs, id, split, group)
    reading = _Reading(
        data_dir, image_size, layout, encoder, cache, device, progress, missing, task, standardise, columns
    )
    return reading.grown(dataset, place, number, {}, frozenset((*dataset.train.ids, *dataset.test.ids)))


class _Reading(NamedTuple):
    """How data are read; see `load`."""

    data_dir: str | None
    image_size: int
    layout: Literal["classes", "splits"] | None
    encoder: str | Encoder | None
    cache: Path | None
    device: str
    progress: Progress | None
    missing: Any
    task: str
    standardise: bool
    columns: ByName

    def of(
        self,
        what: Any,
        classes: tuple[str, ...] | None,
        known: Mapping[str, KnownRecord],
        kept: Mapping[str, Any] | None,
        old: Set[str],
    ) -> Dataset:
        """The data set of one source."""
        labelling = Labelling(classes, _of_data(kept), old)
        rules = rules_of(self.missing, self.task, labelling=labelling, columns=self.columns)
        if not isinstance(what, str | Path):
            loaded = _of_objects(what, rules, self.standardise)
            if self.encoder is None:
                return loaded
            return with_features(loaded, self.encoder, self.device, self.cache, self.progress)
        loaded = read(
            str(what),
            rules,
            data_dir=self.data_dir,
            image_size=self.image_size,
            test_fraction=0,
            seed=0,
            layout=self.layout,
            encoder=self.encoder,
            cache=self.cache,
            device=self.device,
            progress=self.progress,
            known=known,
            standardise=self.standardise,
        )
        return _recoded(loaded, rules) if str(what) in NAMES else loaded

    def grown(
        self, dataset: Dataset, place: Any, number: int, known: Mapping[str, KnownRecord], old: Set[str]
    ) -> Dataset:
        """The data set with the items of one more source."""
        prefix = f"{_ADDED}{number}/"
        own = {id.removeprefix(prefix): facts for id, facts in known.items() if id.startswith(prefix)}
        before = frozenset(id.removeprefix(prefix) for id in old if id.startswith(prefix))
        more = self.of(place, dataset.classes, own, dataset.preprocessing, before)
        return joined(dataset, more, prefix, old)


def _of_data(kept: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The preprocessing of the data of a run, before an encoder."""
    if kept is None:
        return None
    told = kept["input"] if kept["kind"] == "features" else kept
    return {name: value for name, value in told.items() if name not in _OF_A_RUN}


def _of_objects(what: Any, rules: Rules, standardise: bool) -> Dataset:
    if isinstance(what, Dataset):
        return _recoded(what, rules)
    if isinstance(what, tuple) and len(what) != 2:
        raise InvalidArgument(f"expected inputs x or a tuple (x, y), not a tuple of {len(what)} values")
    x, y = what if isinstance(what, tuple) else (what, None)
    if isinstance(x, str):
        raise InvalidArgument(
            f"expected inputs and their labels, not a tuple of a {type(x).__name__} and others"
        )
    _refuse_paths(x)
    if are_texts(x):
        refuse_names(rules.columns)
        return from_list(IN_MEMORY, x, y, test_fraction=0, rules=rules)
    if is_frame(x) or is_split(x) or is_columns(x):
        refuse_other_rows(x, y)
        if "path" in columns_of(x) and not rules.columns.named:
            raise InvalidArgument(
                "a table with the column path is a list of files; save it beside them as a CSV file, such as with"
                " to_csv('items.csv', index=False), and give the path of that file"
            )
        return from_columns(IN_MEMORY, x, y, test_fraction=0, rules=rules, standardise=standardise)
    refuse_names(rules.columns)
    if isinstance(x, dict) and (named := [name for name in LABEL_NAMES if name in x]):
        raise InvalidArgument(
            f"the dict of inputs has the key {named[0]}, which looks like labels; give a tuple (inputs, labels)"
        )
    if y is None and is_dataset(x):
        pool, y = from_dataset(x, bare=True)
    else:
        pool = from_arrays(_stacked(x))
    y = none_known(len(pool)) if y is None else y
    return in_memory(
        pool,
        y,
        test_fraction=0,
        images=True,
        missing=rules.missing,
        task=rules.task,
        labelling=rules.labelling,
    )


def _stacked(x: Any) -> Any:
    """A list of items of one shape as an array."""
    if not isinstance(x, list):
        return x
    if not x:
        raise InvalidArgument("the list of inputs is empty; give at least one item")
    try:
        return np.stack([np.asarray(item) for item in x])
    except ValueError as error:
        raise InvalidArgument(
            f"the list of inputs cannot be made an array ({error}); give items of one shape, or a PyTorch data set"
        ) from None


def _refuse_paths(x: Any) -> None:
    if isinstance(x, list) and any(isinstance(i, Path) or (isinstance(i, str) and _is_file(i)) for i in x):
        raise InvalidArgument(
            "the inputs are paths; give the folder of these files, or a CSV file beside them with the column path"
        )


def refuse_names(columns: ByName) -> None:
    """Refuse names of columns for data without columns.

    Args:
        columns: The columns that the user names.

    Raises:
        InvalidArgument: A column is named.
    """
    if columns != NO_NAMES:
        raise InvalidArgument(f"the data have no columns with names; leave out {columns.options()}")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a path
        return False


def _recoded(dataset: Dataset, rules: Rules) -> Dataset:
    """A data set with its labels as positions in the given classes."""
    both = np.concatenate([dataset.labels, dataset.test_labels])
    codes, classes = recoded(both, dataset.classes, dataset.name, rules)
    train, test = np.split(codes, [len(dataset.labels)])
    return replace(dataset, labels=train, test_labels=test, classes=classes)
