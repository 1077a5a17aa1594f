"""Monte-Carlo dropout with masks that all items share.

Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baldur.core.devices import seeded
from baldur.core.networks import as_precise, call, device_of
from baldur.core.trees import differ, items_of, map_tree, place, shapes, take, versions
from baldur.errors import (
    DamagedArtefact,
    IdenticalDraws,
    InvalidArgument,
    NoStochasticSite,
    UnsupportedNetwork,
)
from baldur.likelihoods import CATEGORICAL, Likelihood
from baldur.posteriors._saving import read, save
from baldur.posteriors.draws import NumberedDraws, number_of_draws
from baldur.posteriors.dropout.chain import find_tail
from baldur.posteriors.dropout.convolutional import ConvolutionalSamples
from baldur.posteriors.dropout.dense import DenseSamples
from baldur.posteriors.dropout.insertion import insert_dropout, insertion, order_checked
from baldur.posteriors.dropout.lowered import Lowered, asked, exactly
from baldur.posteriors.dropout.masks import keep
from baldur.posteriors.dropout.plan import SamplingPlan, half_masks, repeats, same
from baldur.posteriors.dropout.reach import acts, reached, together
from baldur.posteriors.dropout.sites import Dropouts, Site, find_sites, masking
from baldur.posteriors.network import NetworkPosterior, frozen, penultimate
from baldur.posteriors.trunk import Trunk

# The general path computes items times samples rows at a time: enough to fill the processor, little to hold.
_ROWS = 2048

KIND = "mc-dropout"
_EACH_STEP = "of each step"

TailSamples = DenseSamples | ConvolutionalSamples


class MCDropout(NetworkPosterior):
    """Dropout at prediction time as samples from an approximate posterior.

    Sample t replaces each activation h by h ⊙ m_t / (1 - p) with m_t ~ Bernoulli(1 - p). All items have the same m_t.
    Dropout between the layers inside an `nn.LSTM` or `nn.GRU` has a mask for each step of a sequence, as PyTorch trains
    it. Variational dropout, with one mask for all steps, is what `rate=` inserts there (Gal & Ghahramani, NIPS 2016).
    (Gal & Ghahramani, ICML 2016.)

    Args:
        network: A trained network that returns logits (n, C). It is copied and never changed.
        rate: Rate of dropout to insert, in addition to the dropout of the network; see `insert_dropout`.
        where: "last": before the last layer. "every": after each layer except the last.
        likelihood: The meaning of the network's outputs.

    Raises:
        InvalidArgument: The rate is not a probability, or dropout was inserted already.
        NoStochasticSite: There is no place for the rate.
        UnsupportedNetwork: The network cannot be copied, or has batch normalisation without running statistics.
    """

    def __init__(
        self,
        network: nn.Module,
        rate: float | None = None,
        where: str = "last",
        *,
        likelihood: Likelihood = CATEGORICAL,
    ) -> None:
        self.network = frozen(network if rate is None else insert_dropout(network, rate, where))
        self.inserted = insertion(self.network)
        self.likelihood = likelihood
        self.each_step = True
        self.lowered = Lowered(self.network)
        self._plans: dict[Any, SamplingPlan] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the plans, which hold functions; they are found again where this is unpickled."""
        return {**vars(self), "_plans": {}}

    def with_one_mask_a_sequence(self) -> "MCDropout":
        """The same posterior as Baldur 0.1 sampled it: masks between recurrent layers are the same for all steps.

        Networks are not trained so by PyTorch, and samples differ in their spread.

        Returns:
            Another posterior over the same network.
        """
        other = copy.copy(self)
        other.each_step, other._plans = False, {}
        return other

    def draw(self, T: int | None = None, seed: int = 0) -> "DropoutDraws":
        """T functions. `draw(T)` is a prefix of `draw(T + 1)` with the same seed.

        Args:
            T: Number of samples; 20 by default.
            seed: Seed of the samples.

        Returns:
            The functions.

        Raises:
            InvalidArgument: T < 1.
        """
        return DropoutDraws(self, seed, range(number_of_draws(T)))

    def save(self, folder: Path) -> None:
        """Write the weights as safetensors, and the inserted dropout as JSON.

        Args:
            folder: An existing folder.
        """
        facts: dict[str, Any] = dict(zip(("rate", "where"), self.inserted or (), strict=False))
        if self.each_step and _is_recurrent(self.network):
            facts["masks"] = _EACH_STEP
        save(folder, self.network, KIND, likelihood=self.likelihood, facts=facts)

    def report(self, x: Any) -> str:
        """List the stochastic calls for inputs like x, with their rates and computation.

        Args:
            x: A batch.

        Returns:
            Text for a person, one line each.

        Raises:
            NoStochasticSite: Training would call no dropout.
            UnsupportedNetwork: A dropout call cannot share its mask.
        """
        draws = self.draw(2)
        plan, x = draws._prepared(x)
        two = take(x, torch.arange(2) % items_of(x))
        with torch.inference_mode():
            often = reached(self.network, draws._sample(plan, two), device_of(self.network))
        plan.vectorised = plan.vectorised and often is not None
        names = [] if often is None else [f"'{name}'" for name in together(self.network, often) if name]
        return "\n".join(
            [plan.describe(), *([f"layers behind dropout: {', '.join(names)}"] if names else [])]
        )

    def plan(self, x: Any) -> SamplingPlan:
        """The sampling plan for inputs like x.

        Args:
            x: A batch on the network's device.

        Returns:
            The plan, kept for inputs of the same shape.

        Raises:
            NoStochasticSite: Training would call no dropout.
            IdenticalDraws: The outputs do not depend on any dropout.
            UnsupportedNetwork: A dropout call cannot share its mask; the message names it.
        """
        key = shapes(x)
        if key not in self._plans:
            self._plans[key] = self._make_plan(x)
        return self._plans[key]

    def _make_plan(self, x: Any) -> SamplingPlan:
        if not items_of(x):
            raise InvalidArgument(
                "the first batch holds no items, so nothing can be learnt of the network's dropout"
            )
        with torch.inference_mode(False):  # so that they have versions, which change in place with any value
            two, three, probe = (take(x, torch.arange(size) % items_of(x)) for size in (2, 3, 2))
        before = versions(two)
        with torch.inference_mode(), order_checked(self.network), Dropouts():
            call(self.network, take(two, slice(None)))  # settles the format of its weights
        sites, owners, left_out = find_sites(self.network, two, three, self.each_step)
        in_place = differ(two, probe) or before != versions(two)
        if not sites:
            raise NoStochasticSite(
                "training this network calls no dropout, so all its samples would be the same; have dropout inserted "
                "with rate=0.5, add nn.Dropout layers (before the last layer is enough), or use Deterministic"
            )
        if all(site.p == 0 for site in sites):
            warnings.warn("every dropout rate is 0, so all samples are the same function", stacklevel=5)
        if left_out:
            names = ", ".join(sorted(set(left_out)))
            if not repeats(self.network, self.likelihood, probe):
                raise UnsupportedNetwork(
                    f"{names}: random in evaluation mode too, so a sample would not be one function; draw random "
                    "numbers only where self.training"
                )
            warnings.warn(f"random in training, deterministic here: {names}", stacklevel=5)
        for module in owners:
            module.training = True  # only the module itself: it is what makes the call
        self.lowered.forget()
        plan = SamplingPlan(sites, find_tail(self.network, sites), left_out, in_place)
        if (
            any(site.p > 0 for site in sites)
            and not acts(self.network, probe)
            and self.draw(8)._equal(plan, probe)
        ):
            names = ", ".join(dict.fromkeys(site.name for site in sites if site.p > 0))
            raise IdenticalDraws(
                f"the outputs of the network do not depend on its dropout ({names}), so all samples would be the same; "
                "use the output of the dropout layers, have dropout inserted with rate=0.5, or use Deterministic"
            )
        if plan.tail is not None and not self.draw(1)._agree(plan, probe):
            plan.tail = None
        return plan


