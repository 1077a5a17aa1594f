"""The contract of a posterior, as a check."""

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baldur.core.networks import weights_hash
from baldur.core.trees import map_tree, take
from baldur.errors import InvalidArgument
from baldur.protocols import Draws, Posterior
from baldur.testing._checks import require


def verify_posterior(
    make: Callable[[Any], Posterior],
    network: Any,
    x: Any,
    load: Callable[[Path], Posterior] | None = None,
    T: int = 4,
    tolerance: float = 1e-5,
) -> None:
    """Check that a posterior gives functions and has no side effects.

    The posterior and its draws have all members of their protocols, and the stated number of functions. Sample t is the
    same function for every batch size, order and remainder. Samples differ from each other. The same seed gives the
    same samples, and another seed other samples. `draw(T)` is a prefix of `draw(T + 1)`, and slices are correct. Rows
    are normalised, and variances are positive. The network, the input and all global generators stay unchanged.
    Features and the split agree. After saving and loading, the draws are equal bit for bit.

    Args:
        make: Makes a posterior of a trained network, with any likelihood.
        network: The trained network, or another argument of `make`, such as fitted estimators.
        x: A batch of at least seven items.
        load: Loads a saved posterior. By default, loading is not checked.
        T: Number of samples; 1 skips the checks that need two.
        tolerance: Maximum difference of log-probabilities between batches of different shapes (rounding).

    Raises:
        AssertionError: A check failed. The message names it.
    """
    before = _state_of(network)
    state, input_before = _generators(), map_tree(torch.clone, x)
    posterior = make(network)
    _check_members(posterior)
    draws = posterior.draw(T, seed=1)
    require(isinstance(draws, Draws), f"{type(draws).__name__} lacks a member of protocols.Draws")
    _check_length(draws, T)
    whole = draws(x)
    n = len(whole)
    require(
        whole.shape[:2] == (n, T), f"log-probabilities have the shape {tuple(whole.shape)}, not ({n}, {T}, C)"
    )
    _check_values(draws.kind, whole)
    _check_functions(draws, x, whole, n, tolerance)
    _check_samples(posterior, x, whole, T, tolerance)
    _check_outputs(draws, x, whole, tolerance)
    require(_state_of(network) == before, "the network's weights, buffers or modes were changed")
    require(_equal_trees(x, input_before), "the input was changed")
    require(_generators() == state, "a global random generator was used")
    if load is not None:
        with tempfile.TemporaryDirectory() as folder:
            posterior.save(Path(folder))
            again = load(Path(folder)).draw(T, seed=1)(x)
            require(bool((again == whole).all()), "a saved and loaded posterior gives other draws")


def _close(actual: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    difference = float(torch.where(actual == expected, 0, actual - expected).abs().max())  # -inf is -inf
    require(difference <= tolerance, f"{message} (by {difference:.2g})")


def _check_members(posterior: Any) -> None:
    """A posterior has the members of its protocol, and draws as many functions as it says."""
    require(
        isinstance(posterior, Posterior), f"{type(posterior).__name__} lacks a member of protocols.Posterior"
    )
    count = posterior.functions
    require(count is None or count >= 1, f"there are {count} functions; at least one, or None, was expected")
    strange = [type(n).__name__ for n in posterior.networks if not isinstance(n, nn.Module)]
    require(not strange, f"networks holds {', '.join(strange)}, which are no modules of torch")
    _refuses(lambda: posterior.draw(0), "draw(0) raises no InvalidArgument")
    if count is not None:
        require(len(posterior.draw()) == count, f"draw() does not give all {count} functions")
        _refuses(lambda: posterior.draw(count + 1), "draw(functions + 1) raises no InvalidArgument")


def _check_length(draws: Draws, T: int) -> None:
    require(len(draws) == T, f"draw({T}) has the length {len(draws)}")
    _refuses(lambda: draws[T:], "a slice without samples raises no InvalidArgument")


def _refuses(call: Callable[[], Any], message: str) -> None:
    try:
        call()
    except InvalidArgument:
        return
    raise AssertionError(message)


def _check_values(kind: str, whole: Tensor) -> None:
    """Draws of a kind hold only values of that kind."""
    if kind == "gaussian":
        require(bool(whole.isfinite().all()), "a mean or a variance is not finite")
        require(bool((whole[:, :, 1] > 0).all()), "a variance is not positive")
    else:  # classes, or the two answers for each label
        _close(whole.double().exp().sum(2), torch.ones(()), 1e-4, "rows are not normalised")


def _state_of(model: Any) -> Any:
    """All that may not change: weights, buffers and modes of a network, or the contents of estimators."""
    if isinstance(model, nn.Module):
        return weights_hash(model), [module.training for module in model.modules()]
    return importlib.import_module("joblib").hash(model)


def _check_functions(draws: Any, x: Any, whole: Tensor, n: int, tolerance: float) -> None:
    """The same function whatever else is in the batch."""
    for size in (1, 3, n - 1):  # n is not a multiple of all of them: the last batch is a shorter one
        parts = torch.cat([draws(take(x, slice(a, a + size))) for a in range(0, n, size)])
        _close(parts, whole, tolerance, f"batches of {size} give other values")
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    _close(
        draws(take(x, order)), whole[order.to(whole.device)], tolerance, "another order gives other values"
    )


def _check_samples(posterior: Posterior, x: Any, whole: Tensor, T: int, tolerance: float) -> None:
    require(bool((posterior.draw(T, seed=1)(x) == whole).all()), "the same seed gives other samples")
    if T == 1:
        return
    require(bool((whole[:, 0] != whole[:, 1]).any()), "two samples are the same function")
    require(bool((posterior.draw(T, seed=2)(x) != whole).any()), "another seed gives the same samples")
    _close(
        posterior.draw(T - 1, seed=1)(x), whole[:, :-1], tolerance, "draw(T) is not a prefix of draw(T + 1)"
    )
    draws = posterior.draw(T, seed=1)
    require(len(draws[1:]) == T - 1, "a slice of the draws has another length")
    _close(draws[1:](x), whole[:, 1:], tolerance, "a slice of the draws gives other samples")


def _check_outputs(draws: Any, x: Any, whole: Tensor, tolerance: float) -> None:
    outputs = draws.outputs(x, draws.names)
    require(set(outputs) == set(draws.names), f"outputs gives {set(outputs)}, not {set(draws.names)}")
    _close(outputs["log_probs"], whole, tolerance, "outputs gives other log-probabilities")
    if "features" in draws.names:
        features = draws.features(x)
        require(features.ndim == 2 and len(features) == len(whole), "features are not (n, D)")
        _close(outputs["features"], features, tolerance, "outputs gives other features")
    if (parts := draws.split()) is not None:
        trunk, rest = parts
        _close(rest(trunk(x)), whole, tolerance, "rest(trunk(x)) differs from the draws")


def _generators() -> tuple[bytes, bytes]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 - the global generator is what is watched
    return bytes(torch.random.get_rng_state().numpy()), numpy_state[1].tobytes()


def _equal_trees(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(_equal_trees(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return all(map(_equal_trees, a, b))
    return bool((a == b).all())
