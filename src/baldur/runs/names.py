"""Resolves names in settings: strategies, networks, posteriors, learners, criteria, and parts of the training.

A name is that of a function in the corresponding module, with options in brackets: "power_bald(beta=8)". It may be
written with hyphens. A user's function is package.module:function.
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from baldur import learners, networks
from baldur.core.written import Named, check, find, functions_of, parameters_of, resolve, split, takes
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.learners import Supervised
from baldur.posteriors import fit
from baldur.protocols import Learner, Strategy
from baldur.runs.meant import AnEstimator, ByScore, of_estimator
from baldur.stopping import Criterion, any_of, named
from baldur.strategies import batches, items
from baldur.training import Augment, Loss, Schedule, augmentation, losses, schedules
from baldur.training.contract import Fitting

NetworkFactory = Callable[[tuple[int, ...], int], nn.Module]
"""A function (shape of one item, number of classes) -> network that returns logits."""

STRATEGIES: Mapping[str, Any] = functions_of(items, batches)

POSTERIORS: Mapping[str, Callable[..., Any]] = {**fit.FUNCTIONS, **fit.MAKERS}

LEARNERS: Mapping[str, Callable[..., Learner]] = {**learners.WRAPPERS, **learners.ALONE}

NETWORKS: Mapping[str, Any] = functions_of(networks)

AUTO = "auto"
"""The learner that is chosen by the kind of the data; see `plan.for_data`."""

_WITH_MEMBERS = (fit.dropout_ensemble, fit.ensemble, fit.multi_swag)
"""Posterior functions that use the setting `members`."""


def strategy_named(name: str) -> Strategy:
    """A strategy of `baldur.strategies`, or a user's own.

    Args:
        name: The name, with options. An option may be a strategy: two_stage(then=margin).

    Returns:
        The strategy, with its options bound.

    Raises:
        InvalidSettings: There is no such strategy or option.
    """
    found, options = find(canonical(name), "strategy", STRATEGIES, _other(name), names=True)
    options = {key: strategy_named(v) if isinstance(v, Named) else v for key, v in options.items()}
    if takes(found, 1, options) and not takes(found, 6, options):
        return ByScore(_bound(found, options))
    check(name, found, 6, options)
    strategy: Strategy = _bound(found, options)
    return strategy


def network_named(name: str) -> NetworkFactory:
    """A network factory of `baldur.networks`, or a user's own.

    Args:
        name: The name, with options; "auto" chooses by the shape of an item.

    Returns:
        A function (shape, classes) -> network.

    Raises:
        InvalidSettings: There is no such network or option.
    """
    found, options = find(canonical(name), "network", NETWORKS, _other(name))
    if takes(found, 0, options) and not takes(found, 2, options):
        return partial(_without_shape, _bound(found, options))
    check(name, found, 2, options)
    factory: NetworkFactory = _bound(found, options)
    return factory


def as_factory(network: Any) -> NetworkFactory:
    """A factory of networks that was passed in Python; it may take no arguments.

    Args:
        network: A function (shape, classes) -> network, or () -> network.

    Returns:
        A function (shape, classes) -> network.

    Raises:
        InvalidSettings: It is no function, or takes other arguments.
    """
    if not callable(network):
        raise InvalidSettings(
            f"network= is an object of the type {type(network).__name__}; give a name, a torch.nn.Module, or a "
            "function (shape, classes) that returns one"
        )
    if takes(network, 2):
        factory: NetworkFactory = network
        return factory
    if takes(network, 0):
        return partial(_without_shape, network)
    raise InvalidSettings(
        f"network= is called with (shape of an item, number of classes), but {name_of(network)} takes "
        f"{inspect.signature(network)}; give a function (shape, classes) that returns the network"
    )


def _without_shape(
    network: Callable[[], nn.Module], shape: tuple[int, ...], classes: int, **options: Any
) -> nn.Module:
    return network(**options)


def fitting_named(name: str, members: int | None = None) -> Fitting:
    """A posterior function of `baldur.posteriors.fit`, or a user's own.

    Args:
        name: The name, with options. The option `each=` of an ensemble is itself such a name.
        members: Number of networks in an ensemble, unless its options say.

    Returns:
        A function (train, labelled, seed) -> Posterior, with its options bound.

    Raises:
        InvalidSettings: There is no such posterior or option.
    """
    found, options = find(canonical(name), "posterior", POSTERIORS, _other(name))
    each = options.get("each", "")
    if not isinstance(each, str):
        raise InvalidSettings(
            f"{name!r}: each must be the name of a posterior, such as 'mc-dropout', not {each!r}"
        )
    if each:
        options["each"] = fitting_named(each)
    if members is not None and found in _WITH_MEMBERS:
        options.setdefault("members", members)
    if found not in fit.MAKERS.values():
        check(name, found, 3, options)
        fitting: Fitting = _bound(found, options)
        return fitting
    check(name, found, 0, options)
    made: Fitting = _made(name, found, (), options)
    return made


@dataclass(frozen=True)
class LearnerChain:
    """Learners that wrap one another. They are resolved and checked, but not made yet.

    Args:
        name: The name as the user wrote it.
        pieces: (text, function, options) of each learner, the outermost first.
    """

    name: str
    pieces: Sequence[tuple[str, Any, Mapping[str, Any]]]

    def make(
        self, supervised: Callable[[], Learner], classes: int, own: Sequence[Any], cache: Path | None = None
    ) -> Learner:
        """Make the learner.

        Args:
            supervised: Makes the innermost, supervised learner.
            classes: Number of classes.
            own: Arguments for a user's learner: (network, classes, settings of learning).
            cache: Folder for a network that is trained once for all rounds.

        Returns:
            The learner.

        Raises:
            InvalidSettings: The value of an option is not valid, or a learner cannot wrap the next one.
        """
        made: Learner | None = None
        for text, found, options in reversed(self.pieces):
            inner = made is not None
            if found is None:
                made = supervised()
                continue
            if inner or found in learners.WRAPPERS.values():
                given: Sequence[Any] = (supervised() if made is None else made,)
                self._check_inner(text, found, given[0])
            elif found in learners.ALONE.values():
                given = (classes,)
            else:
                given = own
            told = dict(options)
            if cache is not None and found is learners.contrastive:
                told.setdefault("cache", cache)
            made = _made(text, found, given, told)
            if not isinstance(made, Learner):
                raise InvalidSettings(
                    f"{text!r} returned a {type(made).__name__}, not a learner with the methods fit and load"
                )
        assert made is not None  # there is at least one piece
        return made

    def _check_inner(self, text: str, found: Any, inner: Learner) -> None:
        """Raise an error, with a working order, if a learner without a network should change its training."""
        if found not in learners.CHANGE_TRAINING.values() or isinstance(inner, Supervised):
            return
        changing = [p for p, f, _ in self.pieces if f is None or f in learners.CHANGE_TRAINING.values()]
        outer = [p for p, f, _ in self.pieces if f in learners.WRAPPERS.values() and p not in changing]
        if len(outer) + len(changing) == len(self.pieces):
            why = f"so it must come later: {' + '.join(outer + changing)!r}"
        else:
            why = f"but {self.pieces[-1][0]} trains no network; use supervised"
        raise InvalidSettings(f"{self.name!r}: {text} changes how a network is trained, {why}")


def learner_named(name: str) -> LearnerChain:
    """Learners of `baldur.learners`, or a user's own.

    Args:
        name: "supervised", a learner that wraps it, or a learner without a network. Learners that wrap one another are
            joined by +, the outermost first. A user's package.module:factory is called with the learner that it
            wraps; if it comes last, with (network, classes, settings of learning).

    Returns:
        The resolved learners.

    Raises:
        InvalidSettings: There is no such learner or option, or a learner cannot wrap another.
    """
    pieces = []
    texts = split(name, "+")
    for number, text in enumerate(texts):
        found, options = find(
            canonical(text),
            "learner",
            {"supervised": _supervised, AUTO: _supervised, **LEARNERS},
            _other(text),
        )
        last, estimator = number == len(texts) - 1, isinstance(found, type) and issubclass(found, AnEstimator)
        if not last and (estimator or found is _supervised or found in learners.ALONE.values()):
            rest = [other for other in texts if other != text]
            raise InvalidSettings(
                f"{name!r}: {text} cannot wrap another learner, so it must come last: {' + '.join([*rest, text])!r}"
            )
        if estimator:
            check(text, found, 0, options)
            found = partial(of_estimator, found)
        ours = found in LEARNERS.values()
        given = 0 if found is _supervised else 1 if ours or not last else 3
        check(text, found, given, options)
        pieces.append((text, None if found is _supervised else found, options))
    return LearnerChain(name, pieces)


def epochs_factor(learner: str, augment: str | None) -> int:
    """How many times the usual epochs a learner needs if the user does not say.

    Args:
        learner: The name of a learner; others may be joined by +.
        augment: The name of an augmentation, which needs as many as the learners with noisy inputs.

    Returns:
        A factor of at least 1.
    """
    texts = [canonical(text).partition("(")[0].strip() for text in split(learner, "+")]
    names = [text.rpartition(":") for text in texts if ":" not in text or text.startswith("baldur.")]
    factors = [learners.EPOCHS.get(name.replace("-", "_"), 1) for *_, name in names]
    return max([1, *factors, *([] if augment is None else learners.EPOCHS.values())])


def augment_named(name: str) -> Augment:
    """An augmentation of `baldur.training.augmentation`, or a user's own.

    Args:
        name: The name, with options.

    Returns:
        A function (batch, generator) -> batch.

    Raises:
        InvalidSettings: There is no such augmentation or option.
    """
    found, options = find(canonical(name), "augmentation", functions_of(augmentation))
    check(name, found, 2, options)
    augment: Augment = _bound(found, options)
    return augment


def loss_named(name: str) -> Loss:
    """A loss of `baldur.training.losses`, or a user's own.

    Args:
        name: The name, with options.

    Returns:
        A function (outputs, labels) -> loss of each item.

    Raises:
        InvalidSettings: There is no such loss or option, or a value is not valid.
    """
    found, options = find(canonical(name), "loss", functions_of(losses))
    check(name, found, 2, options)
    if ":" not in name:  # find wrong values now, not in the first fit
        _made(name, found, (torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)), options)
    loss: Loss = _bound(found, options)
    return loss


def schedule_named(name: str) -> Schedule:
    """A learning-rate schedule of `baldur.training.schedules`, or a user's own.

    Args:
        name: The name, with options.

    Returns:
        A function of the finished share of the steps that returns a factor for the learning rate.

    Raises:
        InvalidSettings: There is no such schedule or option, or the factor would be negative or infinite.
    """
    found, options = find(canonical(name), "schedule", functions_of(schedules))
    check(name, found, 1, options)
    for share in (0.0, 0.5) if ":" not in name else ():
        factor = _made(name, found, (share,), options)
        if not 0 <= factor < math.inf:
            raise InvalidSettings(
                f"{name!r}: the learning rate would be multiplied by {factor} after {share:.0%} of the steps"
            )
    schedule: Schedule = _bound(found, options)
    return schedule


def criterion_named(names: Sequence[str], split: str = "reserve") -> Criterion | None:
    """Stopping criteria of `baldur.stopping`, or a user's own. Any of them ends a trial.

    Args:
        names: Criteria with their options; criteria joined by | and & count as one.
        split: The labelled items that `target` and `plateau` read if they name none.

    Returns:
        One criterion; None if there are no names.

    Raises:
        InvalidSettings: There is no such criterion or option.
    """
    return any_of(*(named(name, resolve, split) for name in names)) if names else None


MOVED = {
    "baldur.learners.augmentation": "baldur.training.augmentation",
    "baldur.learners.ceal": "baldur.learners.unlabelled.ceal",
    "baldur.learners.consistency": "baldur.learners.unlabelled.consistency",
    "baldur.learners.contrastive": "baldur.learners.unlabelled.contrastive",
    "baldur.learners.dropconnect": "baldur.posteriors.fit.dropped_weights",
    "baldur.learners.ensembles": "baldur.posteriors.fit.ensembles",
    "baldur.learners.fixmatch": "baldur.learners.unlabelled.fixmatch",
    "baldur.learners.generative": "baldur.learners.unlabelled.generative",
    "baldur.learners.inserted_dropout": "baldur.posteriors.fit.dropout",
    "baldur.learners.laplace": "baldur.posteriors.fit.laplace_approximation",
    "baldur.learners.learning_loss": "baldur.posteriors.fit.loss_prediction",
    "baldur.learners.propagation": "baldur.learners.unlabelled.propagation",
    "baldur.learners.swag": "baldur.posteriors.fit.weight_averaging",
    "baldur.learners.variational": "baldur.posteriors.fit.variational",
    "baldur.strategies.batches": "baldur.strategies",
    "baldur.strategies.items": "baldur.strategies",
}
"""Earlier or longer module paths, and the current public paths of their functions."""


def canonical(name: str) -> str:
    """Replace an earlier path of a function by the current one.

    Args:
        name: A name in settings; only `module:function` changes.

    Returns:
        The name, with its options.
    """
    module, colon, rest = name.partition(":")
    attribute = rest.partition("(")[0]
    if module == "baldur.learners" and attribute in POSTERIORS:
        return f"baldur.posteriors.fit{colon}{rest}"
    return f"{MOVED.get(module, module)}{colon}{rest}"


def name_of(thing: Any) -> str:
    """The name, in settings, of an object that was passed in Python. Plain values of options are in brackets.

    Args:
        thing: A function, a partial, a class or an instance.

    Returns:
        The canonical name.
    """
    options: dict[str, Any] = {}
    while isinstance(thing, partial):
        options, thing = {**thing.keywords, **options}, thing.func
    if isinstance(thing, AnEstimator) and not isinstance(thing, type):
        usual = parameters_of(type(thing))
        given = thing.get_params(deep=False)
        options |= {key: v for key, v in given.items() if key in usual and v != usual[key].default}
    kind = thing if isinstance(thing, type | FunctionType | MethodType | BuiltinFunctionType) else type(thing)
    told = (f"{key}={v!r}" for key, v in options.items() if isinstance(v, bool | int | float | str))
    brackets = ", ".join(told)
    return canonical(f"{kind.__module__}:{kind.__qualname__}") + (f"({brackets})" if brackets else "")


def _supervised() -> None:
    """Stands for the supervised learner, which has no options."""


def _bound(found: Any, options: Mapping[str, Any]) -> Any:
    return partial(found, **options) if options else found


def _other(text: str) -> str:
    """A hint if a name is of another kind than the option that it was given to."""
    plain = text.partition("(")[0].strip()
    kinds = {"strategy": STRATEGIES, "posterior": POSTERIORS, "learner": LEARNERS, "network": NETWORKS}
    found = [what for what, known in kinds.items() if plain.replace("-", "_") in known]
    return "; ".join(f"it is a {what}: --{what} {plain}" for what in found)


def _made(name: str, found: Callable[..., Any], given: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a function. An error of one of Baldur's own functions is about its options."""
    ours = ":" not in name.partition("(")[0]
    try:
        return found(*given, **options)
    except (TypeError, ValueError) as error:
        if not ours and not isinstance(error, InvalidArgument):
            raise
        raise InvalidSettings(f"{name!r}: {error}") from error
