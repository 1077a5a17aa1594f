"""Laplace's approximation in the last layer."""

import inspect
import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn

from baldur import acquire
from baldur.errors import DamagedArtefact, InvalidArgument, Unsupported, UnsupportedNetwork
from baldur.likelihoods import BERNOULLI, CATEGORICAL, GAUSSIAN
from baldur.posteriors.laplace.curvature import curvature, evidence, mode
from baldur.posteriors.laplace.last_layer import information, last_layer, weights_of
from baldur.posteriors.laplace.posterior import approximate, load
from baldur.testing.posterior import verify_posterior

STRUCTURES = ("full", "kronecker", "diagonal")
X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
Y = torch.tensor([0, 1, 0])
ONE = torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64)
LABELS = {CATEGORICAL: torch.arange(40) % 3, BERNOULLI: torch.eye(3)[torch.arange(40) % 3]}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def example():
    layer = nn.Linear(2, 2)
    layer.weight.data, layer.bias.data = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), torch.zeros(2)
    return layer


def of_example(structure, **options):
    return approximate(
        example(), X, Y, **{"structure": structure, "prior_precision": 1.0, "refit": False} | options
    )


def network(outputs=3, bias=True):
    body = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.Tanh(), nn.Linear(6, outputs, bias=bias))
    return body.double().eval()


def problem(outputs=3):
    x = torch.randn(40, 4, dtype=torch.float64)
    return network(outputs), x, (x[:, :3] + 0.5 * torch.randn(40, 3)).argmax(1)


def dense(posterior, last_inputs, outputs, likelihood, counts=None):
    """The precision written out: Σ_n w_n Λ_n ⊗ φφᵀ + δI, each structure by its own definition."""
    info, counts = (
        information(outputs, likelihood),
        torch.ones(len(outputs)).double() if counts is None else counts,
    )
    terms = [w * torch.kron(m, torch.outer(u, u)) for w, m, u in zip(counts, info, last_inputs, strict=True)]
    h = torch.stack(terms).sum(0)
    if posterior.curvature.structure == "kronecker":
        a = (last_inputs.T * counts) @ last_inputs / counts.sum()
        h = torch.kron((counts[:, None, None] * info).sum(0), a)
    if posterior.curvature.structure == "diagonal":
        h = h.diagonal().diag()
    return h / posterior.temperature + posterior.prior_precision * torch.eye(len(h), dtype=torch.float64)


def test_worked_numbers():
    full, kronecker = of_example("full"), of_example("kronecker")
    covariance = torch.tensor([[3.82259596, 1.17740404], [1.17740404, 3.82259596]], dtype=torch.float64)
    assert full.outputs_covariance(ONE)[0] == pytest.approx(covariance, abs=1e-8)
    assert kronecker.outputs_covariance(ONE).flatten().tolist() == pytest.approx(
        [3.828820295, 1.171179705, 1.171179705, 3.828820295], abs=1e-8
    )
    x = ONE[:, :2].float()
    assert full.predictive(x).exp()[0].tolist() == pytest.approx([0.926167126, 0.073832874], abs=1e-8)
    assert float(kronecker.predictive(x).exp()[0, 0]) == pytest.approx(0.926082632, abs=1e-8)
    assert full.log_marginal_likelihood(X, Y) == pytest.approx(-3.6293156, abs=1e-7)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("likelihood", [CATEGORICAL, BERNOULLI, GAUSSIAN], ids=lambda one: one.name)
