"""Data to label: files, arrays and named data sets as pools of items with stable ids."""

from baldur.data.arrays import ArrayPool, Normalise, as_pool, from_arrays
from baldur.data.dataset import Dataset, KnownRecord, Record
from baldur.data.labelling import load_for_labelling, with_added
from baldur.data.loading import load
from baldur.data.memory import in_memory
from baldur.data.splitting import split
from baldur.data.torch_dataset import from_dataset

__all__ = [
    "ArrayPool",
    "Dataset",
    "KnownRecord",
    "Normalise",
    "Record",
    "as_pool",
    "from_arrays",
    "from_dataset",
    "in_memory",
    "load",
    "load_for_labelling",
    "split",
    "with_added",
]
