"""Every public function of `evaluate` refuses arrays that are no real numbers, in each of its arguments."""

import inspect

import jaxtyping
import numpy as np
import pytest
import torch

from baldur import evaluate
from baldur.errors import InvalidArgument, InvalidLabel, InvalidPredictions

N = 12
RNG = np.random.default_rng(0)
P = np.log(RNG.dirichlet(np.ones(3), N))
SAMPLES = np.log(RNG.dirichlet(np.ones(3), (N, 4)))
Y = np.arange(N) % 3
VOTES = np.stack([Y, Y, np.roll(Y, 1)], 1)
VALUES, OTHERS = RNG.random(N), RNG.random(N)
COUNTS = np.arange(1, N + 1)

OF_LABELS = [
    "accuracy",
    "adaptive_ece",
    "auroc",
    "brier",
    "classwise_ece",
    "ece",
    "f1",
    "mce",
    "nll",
    "reliability",
]
ARGUMENTS = dict.fromkeys(OF_LABELS, (P, Y)) | {
    "measure": (P, Y, ("a", "b", "c")),
    "predictive": (SAMPLES,),
    "temperature": (P, Y, 1.0),
    "dirichlet": (SAMPLES, Y, 1.0),
    "active_gain": (VALUES, OTHERS),
    "audited_mean": (VALUES, RNG.random(50), np.arange(N)),
    "aulc": (COUNTS, VALUES),
    "betting_interval": (VALUES, 50),
    "cohen_kappa": (Y, np.roll(Y, 1)),
    "data_utilisation_rate": (COUNTS, VALUES, COUNTS, OTHERS, 0.2),
    "dawid_skene": (VOTES, 3),
    "decide": (P, VOTES),
    "deficiency": (VALUES, OTHERS),
    "detection_auroc": (VALUES, OTHERS),
    "fleiss_kappa": (VOTES, 3),
    "friedman": (RNG.random((5, 3)),),
    "holm": (VALUES,),
    "interval": (VALUES,),
    "labels_to_target": (COUNTS, VALUES, 0.2),
    "majority": (VOTES, 3),
    "paired": (VALUES, OTHERS),
    "penalty_matrix": (RNG.random((3, 4, 5)),),
    "quantile": (VALUES, 0.5),
    "relabelling_proposals": (P, Y, 2),
}
WITHOUT_ARRAYS = {"accuracy_half_width", "challenge_score", "labels_for_target", "corrected"}
BAD = {
    "complex": lambda a: a.astype(complex),
    "complex of torch": lambda a: torch.as_tensor(a).to(torch.complex64),
    "objects": lambda a: a.astype(object),
    "texts": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S"),
    "dates": lambda a: np.zeros(a.shape, "datetime64[D]"),
    "records": lambda a: np.zeros(a.shape, [("a", float)]),
    "masked": lambda a: np.ma.masked_array(a, np.ones(a.shape, bool)),
    "None": lambda a: None,
    "Nones": lambda a: np.full(a.shape, None, object),
    "dict": lambda a: {"a": 1},
    "set": lambda a: {1, 2},
    "uneven": lambda a: [[1], [1, 2]],
    "text": lambda a: "abc",
    "more axes": lambda a: a[None, None, None, None],
}
CASES = [
    (name, i) for name, given in ARGUMENTS.items() for i, a in enumerate(given) if isinstance(a, np.ndarray)
]


@pytest.fixture(autouse=True)
def unchecked(monkeypatch):
    """The functions' own checks speak, not those of the tests' types."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_no_function_is_forgotten():
    functions = {name for name in evaluate.__all__ if inspect.isfunction(getattr(evaluate, name))}
    assert functions == ARGUMENTS.keys() | WITHOUT_ARRAYS


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize(("name", "position"), CASES, ids=[f"{name}-{i}" for name, i in CASES])
def test_arrays_of_other_kinds_are_refused(name, position, kind):
    function, given = getattr(evaluate, name), list(ARGUMENTS[name])
    function(*given)
    given[position] = BAD[kind](given[position])
    with pytest.raises((InvalidArgument, InvalidLabel, InvalidPredictions)):
        function(*given)
