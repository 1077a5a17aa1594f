"""Several posteriors as one: deep ensembles, ensembles of dropout networks, MultiSWAG.

Lakshminarayanan, Pritzel & Blundell, "Simple and scalable predictive uncertainty estimation using deep
ensembles", NeurIPS 2017; Wilson & Izmailov, NeurIPS 2020.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.seeds import derive
from baldur.errors import DamagedArtefact, InvalidArgument
from baldur.likelihoods import Likelihood
from baldur.posteriors._saving import likelihood_of, read_facts, write_facts
from baldur.posteriors.deterministic import Deterministic
from baldur.posteriors.draws import SAMPLES, NumberedDraws, number_of_draws
from baldur.protocols import Draws, Posterior

KIND = "ensemble"


class Ensemble(Posterior):
    """The equal mixture of M posteriors: p(w | D) ≈ 1/M Σₘ qₘ(w).

    Sample t is the sample ⌊t / M⌋ of member t mod M. Members run one after the other. Measured on a processor, stacked
    parameters under `torch.vmap` were not faster, and three times slower for convolutions.

    Args:
        members: Posteriors over the same classes; a trained network counts as `Deterministic`.

    Raises:
        InvalidArgument: There are no members.
    """

    def __init__(self, members: Sequence[Posterior | nn.Module]) -> None:
        if not members:
            raise InvalidArgument("an ensemble has at least one member")
        self.members: list[Posterior] = [Deterministic(m) if isinstance(m, nn.Module) else m for m in members]

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood of the first member."""
        return likelihood_of(self.members[0])

    @property
    def functions(self) -> int | None:
        """Number of functions: M for trained networks, None for any number. All members give equally many."""
        known = [count for member in self.members if (count := member.functions) is not None]
        return len(self.members) * min(known) if known else None

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        """The networks of all members."""
        return tuple(network for member in self.members for network in member.networks)

    def draw(self, T: int | None = None, seed: int = 0) -> "EnsembleDraws":
        """T functions. `draw(T)` is a prefix of `draw(T + 1)` with the same seed.

        Args:
            T: Number of samples. By default, all functions if their number is fixed; otherwise 20, rounded up to
                a multiple of M so that all members have equal weight.
            seed: Seed of the samples of the members.

        Returns:
            The functions.

        Raises:
            InvalidArgument: T is less than 1, or larger than the fixed number of functions.
        """
        size = len(self.members)
        T = number_of_draws(T, self.functions, unset=size * -(-SAMPLES // size))
        return EnsembleDraws(self.members, seed, range(T))

    def save(self, folder: Path) -> None:
        """Write each member to a subfolder, and the number of members as JSON.

        Args:
            folder: An existing folder.
        """
        for number, member in enumerate(self.members):
            own = member_folder(folder, number)
            own.mkdir(exist_ok=True)
            member.save(own)
        write_facts(folder, KIND, self.likelihood, {"members": len(self.members)})


class EnsembleDraws(NumberedDraws):
    """T functions of several posteriors; see `protocols.Draws`.

    Args:
        members: The posteriors.
        seed: Seed of the samples.
        samples: The absolute numbers of the samples.

    Raises:
        InvalidArgument: The members predict different kinds of things.
    """

    def __init__(self, members: Sequence[Posterior], seed: int, samples: range) -> None:
        self.members = members
        self.seed = seed
        parts = (_part(members, m, seed, samples) for m in range(len(members)))
        self._parts = [part for part in parts if part is not None]
        kinds = {draws.kind for *_, draws in self._parts}
        if len(kinds) > 1:
            raise InvalidArgument(f"members of one ensemble predict different things: {sorted(kinds)}")
        super().__init__(kinds.pop(), samples)
        known = [set(draws.names) for *_, draws in self._parts]
        self.names = tuple(name for name in self._parts[0][2].names if all(name in names for names in known))

    @property
    def degenerate(self) -> bool:
        """Whether the user asked for identical samples: T = 1, or a single member with this property."""
        return len(self) == 1 or (len(self._parts) == 1 and self._parts[0][2].degenerate)

    def _at(self, samples: range) -> "EnsembleDraws":
        return EnsembleDraws(self.members, self.seed, samples)

    @torch.inference_mode()
    def __call__(self, x: Any) -> Tensor:
        parts: list[Tensor] = [draws(x) for *_, draws in self._parts]
        first = parts[0]
        out = first.new_empty((len(first), len(self), *first.shape[2:]))
        for (places, own, _), part in zip(self._parts, parts, strict=True):
            if part.shape[2:] != first.shape[2:]:
                raise InvalidArgument(
                    f"members of one ensemble give {first.shape[2]} and {part.shape[2]} classes"
                )
            out[:, places] = part[:, own].to(out)  # (n, t, C, ...)
        return out

    def features(self, x: Any) -> Tensor:
        """The joined features of all members, (n, Σ D), for any number of samples.

        Args:
            x: A batch.

        Returns:
            Features.
        """
        return torch.cat([member.draw(1, self.seed).features(x) for member in self.members], 1)  # (n, Σ D)

    def outputs(self, x: Any, names: Sequence[str]) -> dict[str, Tensor]:
        """Several outputs of one batch.

        Args:
            x: A batch.
            names: Some of `names`.

        Returns:
            The outputs by name.
        """
        own = super().outputs(x, [name for name in names if name in NumberedDraws.names])
        return {name: own[name] if name in own else self._mean(x, name) for name in names}

    def _mean(self, x: Any, name: str) -> Tensor:
        """The mean of another output, such as a predicted loss, over the members."""
        each = [member.draw(1, self.seed).outputs(x, (name,))[name] for member in self.members]
        return torch.stack(each).mean(0)  # (n, ...)


def _part(
    members: Sequence[Posterior], member: int, seed: int, samples: range
) -> tuple[list[int], list[int], Draws] | None:
    """The positions of a member's samples here and in its own draws, and the samples; None if it has none."""
    size = len(members)
    places = [i for i, t in enumerate(samples) if t % size == member]
    if not places:
        return None
    own = [samples[i] // size for i in places]
    draws = members[member].draw(max(own) + 1, member_seed(seed, member, size))
    return places, [i - min(own) for i in own], draws[min(own) : max(own) + 1]


def member_seed(seed: int, member: int, size: int) -> int:
    """The seed of one member. A single member has the seed of the ensemble, as if it were used alone.

    Args:
        seed: Seed of the ensemble.
        member: The number of the member, from 0.
        size: Number of members.

    Returns:
        A seed.
    """
    return seed if size == 1 else derive(seed, "member", member)


def member_folder(folder: Path, member: int) -> Path:
    """The subfolder of a member.

    Args:
        folder: The folder of the ensemble.
        member: The number of the member, from 0.

    Returns:
        The subfolder.
    """
    return folder / f"member-{member}"


def load(folder: Path, network: nn.Module) -> Ensemble:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture of every member.

    Returns:
        The posterior.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    from baldur import posteriors  # members may be of any kind

    try:
        members = int(read_facts(folder)["facts"]["members"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtefact(
            f"the saved ensemble in {folder} does not say how many members it has"
        ) from error
    return Ensemble(
        [posteriors.load(member_folder(folder, m), copy.deepcopy(network)) for m in range(members)]
    )
