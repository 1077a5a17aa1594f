"""Images made of labelled images."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from baldur import data
from baldur.errors import InvalidArgument, Unsupported
from baldur.learners.supervised import Supervised
from baldur.learners.unlabelled.generative import Game, bayesian_generative, divergence
from baldur.learners.unlabelled.networks import Discriminator, Generator, LatentEncoder
from baldur.likelihoods import CATEGORICAL
from baldur.posteriors.fit import ensembles
from baldur.posteriors.fit.dropout import mc_dropout
from baldur.protocols import Labelled, View
from baldur.testing.learner import verify_learner
from baldur.training import Recipe, Step, weights_hash

Y = np.arange(40) % 2
RNG = np.random.default_rng(0)
X = RNG.normal(0, 0.2, (40, 1, 8, 9)).astype(np.float32)
X[Y == 0, :, :4] += 3.0
X[Y == 1, :, 4:] += 3.0
POOL = data.from_arrays(X)
ROUNDS = np.r_[np.zeros(9, np.int64), np.full(3, 2)]
LABELLED = Labelled(View(POOL, np.arange(12)), Y[:12], ROUNDS, np.ones(12, np.float32), ("oracle",) * 12)
UNLABELLED = View(POOL, np.arange(12, 40))


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(4 * 6 * 7, 2),
    )


def plain(epochs=3, network=network, **kwargs):
    recipe = Recipe(epochs=epochs, epoch_size=1, batch_size=5, learning_rate=0.01)
    return Supervised(network, classes=2, recipe=recipe, interval=0.0, **kwargs)


def fitted(learner, labelled=LABELLED):
    return learner.fit(labelled, UNLABELLED, seed=0, round=0)


made = partial(bayesian_generative, latent=4)


class Told:
    """A way to train that only says what is trained on."""

    recipe = Recipe(device="cpu")
    classes = 2
    likelihood = CATEGORICAL
    unlabelled = UNLABELLED

    def __init__(self, x=X, y=Y):
        self.x, self.y = torch.as_tensor(x), torch.as_tensor(y)

    def data(self):
        return self.x, self.y, torch.ones(len(self.y))

    def build(self, seed, **options):
        raise Unsupported

    def __call__(self, seed, *, network=None, penalty=None, after_epoch=None, recipe=None):
        raise Unsupported


OPTIONS = made(plain()).posterior.images


def step(game, classifier, share=0.0):
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    outputs = classifier(x)
    losses = functional.cross_entropy(outputs, y, reduction="none")
    return game.penalty(classifier, Step(x, y, outputs, losses, share, torch.arange(40)))


def test_the_worked_divergence():
    mean, log_variance = torch.tensor([[0.5, -0.2]]), torch.tensor([[-0.1, 0.3]])
    assert float(divergence(mean, log_variance)) == pytest.approx(0.17234811, abs=1e-7)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(1)
    torch.testing.assert_close(divergence(mean, log_variance), expected)


def test_it_is_a_learner():
    verify_learner(lambda: made(plain()), LABELLED, UNLABELLED)


def test_each_network_of_an_ensemble_has_a_generator_of_its_own():
    learner = made(plain(epochs=1, posterior=ensembles.ensemble(2, each=mc_dropout)))
    first, second = fitted(learner).members
    alone = fitted(made(plain(epochs=1, posterior=mc_dropout)))
    assert weights_hash(first.network) != weights_hash(second.network) != weights_hash(alone.network)
    assert learner.posterior.pictures() is not None


def test_images_of_weight_zero_leave_the_learner_as_it_is_bit_for_bit():
    """So neither the order, the dropout nor the statistics of batch normalisation know of them."""
    assert weights_hash(fitted(made(plain(), weight=0.0)).network) == weights_hash(fitted(plain()).network)
    assert weights_hash(fitted(made(plain())).network) != weights_hash(fitted(plain()).network)


def test_the_penalty_is_that_of_the_images_and_does_not_reach_the_generator():
    classifier = network().train()
    game = Game(Told(), OPTIONS, seed=0)
    seen = []
    classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    before = {name: p.detach().clone() for name, p in game.state().items() if "weights" in name}
    penalty = step(game, classifier)
    images = seen[1].detach()
    assert images.shape == (80, 1, 8, 9)
    assert X.min() <= float(images.min()) <= float(images.max()) <= X.max()  # the range of the items
    moved = [not torch.equal(p, before[name]) for name, p in game.state().items() if name in before]
    assert sum(moved) >= len(moved) - 2  # all but what no gradient reaches yet
    gradients = [p.grad for part in game.parts.values() for p in part.parameters()]
    kept = [g.clone() for g in gradients]
    torch.autograd.backward(penalty)
    assert all(map(torch.equal, kept, gradients))
    assert all(p.grad is not None for p in classifier.parameters())


def test_images_are_made_anew_in_each_step_and_again_after_a_kill():
    seen = []
    classifier = network().train()
    classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    game, again = Game(Told(), OPTIONS, seed=0), Game(Told(), OPTIONS, seed=0)
    step(game, classifier, share=0.0)
    state = {name: value.clone() for name, value in game.state().items()}
    step(game, classifier, share=0.1)
    again.load(state)
    step(again, classifier, share=0.1)
    assert not torch.equal(seen[1], seen[3])
    assert torch.equal(seen[3], seen[5])


def test_what_is_made_of_an_item_comes_to_look_like_it():
    """And it has the item's label: the generator is told the class, and the code says little of it."""
    classifier = network().train()
    game = Game(Told(), made(plain(), reconstruction=50.0, divergence=0.1, latent=4).posterior.images, seed=0)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    before = float((game.remake(x, y) - x).square().mean())
    for number in range(60):
        step(game, classifier, number / 60)
    after = game.remake(x, y)
    assert float((after - x).square().mean()) < 0.3 * before
    halves = after[:, 0, :4].mean((1, 2)) - after[:, 0, 4:].mean((1, 2))
    assert ((halves > 0).int() == 1 - y).all()