def test_the_eigen_form_is_the_dense_form(structure, likelihood):
    counts = torch.rand(40, dtype=torch.float64)
    net, x, y = problem(4 if likelihood is GAUSSIAN else 3)
    if likelihood is GAUSSIAN:
        net = nn.Sequential(net, nn.Unflatten(1, (2, 2)))
        y = torch.randn(40, 2)
    else:
        y = LABELS[likelihood]
    options = {"structure": structure, "likelihood": likelihood, "temperature": 0.7, "prior_precision": 0.3}
    posterior = approximate(net, x, y, counts=counts, refit=False, **options)
    inputs = torch.cat([posterior.trunk(x), torch.ones(40, 1, dtype=torch.float64)], 1)
    precision = dense(posterior, inputs, net(x).detach(), likelihood, counts)

    jacobians = [torch.kron(torch.eye(len(posterior.mean)).double(), u) for u in inputs[:5]]
    expected = torch.stack([j @ precision.inverse() @ j.T for j in jacobians])
    assert posterior.outputs_covariance(inputs[:5]) == pytest.approx(expected, abs=1e-9)

    size = posterior.mean.numel()
    log_likelihood = -(likelihood.losses(net(x).detach(), y) * counts).sum() / 0.7
    occam = precision.logdet() - size * math.log(0.3) + 0.3 * posterior.mean.square().sum()
    assert posterior.log_marginal_likelihood(x, y, counts) == pytest.approx(
        float(log_likelihood - occam / 2), abs=1e-6
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_covariance_of_samples_is_the_inverse_precision(structure):
    posterior = of_example(structure)
    weights = posterior.weights(range(20_000), seed=3).flatten(1)
    inputs = torch.cat([X.double(), torch.ones(3, 1).double()], 1)
    expected = dense(posterior, inputs, example()(X).detach().double(), CATEGORICAL).inverse()
    assert weights.mean(0) == pytest.approx(posterior.mean.flatten(), abs=0.04)
    assert weights.T.cov() == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("likelihood", [BERNOULLI, GAUSSIAN], ids=lambda one: one.name)
def test_the_information_is_the_expected_hessian(likelihood):
    f = torch.randn(2 if likelihood is GAUSSIAN else 3, dtype=torch.float64)

    def loss(y):
        return torch.autograd.functional.hessian(lambda f: likelihood.losses(f[None], y[None])[0], f)

    if likelihood is BERNOULLI:
        every = itertools.product((0.0, 1.0), repeat=3)
        p = f.sigmoid()
        expected = sum(loss(y) * torch.where(y > 0, p, 1 - p).prod() for y in map(torch.tensor, every))
    else:  # the Hessian is a polynomial of degree two in y, for which two points are enough
        mean, variance = likelihood.log_probs(f[None], 1)[0]
        expected = sum(loss(mean + sign * variance.sqrt()) / 2 for sign in (-1, 1))
    assert information(f[None], likelihood)[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_contract_holds(structure):
    net, x, y = problem()
    net, x = net.float(), x.float()
    make = partial(_given, x=x, y=y, structure=structure, prior_precision=1.0)
    again = network().float()
    verify_posterior(make, net, x[:9], lambda folder: load(folder, again))


def _given(net, x, y, **options):
    return approximate(net, x, y, **options)


@pytest.mark.parametrize("likelihood", [BERNOULLI, GAUSSIAN], ids=lambda one: one.name)
def test_other_likelihoods_draw_what_they_mean(likelihood, tmp_path):
    net, x, y = problem(2 if likelihood is GAUSSIAN else 3)
    y = y.double() if likelihood is GAUSSIAN else LABELS[BERNOULLI]
    posterior = approximate(net, x, y, likelihood=likelihood)
    draws = posterior.draw(3)
    assert draws.kind == likelihood.kind
    assert draws(x).shape == ((40, 3, 2) if likelihood is GAUSSIAN else (40, 3, 2, 3))
    posterior.save(tmp_path)
    assert torch.equal(load(tmp_path, network(2 if likelihood is GAUSSIAN else 3)).draw(3)(x), draws(x))


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_strong_prior_is_the_network(structure):
    net, x, y = problem()
    posterior = approximate(net, x, y, structure=structure, prior_precision=1e14, refit=False)
    alone = net(x).log_softmax(1).detach()
    assert posterior.draw(5)(x) == pytest.approx(alone[:, None].expand(-1, 5, -1), abs=1e-5)
    assert posterior.predictive(x) == pytest.approx(alone, abs=1e-9)


def test_more_labels_never_widen_the_full_posterior():
    net, x, y = problem()

    def variance(n):
        options = {"structure": "full", "prior_precision": 1.0, "refit": False}
        posterior = approximate(net, x[:n], y[:n], **options)
        inputs = torch.cat([posterior.trunk(x), torch.ones(40, 1)], 1)
        return posterior.outputs_covariance(inputs).diagonal(dim1=1, dim2=2)

    assert (variance(20) >= variance(30)).all()
    assert (variance(30) > variance(40)).any()


def test_data_count_once_and_in_full():
    """Pitfall: B scaled by 1/n as A is. Twice the data make twice the curvature."""
    net, x, y = problem()
    for structure in STRUCTURES:
        once, twice = (
            approximate(net, x.repeat(n, 1), y.repeat(n), structure=structure, refit=False, prior_precision=1)
            for n in (1, 2)
        )
        assert twice.curvature.values == pytest.approx(2 * once.curvature.values, abs=1e-9)


def test_the_bias_is_a_column_not_a_block():
    """Pitfall: a Kronecker factorisation with the bias apart knows nothing of its covariance with the weights."""
    b, a = of_example("kronecker").curvature.vectors
    assert b.shape == (2, 2)
    assert a.shape == (3, 3)
    assert (a[2, :2].abs() > 0.1).any()


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_prior_precision_of_the_largest_evidence(structure, refit):
    net, x, y = problem()
    found = approximate(net, x, y, structure=structure, refit=refit)
    best = found.log_marginal_likelihood(x, y)
    for factor in (0.7, 1.4):
        delta = found.prior_precision * factor
        other = approximate(net, x, y, structure=structure, prior_precision=delta, refit=refit)
        assert other.log_marginal_likelihood(x, y) < best
    if not refit:  # there, Σ h/(h + δ) = δ‖W‖²
        h, delta = found.curvature.values, found.prior_precision
        assert float((h / (h + delta)).sum()) == pytest.approx(
            delta * float(found.mean.square().sum()), rel=0.02
        )


def test_refitting_finds_the_mode():
    net, x, y = problem()
    posterior = approximate(net, x, y, prior_precision=2.0, temperature=0.5, mean_factor=1.0)
    w = posterior.mean.clone().requires_grad_()
    inputs = torch.cat([posterior.trunk(x), torch.ones(40, 1)], 1)
    loss = nn.functional.cross_entropy(inputs @ w.T, y, reduction="sum") / 0.5 + w.square().sum()
    assert torch.autograd.grad(loss, w)[0].abs().max() < 1e-4
    before = [p.clone() for p in net.parameters()]
    assert all(map(torch.equal, net.parameters(), before))


def test_a_network_that_is_sure_of_few_items_keeps_its_knowledge():
    """Weights at which the loss is flat are no mode: a Gaussian around them is as wide as its prior."""
    x = torch.randn(12, 30, dtype=torch.float64) + torch.eye(3, 30).double().repeat(4, 1) * 3
    test = torch.randn(300, 30, dtype=torch.float64) + torch.eye(3, 30).double().repeat(100, 1) * 3
    y, labels = torch.arange(12) % 3, torch.arange(300) % 3
    net = nn.Linear(30, 3).double()
    optimiser = torch.optim.Adam(net.parameters(), lr=0.1)
    for _ in range(300):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()

    def right(refit):
        p = approximate(net, x, y, refit=refit).draw(50)(test).exp()
        return float((p.argmax(2) == labels[:, None]).double().mean())

    assert right(True) > right(False) + 0.1


def test_one_pass_gives_features_and_samples():
    net, x, y = problem()
    runs = []
    posterior = approximate(net, x, y)
    posterior.network[0].register_forward_hook(lambda *_: runs.append(1))
    assert posterior.draw(3)(x[:0]).shape == (0, 3, 3)
    runs.clear()
    outputs = posterior.draw(4).outputs(x, ("features", "log_probs"))
    assert len(runs) == 1
    assert outputs["features"].shape == (40, 6)
    trunk, rest = posterior.draw(4).split()
    assert torch.equal(rest(trunk(x)), outputs["log_probs"])


def test_samples_disagree_most_far_from_the_data():
    net, x, y = problem()
    draws = approximate(net, x, y).draw(50)
    assert acquire.bald(draws(8 * x)).mean() > 1.5 * acquire.bald(draws(x)).mean()


def test_samples_do_not_depend_on_the_eigenvectors_chosen():
    net, x, y = problem()
    posterior = approximate(net, x[:2], y[:2], structure="kronecker")  # most eigenvalues of A are 0
    before = posterior.weights(range(3), 0)
    _, a = posterior.curvature.vectors
    none = posterior.curvature.values.sum(0) < 1e-12
    assert none.sum() >= 4
    turned, _ = torch.linalg.qr(torch.randn(int(none.sum()), int(none.sum())).double())
    a[:, none] = a[:, none] @ turned
    assert posterior.weights(range(3), 0) == pytest.approx(before, abs=1e-9)


def test_the_mean_prediction_by_formula_is_near_that_of_samples():
    net, x, y = problem()
    posterior = approximate(net, x, y, prior_precision=5.0, mean_factor=1.0)
    samples = posterior.predictive(x, "samples", T=4000).exp()
    for link in ("probit", "bridge"):
        told = posterior.predictive(x, link).exp()
        assert told.sum(1) == pytest.approx(torch.ones(40).double(), abs=1e-9)
        assert (told - samples).abs().mean() < 0.05
    labels = approximate(net, x, LABELS[BERNOULLI], likelihood=BERNOULLI, prior_precision=1.0)
    assert (labels.predictive(x) - labels.predictive(x, "samples", T=4000)).abs().max() < 0.1
    with pytest.raises(Unsupported, match="bridge"):
        labels.predictive(x, "bridge")
    with pytest.raises(InvalidArgument, match="link"):
        inspect.unwrap(type(labels).predictive)(labels, x, "logit")


def test_a_layer_without_bias_and_log_softmax_after_it():
    x, y = torch.randn(40, 4).double(), torch.arange(40) % 3
    net = nn.Sequential(network(bias=False), nn.LogSoftmax(1))
    posterior = approximate(net, x, y, refit=False, prior_precision=1e12)
    assert posterior.mean.shape == (3, 6)
    assert posterior.draw(2)(x)[:, 0] == pytest.approx(net(x).detach(), abs=1e-4)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.last = nn.Embedding(3, 4), nn.Linear(4, 3)
        self.last.weight = self.words.weight

    def forward(self, x):
        return self.last(self.words(x).mean(1))


def test_shared_weights_and_maps_of_classes_are_refused():
    with pytest.raises(UnsupportedNetwork, match="'words' shares them"):
        approximate(Tied().eval(), torch.randint(0, 3, (9, 2)), torch.arange(9) % 3)
    maps = nn.Sequential(nn.Linear(4, 12), nn.Unflatten(1, (3, 4)))
    with pytest.raises(UnsupportedNetwork, match="one class an item"):
        approximate(maps, torch.randn(9, 4), torch.zeros(9, 4, dtype=torch.long))


def test_the_evidence_needs_no_eigenvectors():
    net, x, y = problem()
    last, weights = last_layer(net, x, CATEGORICAL), weights_of(net[3])
    a, b = (evidence(last, y, weights, h, 0.1, 0.7) for h in ("full", curvature(last, weights, "full")))
    assert a == pytest.approx(b, rel=1e-9)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_mode_is_found_in_few_passes_wherever_the_search_begins(scale, monkeypatch):
    """Far out the loss is flat, and a weak prior makes the problem ill-conditioned."""
    net, x, y = problem()
    last, passes = last_layer(net, x, CATEGORICAL), []
    real = type(last).outputs
    monkeypatch.setattr(type(last), "outputs", lambda *given: passes.append(1) or real(*given))
    w = mode(last, scale * weights_of(net[3]), y, 1e-3, 1.0).requires_grad_()
    assert len(passes) < 200
    loss = 5e-4 * w.square().sum() - last.log_likelihood(w, y)
    assert torch.autograd.grad(loss, w)[0].abs().max() < 1e-4


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(self.layer(x).relu())


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(1, 3, 2), nn.Flatten()),
        nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
        Twice(),
    ],
    ids=["none", "tanh", "normalised", "shared"],
)
def test_outputs_that_are_not_those_of_a_linear_layer_are_refused(net):
    x = (
        torch.randn(9, 1, 2, 2)
        if isinstance(net[0] if isinstance(net, nn.Sequential) else 0, nn.Conv2d)
        else None
    )
    if isinstance(net, nn.Sequential) and isinstance(net[-1], nn.BatchNorm1d):
        net[-1].running_var.fill_(9.0)
    with pytest.raises(UnsupportedNetwork, match=r"last layer|columns"):
        approximate(net.eval(), torch.randn(9, 4) if x is None else x, torch.arange(9) % 3)


