"""What names in settings stand for: strategies, networks, posteriors, learners, criteria and what training is made of.

A name is the name of a function in the module of its family, with options in brackets: "power_bald(beta=8)". A name
may be written with hyphens. A user's own function is package.module:function.
"""

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
from baldur.core.written import check, find, functions_of, resolve, split
from baldur.errors import InvalidArgument, InvalidSettings
from baldur.learners import Supervised
from baldur.posteriors import fit
from baldur.protocols import Learner, Strategy
from baldur.stopping import Criterion, any_of, named
from baldur.strategies import batches, items
from baldur.training import Augment, Loss, Schedule, augmentation, losses, schedules
from baldur.training.contract import Fitting

NetworkFactory = Callable[[tuple[int, ...], int], nn.Module]
"""(shape of one item, number of classes) to a network that returns logits."""

STRATEGIES: Mapping[str, Any] = functions_of(items, batches)

POSTERIORS: Mapping[str, Callable[..., Any]] = {**fit.FUNCTIONS, **fit.MAKERS}

LEARNERS: Mapping[str, Callable[..., Learner]] = {**learners.WRAPPERS, **learners.ALONE}

_WITH_MEMBERS = (fit.dropout_ensemble, fit.ensemble, fit.multi_swag)
"""Posterior functions to which the setting `members` applies."""


def strategy_named(name: str) -> Strategy:
    """The strategy of that name in `baldur.strategies`, or the user's own.

    Args:
        name: Its name, with its options.

    Returns:
        The strategy, with its options bound.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = find(canonical(name), "strategy", STRATEGIES)
    check(name, found, 6, options)
    strategy: Strategy = _bound(found, options)
    return strategy


def network_named(name: str) -> NetworkFactory:
    """The factory of that name in `baldur.networks`, or the user's own.

    Args:
        name: Its name; "auto" chooses by the shape of an item.

    Returns:
        (shape, classes) to a network.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = find(canonical(name), "network", functions_of(networks))
    check(name, found, 2, options)
    factory: NetworkFactory = _bound(found, options)
    return factory


def fitting_named(name: str, members: int | None = None) -> Fitting:
    """The posterior function of that name in `baldur.posteriors.fit`, or the user's own.

    Args:
        name: Its name, with its options; the option `each=` of an ensemble is such a name itself.
        members: Networks of an ensemble, where its options do not say.

    Returns:
        A function (train, labelled, seed) -> Posterior, with its options bound.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    hint = _other(name, "learner", LEARNERS)
    found, options = find(canonical(name), "posterior", POSTERIORS, hint)
    each = options.get("each", "")
    if not isinstance(each, str):
        raise InvalidSettings(
            f"{name!r}: each is the name of a posterior, such as 'mc-dropout', not {each!r}"
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
    """Learners that wrap one another, each resolved and checked; nothing is made yet.

    Args:
        name: As it was written.
        pieces: (text, function, options), the outermost first.
    """

    name: str
    pieces: Sequence[tuple[str, Any, Mapping[str, Any]]]

    def make(
        self, supervised: Callable[[], Learner], classes: int, own: Sequence[Any], cache: Path | None = None
    ) -> Learner:
        """Make the learner.

        Args:
            supervised: Makes the supervised learner inside.
            classes: How many classes there are.
            own: Arguments of a user's own learner: (network, classes, settings of learning).
            cache: A folder for a network that is trained once for all rounds.

        Returns:
            The learner.

        Raises:
            InvalidSettings: An option has an impossible value, or one cannot wrap the next.
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
                    f"{text!r} made a {type(made).__name__}, which has no fit and load of a learner"
                )
        assert made is not None  # there is at least one piece
        return made

    def _check_inner(self, text: str, found: Any, inner: Learner) -> None:
        """Refuse to change the training of a learner that is no `Supervised`, and say what would work."""
        if found not in learners.CHANGE_TRAINING.values() or isinstance(inner, Supervised):
            return
        changing = [p for p, f, _ in self.pieces if f is None or f in learners.CHANGE_TRAINING.values()]
        outer = [p for p, f, _ in self.pieces if f in learners.WRAPPERS.values() and p not in changing]
        if len(outer) + len(changing) == len(self.pieces):
            why = f"so it goes inside: {' + '.join(outer + changing)!r}"
        else:
            why = f"and {self.pieces[-1][0]} is no `Supervised`, whose training could be changed"
        raise InvalidSettings(f"{self.name!r}: {text} changes how a network is trained, {why}")


