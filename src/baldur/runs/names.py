"""What names in settings stand for: strategies, networks, posteriors, learners; one's own are package.module:function.

Options follow in brackets, as in "power_bald(beta=8)". A name may be written with hyphens.
"""

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import nn

from baldur import learners, networks
from baldur.core.written import check, options_of, parameters_of, required, split
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


def look_here() -> None:
    """Let one's own modules be found in the working directory, as `python -m` would have it."""
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))


def resolve(name: str) -> Any:
    """The object that `package.module:attribute` names.

    Args:
        name: Where it is; the working directory counts as a place for packages.

    Returns:
        The object.

    Raises:
        InvalidSettings: There is no such module or attribute.
    """
    module, _, attribute = canonical(name).partition(":")
    if not attribute:
        raise InvalidSettings(f"{name!r} is not known here; one's own is named as package.module:function")
    look_here()
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, TypeError, SyntaxError) as error:
        raise InvalidSettings(
            f"{name!r}: {error}; it is looked for in {Path.cwd()} and where Python looks"
        ) from None
    except AttributeError:
        raise InvalidSettings(f"{name!r}: the module {module} has no {attribute!r}") from None


def resolved(name: str) -> Any:
    """The function or class that `package.module:attribute` names.

    Args:
        name: Where it is.

    Returns:
        Something that can be called.

    Raises:
        InvalidSettings: There is no such thing, or it cannot be called.
    """
    found = resolve(name)
    if not callable(found):
        raise InvalidSettings(f"{name!r} is a {type(found).__name__}, not something that can be called")
    return found


def functions_of(module: ModuleType, first: str | None = None) -> dict[str, Any]:
    """What a module offers by name: its public functions.

    Args:
        module: `baldur.strategies`, say.
        first: Only those whose first parameter has this name.

    Returns:
        Functions by name, in the order in which they are written.
    """
    return {
        name: thing
        for name, thing in vars(module).items()
        if isinstance(thing, FunctionType)
        and not name.startswith("_")
        and thing.__module__.startswith(module.__name__)
        and (first is None or next(iter(inspect.signature(thing).parameters), None) == first)
    }


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
"""Modules whose functions have another path than in runs of version 0.1.0, or a shorter public one."""


def canonical(name: str) -> str:
    """A name as this version writes it: the path of a function that was moved becomes its path of today.

    Args:
        name: As settings have it; only `module:function` changes.

    Returns:
        The name, with its options.
    """
    module, colon, rest = name.partition(":")
    attribute = rest.partition("(")[0]
    if module == "baldur.learners" and attribute in fit.__all__:
        return f"baldur.posteriors.fit{colon}{rest}"
    return f"{MOVED.get(module, module)}{colon}{rest}"


def strategy_named(name: str) -> Strategy:
    """The recipe of that name in `baldur.strategies`, or one's own by `package.module:function`.

    Args:
        name: Which, with its options.

    Returns:
        The strategy, with its options bound.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = _written(name, "strategy", _strategies(), 6)
    strategy: Strategy = partial(found, **options) if options else found
    return strategy


def network_named(name: str) -> NetworkFactory:
    """The factory of that name in `baldur.networks`, or one's own by `package.module:factory`.

    Args:
        name: Which; "auto" chooses by the shape of an item.

    Returns:
        (shape, classes) to a network.

    Raises:
        InvalidSettings: There is none.
    """
    found, options = _written(name, "network", functions_of(networks), 2)
    factory: NetworkFactory = partial(found, **options) if options else found
    return factory


def fitting_named(name: str, members: int | None = None) -> Fitting:
    """The posterior function of that name in `baldur.learners`, or one's own by `package.module:function`.

    Args:
        name: Which, with its options; `each=` of an ensemble is such a name itself.
        members: Of an ensemble, where its options do not say.

    Returns:
        What a `Supervised` takes as its posterior.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = _written(name, "posterior", _posteriors())
    each = options.get("each", "")
    if not isinstance(each, str):
        raise InvalidSettings(
            f"{name!r}: each is the name of a posterior, such as 'mc-dropout', not {each!r}"
        )
    if each:
        options["each"] = fitting_named(each)
    if members is not None and "members" in parameters_of(found):
        options.setdefault("members", members)
    first = _begins(found)
    if first == "train" or (required(found) == 3 and first not in options):
        check(name, found, 3, options)
        fitting: Fitting = partial(found, **options) if options else found
        return fitting
    check(name, found, 0, options)
    made: Fitting = _made(name, found, (), options)
    if not callable(made):
        raise InvalidSettings(
            f"{name!r} made a {type(made).__name__}, not a function (train, labelled, seed)"
        )
    return made


