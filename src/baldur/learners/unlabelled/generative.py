"""Bayesian generative active learning: training on labelled images and on images generated from them.

T. Tran, T.-T. Do, I. Reid and G. Carneiro, "Bayesian generative active deep learning", ICML 2019.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from baldur.core.devices import pick_device, seeded
from baldur.core.networks import call, restore, tensors
from baldur.core.seeds import derive
from baldur.data.pictures import contact_sheet
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.adding import Addition, adding
from baldur.learners.unlabelled.networks import Discriminator, Generator, LatentEncoder
from baldur.learners.unlabelled.pools import statistics_kept
from baldur.protocols import Labelled, Posterior
from baldur.training import Step
from baldur.training.contract import Fitting, Train, WrappingFitting

_LEAST_SIDE = 8
_SHOWN = 8


def bayesian_generative(
    learner: Supervised,
    *,
    weight: float = 1.0,
    reconstruction: float = 0.75,
    divergence: float = 1.0,
    latent: int = 100,
    learning_rate: float = 1e-3,
) -> Supervised:
    """For each labelled image x* with label y*, also train on images x' = g(e(x*), y*) and g(z, y*) with this label.

    An encoder e, a generator g and a discriminator d are trained together with the classifier c, step by step. With
    code z' ~ q(z | x) = N(μ, σ²) of e, z ~ N(0, 1), x' = g(z', y) and x_z = g(z, y), they minimise

        e: MSE(x', x) + β KL(q ‖ N(0, 1)) / pixels
        g: CE(d(x_z), real) + CE(c(x_z), y) + γ MSE(x', x)
        d: CE(d(x), real) + CE(d(x_z), made) + CE(d(x'), made)
        c: CE(c(x), y) + λ (CE(c(x_z), y) + CE(c(x'), y))

    Here the loss of c has no gradient in e and g, and MSE is the mean over pixels in [0, 1]. Each step generates new
    images, which are not stored and cost no labels. Batch normalisation in c keeps the statistics of real images. All
    networks are trained anew in each round. (Tran et al., ICML 2019.)

    Cost: c gets three times as many images, and three small networks are trained. This took 2.6 times the time of the
    learner (MNIST, two convolutions, one thread).

    Use: not for accuracy. It was worse than the plain learner wherever it was measured on MNIST: 83 % against 87 %
    right with 80 labels, and 94 % against 96 % with 1,000 (20 epochs of 2,000 items, one seed). The images are poor
    training data: with 80 labels, a network that is 96 % right put 81 % of the images x_z and 93 % of the x' into their
    own class. Two causes showed with 80 labels (10 epochs, one seed; plain 86.7 %, this method 82.7 %). Without x_z in
    the loss of c, 83.6 % were right. When also the x' came only after two fifths of the steps, with
    `reconstruction=100, divergence=0.1`, 87.3 % were. The larger networks and longer training of the paper were not
    measured.

    Args:
        learner: The learner to wrap. It classifies images (n, C, H, W) with sides of at least 8 pixels.
        weight: λ. With 0, the weights are those of the plain learner, bit for bit.
        reconstruction: γ.
        divergence: β.
        latent: Length of the code.
        learning_rate: Learning rate of e, g and d (Adam, moments .5 and .999).

    Returns:
        A learner. After a fit, `pictures()` of its `posterior` is a PNG of the newest items and of images generated
        from them.

    Raises:
        InvalidArgument: A value is not valid.
    """
    if min(weight, reconstruction, divergence) < 0 or latent < 1 or learning_rate <= 0:
        raise InvalidArgument(
            f"weight {weight}, reconstruction {reconstruction} and divergence {divergence} must not be negative, and "
            f"latent {latent} and learning_rate {learning_rate} must be positive"
        )
    images = ImageOptions(weight, reconstruction, divergence, latent, learning_rate)
    return learner.but(posterior=Generative(learner.posterior, images))


@dataclass(frozen=True)
class ImageOptions:
    """See `bayesian_generative`."""

    weight: float
    reconstruction: float
    divergence: float
    latent: int
    learning_rate: float


@dataclass
class Generative(WrappingFitting):
    """A posterior function whose networks also train on generated images; see `bayesian_generative`.

    Args:
        inner: The posterior function.
        images: The settings of the generated images.
    """

    inner: Fitting
    images: ImageOptions
    _sheet: bytes | None = field(default=None, init=False)

    def __call__(self, train: Train, labelled: Labelled, seed: int) -> Posterior:
        games: list[Game] = []

        def make(seed: int, network: nn.Module, train: Train) -> Addition:
            games.append(Game(train, self.images, seed))
            return Addition(games[-1].penalty, games[-1])

        posterior = self.inner(adding(train, make), labelled, seed)
        self._sheet = _pairs(games[-1], labelled) if games else None
        return posterior

    def pictures(self) -> bytes | None:
        """The newest labelled items of the last fit, each followed by an image generated from it.

        Returns:
            A PNG with one row; None before the first fit, or if the images do not have 1 or 3 channels.
        """
        return self._sheet


class Game:
    """Encoder, generator and discriminator of one classifier. The game is both penalty and watcher of its training.

    Args:
        train: The training of the classifier.
        options: The settings of the generated images.
        seed: Seed of initial weights and codes.

    Raises:
        Unsupported: The items are not images, or the labels are not classes.
    """

    def __init__(self, train: Train, options: ImageOptions, seed: int) -> None:
        x, y, _ = train.data()
        shape = _shape(x, y)
        self.options = options
        self.seed = seed
        device = pick_device(train.recipe.device)
        with seeded(derive(seed, "generator"), torch.device("cpu")):
            self.encoder = LatentEncoder(shape, options.latent).to(device)
            self.generator = Generator(shape, options.latent, train.classes).to(device)
            self.discriminator = Discriminator(shape).to(device)
        self.parts: dict[str, nn.Module] = {
            "encoder": self.encoder,
            "generator": self.generator,
            "discriminator": self.discriminator,
        }
        self.optimizers = {
            name: torch.optim.Adam(part.parameters(), options.learning_rate, betas=(0.5, 0.999))
            for name, part in self.parts.items()
        }
        self.low = x.amin((0, 2, 3)).reshape(-1, 1, 1).to(device)  # (C, 1, 1)
        span = x.amax((0, 2, 3)).reshape(-1, 1, 1).to(device) - self.low  # (C, 1, 1)
        self.span = torch.where(span > 0, span, torch.ones_like(span))

    def penalty(self, network: nn.Module, step: Step) -> Tensor:
        """Train each part for one step, and return the loss of the classifier on generated images.

        Args:
            network: The classifier.
            step: The step of the classifier.

        Returns:
            λ (CE(c(x_z), y) + CE(c(x'), y)).
        """
        images = step.x
        with seeded(derive(self.seed, "images", str(step.share)), images.device):
            x, y = (images - self.low) / self.span, step.y
            mean, log_variance = self.encoder(x)
            remade = self.generator(mean + (0.5 * log_variance).exp() * torch.randn_like(mean), y)
            made = self.generator(torch.randn_like(mean), y)
            of_made, of_remade, wish = self._classified(network, made, remade, y)
            # One pass for all three: (3n, C, H, W) to (n,) each.
            real, copied, invented = self.discriminator(torch.cat([x, remade.detach(), made])).chunk(3)
            losses = {
                "distance": functional.mse_loss(remade, x),
                "coding": self.options.divergence * divergence(mean, log_variance).mean() / x[0].numel(),
                "making": _bce(invented, real=True) + (made * wish).sum(),
                "judging": _bce(real, real=True) + _bce(copied, real=False) + _bce(invented, real=False),
            }
        self._move(losses)
        return self.options.weight * (of_made + of_remade)

    def _classified(
        self, network: nn.Module, made: Tensor, remade: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The classifier's losses on generated images, and the gradient of the first with respect to its images."""
        leaf = made.detach().requires_grad_()
        given = self.low + self.span * torch.cat([leaf, remade.detach()])  # (2n, C, H, W)
        with statistics_kept(network):
            logits = call(network, given).float()  # (2n, classes)
        of_made = functional.cross_entropy(logits[: len(y)], y)
        of_remade = functional.cross_entropy(logits[len(y) :], y)
        (wish,) = torch.autograd.grad(of_made, leaf, retain_graph=True)
        return of_made, of_remade, wish

    def _move(self, losses: Mapping[str, Tensor]) -> None:
        """One optimiser step of each part. All gradients are computed before the first step."""
        e, g, d = (list(part.parameters()) for part in self.parts.values())

        def slopes(name: str, parameters: list[nn.Parameter]) -> tuple[Tensor, ...]:
            return torch.autograd.grad(losses[name], parameters, retain_graph=True)

        near = slopes("distance", e + g)
        coding = [a + b for a, b in zip(near[: len(e)], slopes("coding", e), strict=True)]
        share = self.options.reconstruction
        making = [share * a + b for a, b in zip(near[len(e) :], slopes("making", g), strict=True)]
        for parameters, gradients in ((e, coding), (g, making), (d, slopes("judging", d))):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
        for optimizer in self.optimizers.values():
            optimizer.step()

    @torch.inference_mode()
    def remake(self, x: Float[Tensor, "n c h w"], y: Tensor) -> Float[Tensor, "n c h w"]:
        """x' = g(e(x), y).

        Args:
            x: Images in the range of the classifier's inputs.
            y: Their classes.

        Returns:
            Images in the same range.
        """
        self.generator.eval()
        x, y = x.to(self.low.device), y.to(self.low.device)
        with seeded(derive(self.seed, "shown"), x.device):
            mean, log_variance = self.encoder((x - self.low) / self.span)
            codes = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
            images: Tensor = self.low + self.span * self.generator(codes, y)
        self.generator.train()
        return images

    def __call__(self, network: nn.Module, epoch: int) -> None:
        """Do nothing: the classifier is not observed."""

    def state(self) -> Mapping[str, Tensor]:
        """The weights and moments of all parts.

        Returns:
            Tensors by name.
        """
        state: dict[str, Tensor] = {}
        for part, module in self.parts.items():
            state |= {f"{part}.weights.{name}": value for name, value in tensors(module).items()}
            for number, moments in self.optimizers[part].state_dict()["state"].items():
                state |= {f"{part}.moments.{number}.{name}": value for name, value in moments.items()}
        return state

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore the result of `state`.

        Args:
            state: The state, as tensors by name.
        """
        for part, module in self.parts.items():
            weights, moments = f"{part}.weights.", f"{part}.moments."
            restore(module, {n.removeprefix(weights): v for n, v in state.items() if n.startswith(weights)})
            kept: dict[int, dict[str, Tensor]] = {}
            for name, value in state.items():
                if name.startswith(moments):
                    number, _, moment = name.removeprefix(moments).partition(".")
                    kept.setdefault(int(number), {})[moment] = value.clone()
            groups = self.optimizers[part].state_dict()["param_groups"]
            self.optimizers[part].load_state_dict({"state": kept, "param_groups": groups})


def divergence(
    mean: Float[Tensor, "n latent"], log_variance: Float[Tensor, "n latent"]
) -> Float[Tensor, " n"]:
    """KL(N(μ, σ²) ‖ N(0, 1)) = -½ Σ (1 + log σ² - μ² - σ²), summed over the code.

    Args:
        mean: μ.
        log_variance: log σ².

    Returns:
        Nats of each item.
    """
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1)


def _bce(logits: Tensor, *, real: bool) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(real)))


def _shape(x: Any, y: Tensor) -> tuple[int, int, int]:
    if (
        not isinstance(x, Tensor)
        or x.ndim != 4
        or not x.is_floating_point()
        or min(x.shape[2:]) < _LEAST_SIDE
    ):
        given = f"{x.dtype} {tuple(x.shape[1:])}" if isinstance(x, Tensor) else type(x).__name__
        raise Unsupported(
            f"bayesian_generative needs floating-point images (C, H, W) with sides of at least {_LEAST_SIDE} pixels, "
            f"but the items are {given}"
        )
    if y.ndim != 1 or y.is_floating_point():
        raise Unsupported(
            "bayesian_generative needs one class for each image, but the labels are not classes"
        )
    return x.shape[1], x.shape[2], x.shape[3]


def _pairs(game: Game, labelled: Labelled) -> bytes | None:
    """The newest items, each followed by an image generated from it."""
    answered = np.array([source == "oracle" for source in labelled.sources], np.bool_)
    newest = np.flatnonzero(answered & (labelled.rounds == labelled.rounds[answered].max(initial=-1)))[
        :_SHOWN
    ]
    if not len(newest):
        return None
    images = [x for _, x in labelled.pool.batches(newest, _SHOWN)]
    x = torch.cat(images)  # (s, C, H, W)
    remade = game.remake(x, torch.from_numpy(labelled.labels[newest]))
    return contact_sheet(
        [image for pair in zip(x.cpu().numpy(), remade.cpu().numpy(), strict=True) for image in pair]
    )