def _is_recurrent(network: nn.Module) -> bool:
    return any(isinstance(module, nn.RNNBase) for module in network.modules())


class DropoutDraws(NumberedDraws):
    """T functions of one network; see `protocols.Draws`.

    Args:
        posterior: The posterior.
        seed: Seed of the samples.
        samples: The absolute numbers of the samples.
    """

    def __init__(self, posterior: MCDropout, seed: int, samples: range) -> None:
        super().__init__(posterior.likelihood.kind, samples)
        self.posterior = posterior
        self.seed = seed
        self._masks: dict[tuple[int, tuple[int, ...]], Tensor] = {}
        self._tails: dict[tuple[int, torch.dtype | None], TailSamples] = {}

    @property
    def degenerate(self) -> bool:
        """Whether the user asked for identical samples: every rate is 0, or T = 1."""
        plans = self.posterior._plans.values()
        return len(self) == 1 or any(all(site.p == 0 for site in plan.sites) for plan in plans)

    def _at(self, samples: range) -> "DropoutDraws":
        return DropoutDraws(self.posterior, self.seed, samples)

    @torch.inference_mode()
    def __call__(self, x: Any) -> Tensor:
        plan, x = self._prepared(x)
        if plan.tail is not None:
            return self._rest(plan, plan.tail.trunk(plan.given(x)))
        size, n = max(1, _ROWS // len(self)), items_of(x)
        parts = [self._general(plan, take(x, slice(a, min(a + size, n)))) for a in range(0, max(n, 1), size)]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    @torch.inference_mode()
    def features(self, x: Any) -> Tensor:
        """The input of the last linear layer under the network without dropout, (n, D).

        Args:
            x: A batch.

        Returns:
            Features.
        """
        return self.outputs(x, ("features",))["features"]

    @torch.inference_mode()
    def outputs(self, x: Any, names: Sequence[str]) -> dict[str, Tensor]:
        """Several outputs of one batch, from a single run of the trunk.

        Args:
            x: A batch.
            names: Some of "log_probs" and "features".

        Returns:
            The outputs by name.
        """
        plan, x = self._prepared(x)
        if plan.tail is None:
            functions: dict[str, Callable[[Any], Tensor]] = {
                "log_probs": self,
                "features": lambda x: self._mean_features(plan, x),
            }
            return {name: functions[name](x) for name in names}
        h = plan.tail.trunk(plan.given(x))
        linear_last = plan.tail.layers[-1].options is None
        of_trunk: dict[str, Callable[[Tensor], Tensor]] = {
            "log_probs": lambda h: self._rest(plan, h),
            "features": plan.tail.mean_features if linear_last else lambda _: self._mean_features(plan, x),
        }
        return {name: of_trunk[name](h) for name in names}

    def split(self) -> tuple[Callable[[Any], Tensor], Callable[[Tensor], Tensor]] | None:
        """(trunk, rest) if a tail was found on an earlier batch, otherwise None.

        Returns:
            Two functions with rest(trunk(x)) equal to self(x).
        """
        plans = list(self.posterior._plans.values())
        if len(plans) != 1 or plans[0].tail is None:
            return None
        plan, tail = plans[0], plans[0].tail

        def trunk(x: Any) -> Tensor:
            with torch.inference_mode():
                return tail.trunk(plan.given(self._prepared(x)[1]))

        def rest(h: Tensor) -> Tensor:
            with torch.inference_mode():
                return self._rest(plan, h)

        return Trunk(trunk, tail.trunk.identity, tail.trunk.device), rest

    def _prepared(self, x: Any) -> tuple[SamplingPlan, Any]:
        """The plan for a batch, and the batch where the network is."""
        items_of(x)  # refuses what is no batch
        x = as_precise(self.posterior.network, place(x, device_of(self.posterior.network)))
        return self.posterior.plan(x), x

    def _mean_features(self, plan: SamplingPlan, x: Any) -> Tensor:
        with Dropouts():
            network = self.posterior.lowered.now(device_of(self.posterior.network))
            return penultimate(network, plan.given(x))

    def _rest(self, plan: SamplingPlan, h: Tensor) -> Tensor:
        """The tail: what the trunk gives to (n, T, C)."""
        key = id(plan), asked(h.device)
        with exactly(h.device):
            if key not in self._tails:
                self._tails[key] = self._tail_samples(plan, key[1])
            return self.posterior.likelihood.log_probs(self._tails[key](h), 2)

    def _tail_samples(self, plan: SamplingPlan, dtype: torch.dtype | None) -> TailSamples:
        assert plan.tail is not None
        keeps: list[tuple[Tensor, float] | None] = []
        for layer in plan.tail.layers:
            before: tuple[Tensor, float] | None = None
            for number in layer.sites:
                site = plan.sites[number]
                mask = self._mask(number, site, torch.Size(site.shape)).flatten(1)  # (T, channels or units)
                if layer.options is None:  # one entry for each input, where pooling may lie between
                    mask = mask.repeat_interleave(layer.weight.shape[1] // mask.shape[1], 1)  # (T, I)
                factor = 1 / (1 - site.p) if site.p < 1 else 0.0
                before = (mask, factor) if before is None else (before[0] & mask, before[1] * factor)
            keeps.append(before)
        kind = ConvolutionalSamples if plan.tail.convolutions else DenseSamples
        return kind(plan.tail.layers, keeps, len(self), dtype)

    def _mask(self, number: int, site: Site, shape: torch.Size) -> Tensor:
        """The masks of all samples at a site, (T, *mask shape); made once."""
        key = (number, site.mask_shape(shape))
        if key not in self._masks:
            mask = keep(self.seed, number, self.samples, key[1], site.p)
            self._masks[key] = mask.to(device_of(self.posterior.network))
        return self._masks[key]

    def _general(self, plan: SamplingPlan, x: Any) -> Tensor:
        """Any network: (n, T, C, ...), vectorised over the samples, or one sample after the other."""
        sample = self._sample(plan, x)
        every = torch.arange(len(self), device=device_of(self.posterior.network)).unsqueeze(1)  # (T, 1)
        if plan.vectorised:
            try:
                with warnings.catch_warnings():  # of a trifle inside adaptive pooling
                    warnings.filterwarnings("ignore", ".*aten::as_strided_")
                    # With out_dims=1, vmap would transpose samples that are equal.
                    return torch.vmap(sample)(every).movedim(0, 1)  # (n, T, C, ...)
            except (UnsupportedNetwork, torch.OutOfMemoryError):
                raise
            except (RuntimeError, ValueError) as error:  # what vmap says of code that it cannot vectorise
                self._fall_back(plan, error)
        return torch.stack([sample(t) for t in every], 1)  # (n, T, C, ...)

    def _sample(self, plan: SamplingPlan, x: Any) -> Callable[[Tensor], Tensor]:
        """t to what sample t gives of a batch, (n, C, ...)."""
        network = self.posterior.lowered.now(device_of(self.posterior.network))

        def sample(t: Tensor) -> Tensor:
            def mask(number: int, site: Site, h: Tensor) -> Tensor:
                return self._mask(number, site, h.shape).index_select(0, t)[0]  # (*mask shape)

            with masking(plan.sites, mask):
                logits = call(network, plan.given(x))
            return self.posterior.likelihood.log_probs(logits, 1)

        return sample

    def _equal(self, plan: SamplingPlan, x: Any) -> bool:
        """Whether all samples of the network are equal on a batch."""
        every = torch.arange(len(self), device=device_of(self.posterior.network)).unsqueeze(1)  # (T, 1)
        with torch.inference_mode():
            first, *others = (self._sample(plan, map_tree(torch.clone, x))(t) for t in every)
        return all(torch.equal(first.nan_to_num(), one.nan_to_num()) for one in others)

    def _agree(self, plan: SamplingPlan, x: Any) -> bool:
        """Whether one sample of the tail and of the network agree on two items, the second of which becomes noise."""
        assert plan.tail is not None
        device = device_of(self.posterior.network)
        self._masks = {key: mask.to(device) for key, mask in half_masks(plan.sites).items()}
        try:
            with torch.inference_mode(), seeded(0, device), exactly(device):
                map_tree(lambda leaf: leaf[1].uniform_() if leaf.is_floating_point() else leaf, x)
                found = self._rest(plan, plan.tail.trunk(plan.given(x)))
                expected = self._sample(plan, x)(torch.zeros(1, dtype=torch.long, device=device)).unsqueeze(1)
        except Exception:  # the tracer had stand-ins for all inputs: they go where tensors, or None, do not
            return False
        return same(found, expected, plan.tail.layers[-1].weight.dtype)

    def _fall_back(self, plan: SamplingPlan, error: Exception) -> None:
        """Say once that this network runs T times."""
        plan.vectorised = False
        reason = str(error).strip().splitlines()[0]
        warnings.warn(
            f"the network cannot be vectorised over the samples, so it runs {len(self)} times ({reason})",
            stacklevel=6,
        )


def load(folder: Path, network: nn.Module) -> MCDropout:
    """Load a saved posterior.

    Args:
        folder: The folder of the saved posterior.
        network: The architecture; its weights are overwritten.

    Returns:
        The posterior.

    Raises:
        DamagedArtefact: A file is missing, incomplete or of another network.
    """
    saved = read(folder, network)
    rate, where = saved.facts.get("rate"), saved.facts.get("where", "last")
    try:
        if insertion(network) not in (None, (rate, where)):
            raise InvalidArgument(f"dropout of {insertion(network)} is inserted in the network given")
        rate = rate if insertion(network) is None else None
        posterior = MCDropout(network, rate, where, likelihood=saved.likelihood)
        earlier = _is_recurrent(network) and saved.facts.get("masks") != _EACH_STEP
        return posterior.with_one_mask_a_sequence() if earlier else posterior
    except (InvalidArgument, NoStochasticSite, TypeError) as error:
        raise DamagedArtefact(f"the saved posterior in {folder} is of another network: {error}") from error