def learner_named(
    name: str,
    supervised: Callable[[], Learner],
    classes: int,
    cache: Path | None = None,
    own: Sequence[Any] = (),
) -> Learner:
    """The learner of that name in `baldur.learners`: supervised, one that wraps it, or one without a network.

    Args:
        name: Which, with its options; several that wrap one another are joined by +, the outermost first. One's own
            is package.module:factory; it wraps another where its first parameter is called learner.
        supervised: Makes the learner that is wrapped where the last name does not say another.
        classes: How many classes there are.
        cache: A folder for what a learner trains once for all rounds.
        own: What one's own factory is called with, before its options.

    Returns:
        The learner.

    Raises:
        InvalidSettings: There is none, it has no such option or value, or one cannot wrap the next.
    """
    pieces = [(piece, *_written(piece, "learner", _learners())) for piece in split(name, "+")]
    wraps = [_begins(found) == "learner" for _, found, _ in pieces]
    if not all(wraps[:-1]):
        whole = pieces[wraps.index(False)][0]
        rest = [piece for piece, _, _ in pieces if piece != whole]
        raise InvalidSettings(
            f"{name!r}: {whole} wraps no other, so it comes last: {' + '.join([*rest, whole])!r}"
        )
    made: Learner | None = None
    for piece, found, options in reversed(pieces):
        given: Sequence[Any] = own
        if _begins(found) == "learner":
            given = (_fit_to_wrap(name, pieces, piece, found, supervised() if made is None else made),)
        elif found is _supervised:
            given = (supervised,)
        elif _begins(found) == "classes":
            given = (classes,)
        check(piece, found, len(given), options)
        if cache is not None and "cache" in parameters_of(found):
            options.setdefault("cache", cache)
        made = _made(piece, found, given, options)
        if not isinstance(made, Learner):
            raise InvalidSettings(
                f"{piece!r} made a {type(made).__name__}, which has no fit and load of a learner"
            )
    assert made is not None  # there is a name at least, if an empty one
    return made


def _strategies() -> dict[str, Any]:
    return functions_of(items) | functions_of(batches)


def _supervised(make: Callable[[], Learner]) -> Learner:
    return make()


def _learners() -> dict[str, Any]:
    wrapping, whole = functions_of(learners, "learner"), functions_of(learners, "classes")
    return {"supervised": _supervised, **wrapping, **whole}


def _posteriors() -> dict[str, Any]:
    return {**fit.FUNCTIONS, **fit.MAKERS}


def _begins(found: Any) -> str:
    """What the first parameter is called."""
    return next(iter(parameters_of(found)), "")


def _changes_training(found: Any) -> bool:
    return any(first.annotation is Supervised for first in [*parameters_of(found).values()][:1])


def _fit_to_wrap(
    name: str, pieces: Sequence[tuple[str, Any, Any]], piece: str, found: Any, inner: Learner
) -> Learner:
    """The inner learner, if this one can wrap it: what changes the training must wrap a `Supervised`."""
    if not _changes_training(found) or isinstance(inner, Supervised):
        return inner
    outer = [p for p, one, _ in pieces if _begins(one) == "learner" and not _changes_training(one)]
    inside = [p for p, one, _ in pieces if p not in outer]
    if all(_changes_training(one) or one is _supervised for p, one, _ in pieces if p in inside):
        why = f"so it goes inside: {' + '.join(outer + inside)!r}"
    else:
        why = f"and {pieces[-1][0]} is no `Supervised`, whose training could be changed"
    raise InvalidSettings(f"{name!r}: {piece} changes how a network is trained, {why}")