def test_arguments_out_of_their_domain():
    net, x, y = problem()
    for name in ("prior_precision", "temperature", "mean_factor"):
        with pytest.raises(InvalidArgument, match=name):
            approximate(net, x, y, **{name: 0.0})
    with pytest.raises(InvalidArgument, match="structure"):
        inspect.unwrap(curvature)(None, torch.zeros(1), "block")
    with pytest.raises(InvalidArgument, match="kronecker"):
        approximate(nn.Linear(1000, 10), torch.randn(9, 1000), y[:9], structure="full")
    posterior = approximate(net, x, y)
    with pytest.raises(InvalidArgument, match="T = 0"):
        posterior.draw(0)
    with pytest.raises(InvalidArgument, match="holds none"):
        posterior.draw(3)[3:]


def test_what_is_damaged_is_named(tmp_path):
    net, x, y = problem()
    approximate(net, x, y).save(tmp_path)
    other = nn.Sequential(*network()[:3], nn.Sequential(network()[3]))
    with pytest.raises(DamagedArtefact, match=str(tmp_path)):
        load(tmp_path, other)
    about = tmp_path / "posterior.json"
    about.write_text(about.read_text().replace('"prior_precision"', '"prior"'))
    with pytest.raises(DamagedArtefact, match="prior_precision"):
        load(tmp_path, network())