def learner_named(name: str) -> LearnerChain:
    """The learners of those names in `baldur.learners`, or the user's own.

    Args:
        name: "supervised"; a learner that wraps it; or one without a network. Several that wrap one another are joined
            by +, the outermost first. A user's own package.module:factory is called with the learner that it wraps
            where another follows, and else with (network, classes, settings of learning).

    Returns:
        The learners, resolved.

    Raises:
        InvalidSettings: There is none, it has no such option, or it wraps no other.
    """
    hint_of = partial(_other, what="posterior", known=POSTERIORS)
    pieces = []
    texts = split(name, "+")
    for number, text in enumerate(texts):
        found, options = find(
            canonical(text), "learner", {"supervised": _supervised, **LEARNERS}, hint_of(text)
        )
        last = number == len(texts) - 1
        if not last and (found is _supervised or found in learners.ALONE.values()):
            rest = [other for other in texts if other != text]
            raise InvalidSettings(
                f"{name!r}: {text} wraps no other, so it comes last: {' + '.join([*rest, text])!r}"
            )
        ours = found in LEARNERS.values()
        given = 0 if found is _supervised else 1 if ours or not last else 3
        check(text, found, given, options)
        pieces.append((text, None if found is _supervised else found, options))
    return LearnerChain(name, pieces)


def augment_named(name: str) -> Augment:
    """The augmentation of that name in `baldur.training.augmentation`, or the user's own.

    Args:
        name: Its name, with its options.

    Returns:
        (batch, generator) to a batch.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = find(canonical(name), "augmentation", functions_of(augmentation))
    check(name, found, 2, options)
    augment: Augment = _bound(found, options)
    return augment


def loss_named(name: str) -> Loss:
    """The loss of that name in `baldur.training.losses`, or the user's own.

    Args:
        name: Its name, with its options.

    Returns:
        (outputs, labels) to the loss of each item.

    Raises:
        InvalidSettings: There is none, or it has no such option or value.
    """
    found, options = find(canonical(name), "loss", functions_of(losses))
    check(name, found, 2, options)
    if ":" not in name:  # a value out of its domain is said now, not in the first fit
        _made(name, found, (torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)), options)
    loss: Loss = _bound(found, options)
    return loss


def schedule_named(name: str) -> Schedule:
    """The schedule of that name in `baldur.training.schedules`, or the user's own.

    Args:
        name: Its name, with its options.

    Returns:
        The share of the steps that is done to a factor of the learning rate.

    Raises:
        InvalidSettings: There is none, it has no such option, or the factor would be negative or infinite.
    """
    found, options = find(canonical(name), "schedule", functions_of(schedules))
    check(name, found, 1, options)
    for share in (0.0, 0.5) if ":" not in name else ():
        factor = _made(name, found, (share,), options)
        if not 0 <= factor < math.inf:
            raise InvalidSettings(
                f"{name!r}: the learning rate would be multiplied by {factor} at {share:.0%}"
            )
    schedule: Schedule = _bound(found, options)
    return schedule


def criterion_named(names: Sequence[str]) -> Criterion | None:
    """The stopping criteria of those names in `baldur.stopping`, or the user's own; any of them ends a trial.

    Args:
        names: Criteria with their options; several joined by | and & count as one.

    Returns:
        One criterion; None where there is no name.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    return any_of(*(named(name, resolve) for name in names)) if names else None


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
"""Modules whose functions had another path in earlier versions, or have a shorter public one."""


def canonical(name: str) -> str:
    """A name as this version writes it: the path of a function that was moved becomes its path of today.

    Args:
        name: As settings have it; only `module:function` changes.

    Returns:
        The name, with its options.
    """
    module, colon, rest = name.partition(":")
    attribute = rest.partition("(")[0]
    if module == "baldur.learners" and attribute in POSTERIORS:
        return f"baldur.posteriors.fit{colon}{rest}"
    return f"{MOVED.get(module, module)}{colon}{rest}"


def name_of(thing: Any) -> str:
    """How settings name an object that was handed over in Python; options that are plain values stand in brackets.

    Args:
        thing: A function, a partial of one, a class or an instance.

    Returns:
        The name, canonical.
    """
    options: dict[str, Any] = {}
    while isinstance(thing, partial):
        options, thing = {**thing.keywords, **options}, thing.func
    kind = thing if isinstance(thing, type | FunctionType | MethodType | BuiltinFunctionType) else type(thing)
    told = (f"{key}={v!r}" for key, v in options.items() if isinstance(v, bool | int | float | str))
    brackets = ", ".join(told)
    return canonical(f"{kind.__module__}:{kind.__qualname__}") + (f"({brackets})" if brackets else "")


def _supervised() -> None:
    """Stands for the supervised learner, which has no options of its own."""


def _bound(found: Any, options: Mapping[str, Any]) -> Any:
    return partial(found, **options) if options else found


def _other(text: str, what: str, known: Mapping[str, Any]) -> str:
    """A hint where a name belongs to another family."""
    plain = text.partition("(")[0].strip()
    return f"it is a {what}: --{what} {plain}" if plain.replace("-", "_") in known else ""


def _made(name: str, found: Callable[..., Any], given: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Call a function; an error of Baldur's own functions can only be about the options."""
    ours = ":" not in name.partition("(")[0]
    try:
        return found(*given, **options)
    except (TypeError, ValueError) as error:
        if not ours and not isinstance(error, InvalidArgument):
            raise
        raise InvalidSettings(f"{name!r}: {error}") from error