def _made(name: str, found: Callable[..., Any], given: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """What a function makes; of what Baldur offers an error can only be for its options, one's own may err itself."""
    ours = ":" not in name.partition("(")[0]
    try:
        return found(*given, **options)
    except (TypeError, ValueError) as error:
        if not ours and not isinstance(error, InvalidArgument):
            raise
        raise InvalidSettings(f"{name!r}: {error}") from error


def augment_named(name: str) -> Augment:
    """The change of inputs of that name in `baldur.training.augmentation`, or one's own by `package.module:function`.

    Args:
        name: Which, with its options.

    Returns:
        (batch, generator) to a batch.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = _written(name, "augmentation", functions_of(augmentation), 2)
    augment: Augment = partial(found, **options) if options else found
    return augment


def loss_named(name: str) -> Loss:
    """The loss of that name in `baldur.training.losses`, or one's own by `package.module:function`.

    Args:
        name: Which, with its options.

    Returns:
        (outputs, labels) to the loss of each item.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    found, options = _written(name, "loss", functions_of(losses), 2)
    if ":" not in name:  # what is out of its domain is said now, not in the first fit
        _made(name, found, (torch.zeros(1, 2), torch.zeros(1, dtype=torch.long)), options)
    loss: Loss = partial(found, **options) if options else found
    return loss


def schedule_named(name: str) -> Schedule:
    """The schedule of that name in `baldur.training.schedules`, or one's own by `package.module:function`.

    Args:
        name: Which, with its options.

    Returns:
        The share of the steps that is done to a factor of the learning rate.

    Raises:
        InvalidSettings: There is none, it has no such option, or the factor would not be one.
    """
    found, options = _written(name, "schedule", functions_of(schedules), 1)
    for share in (0.0, 0.5) if ":" not in name else ():
        factor = _made(name, found, (share,), options)
        if not 0 <= factor < math.inf:
            raise InvalidSettings(
                f"{name!r}: the learning rate would be multiplied by {factor} at {share:.0%}"
            )
    schedule: Schedule = partial(found, **options) if options else found
    return schedule


def criterion_named(names: Sequence[str]) -> Criterion | None:
    """The stopping criteria of those names in `baldur.stopping`, or one's own; any of them ends a trial.

    Args:
        names: Which, with their options; several joined by | and & count as one.

    Returns:
        One criterion; None where there is no name.

    Raises:
        InvalidSettings: There is none, or it has no such option.
    """
    return any_of(*(named(name, resolved) for name in names)) if names else None


def _written(
    name: str, what: str, known: Mapping[str, Any], given: int | None = None
) -> tuple[Any, dict[str, Any]]:
    """What a written name means: something that can be called, and options, checked if it is said after how many."""
    plain = name.partition("(")[0].strip()
    found = resolved(plain) if ":" in plain else known.get(plain.replace("-", "_"))
    if found is None:
        raise InvalidSettings(_unknown(plain, what, known))
    options = options_of(name, what)
    if given is not None:
        check(name, found, given, options)
    return found, options


def _unknown(plain: str, what: str, known: Mapping[str, Any]) -> str:
    elsewhere = {"learner": ("posterior", _posteriors()), "posterior": ("learner", _learners())}
    other, there = elsewhere.get(what, ("", {}))
    said = f"there is no {what} {plain!r}"
    if plain.replace("-", "_") in there:
        return f"{said}; it is a {other}: --{other} {plain}"
    meant = "".join(f" (did you mean {n}?)" for n in get_close_matches(plain.replace("-", "_"), known, 1))
    return f"{said}{meant}; there are {', '.join(known)}, or package.module:function"
