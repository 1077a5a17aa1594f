"""Other libraries for the same purpose, in a folder that only the processes that measure them look into."""

import copy
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import distributions
from types import ModuleType
from typing import Any

from bench.measure import ROOT, child, say

FOLDER = ROOT / "build" / "peers"


def named(name: str) -> str | None:
    """A peer with its version, or None where it is not installed."""
    found = next(iter(distributions(name=name, path=[str(FOLDER)])), None)
    return f"{name} {found.version}" if found else None


def peer(name: str, target: str, **arguments: Any) -> dict[str, Any] | None:
    """What `child` returns of a function that uses a peer; None where that is not installed."""
    title = named(name)
    if title is None:
        say(f"{name} is not installed (bench/peers.txt names it): no comparison with it")
        return None
    say(f"{title}: {target} {arguments or ''}")
    return child(target, **arguments)


def missing(name: str) -> str:
    """What a row says in the place of a peer's time."""
    return f"{name} is not installed"


def bald() -> Callable[[Any], Any]:
    """BALD of baal: probabilities (N, C, T) to scores."""
    sys.path.append(str(FOLDER))
    # baal's own __init__ imports its training wrapper, and that torchmetrics; the scores need neither.
    package = ModuleType("baal")
    package.__path__ = [str(FOLDER / "baal")]
    sys.modules["baal"] = package
    from baal.active.heuristics.heuristics import BALD

    return BALD().get_uncertainties


def batchbald() -> Callable[..., Any]:
    """BatchBALD of batchbald-redux: log-probabilities (N, T, C), k and the number of samples to indices and scores."""
    sys.path.append(str(FOLDER))
    from batchbald_redux.batchbald import get_batchbald_batch

    return get_batchbald_batch


def activeml() -> tuple[Any, Any, Any]:
    """CoreSet, Badge and the base class of classifiers of scikit-activeml."""
    sys.path.append(str(FOLDER))
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge, CoreSet

    return CoreSet, Badge, SkactivemlClassifier


def sampling(network: Any) -> Any:
    """baal's wrapper of a copy of a network whose dropout stays on; `predict_on_batch(x, T)` as it comes."""
    sys.path.append(str(FOLDER))
    from baal.bayesian.dropout import patch_module
    from baal.modelwrapper import ModelWrapper, TrainingArgs

    wrapper = ModelWrapper(patch_module(copy.deepcopy(network)), TrainingArgs())
    wrapper.eval()
    return wrapper


def ensemble(members: Sequence[Any]) -> Any:
    """baal's wrapper of several sets of weights of one architecture."""
    sys.path.append(str(FOLDER))
    from baal.ensemble import EnsembleModelWrapper
    from baal.modelwrapper import TrainingArgs

    wrapper = EnsembleModelWrapper(copy.deepcopy(members[0]), TrainingArgs())
    for member in members:
        wrapper.model.load_state_dict(member.state_dict())
        wrapper.add_checkpoint()
    wrapper.eval()
    return wrapper