def test_pictures_are_pairs_of_the_newest_answers():
    learner = made(plain())
    assert learner.posterior.pictures() is None
    pseudo = Labelled(
        LABELLED.pool,
        LABELLED.labels,
        ROUNDS + np.r_[np.zeros(11, np.int64), 1],
        *(LABELLED.weights,),
        ("oracle",) * 11 + ("pseudo",),
    )
    for labelled, count in ((LABELLED, 3), (pseudo, 2)):
        fitted(learner, labelled)
        sheet = Image.open(io.BytesIO(learner.posterior.pictures()))
        assert sheet.size == (64 * 2 * count, 64)
    first = np.asarray(sheet.crop((0, 0, 64, 64)), float)
    assert first[40:56].mean() > 2 * first[8:24].mean()  # item 9 is of class 1: the lower half


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 14), (2, 28, 28), (3, 33, 8)])
def test_images_of_any_size_are_made(shape):
    x = torch.rand(3, *shape)
    mean, log_variance = LatentEncoder(shape, 5)(x)
    assert mean.shape == log_variance.shape == (3, 5)
    assert Generator(shape, 5, 4)(mean, torch.tensor([0, 3, 1])).shape == x.shape
    assert Discriminator(shape)(x).shape == (3,)


def test_what_is_no_image_of_a_class_is_refused():
    with pytest.raises(Unsupported, match=r"\(5,\)"):
        Game(Told(np.zeros((4, 5), np.float32), np.zeros(4, np.int64)), OPTIONS, 0)
    with pytest.raises(Unsupported, match="at least 8 pixels"):
        Game(Told(np.zeros((4, 1, 8, 7), np.float32), np.zeros(4, np.int64)), OPTIONS, 0)
    with pytest.raises(Unsupported, match="not classes"):
        Game(Told(y=np.zeros((40, 3))), OPTIONS, 0)


@pytest.mark.parametrize(
    "values", [{"weight": -1.0}, {"latent": 0}, {"learning_rate": 0.0}, {"divergence": -1.0}]
)
def test_values_out_of_their_domain_are_refused(values):
    with pytest.raises(InvalidArgument):
        bayesian_generative(plain(), **values)
