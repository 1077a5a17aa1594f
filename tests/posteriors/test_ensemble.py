"""Ensembles of any posteriors."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from baldur import acquire, posteriors
from baldur.errors import DamagedArtefact, InvalidArgument, TieBreakWarning
from baldur.posteriors import Deterministic, Ensemble, MCDropout
from baldur.posteriors.ensemble import member_seed
from baldur.score.passes import predict
from baldur.testing.posterior import verify_posterior


def network(seed=0, classes=3):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, classes)
        )


X = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
FIVE = [network(seed) for seed in range(5)]


def test_the_contract_holds_with_members_that_sample():
    def make(plain):
        return Ensemble([MCDropout(plain), MCDropout(network(1)), MCDropout(network(2))])

    verify_posterior(make, network(), X, lambda folder: posteriors.load(folder, network()), T=7)


def test_the_contract_holds_with_one_deterministic_member():
    verify_posterior(
        lambda plain: Ensemble([plain]), network(), X, lambda folder: posteriors.load(folder, network()), T=1
    )


def test_samples_of_deterministic_members_are_the_members(tmp_path):
    ensemble = Ensemble(FIVE)
    whole = ensemble.draw()(X)
    assert torch.equal(whole, torch.stack([m.eval()(X).detach().log_softmax(1) for m in FIVE], 1))
    assert torch.equal(ensemble.draw(3)(X), whole[:, :3])
    assert torch.equal(ensemble.draw(seed=1)[1:](X), whole[:, 1:])
    ensemble.save(tmp_path)
    assert torch.equal(posteriors.load(tmp_path, network()).draw()(X), whole)
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".pt", ".pkl")]


def test_its_networks_are_those_of_its_members_in_order():
    inner = Ensemble([MCDropout(FIVE[1]), MCDropout(FIVE[2])])
    ensemble = Ensemble([Deterministic(FIVE[0]), inner])
    expected = [ensemble.members[0].network, *(member.network for member in inner.members)]
    assert [*map(id, ensemble.networks)] == [*map(id, expected)]


def test_sample_t_is_sample_t_div_m_of_member_t_mod_m():
    ensemble = Ensemble([MCDropout(member) for member in FIVE[:3]])
    whole = ensemble.draw(8, seed=4)(X)
    for m in range(3):
        alone = MCDropout(FIVE[m]).draw(3, seed=member_seed(4, m, 3))(X)
        assert torch.equal(whole[:, m::3], alone[:, : len(whole[0, m::3])])
    assert torch.equal(Ensemble([MCDropout(FIVE[0])]).draw(3, 4)(X), MCDropout(FIVE[0]).draw(3, 4)(X))


@settings(deadline=None, max_examples=25)
@given(
    part=st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(-4, 4).filter(bool)),
    again=st.slices(9),
)
@example(part=(0, 8, 6), again=slice(None))
@example(part=(7, -9, -1), again=slice(None))
def test_slices_of_slices_are_what_they_say(part, again):
    ensemble = Ensemble([MCDropout(member) for member in FIVE[:3]])
    samples, part = list(range(8)), slice(*part)
    expected = samples[part][again]
    draws = ensemble.draw(8)
    if not expected:
        with pytest.raises(InvalidArgument, match="holds none"):
            draws[part][again]
        return
    torch.testing.assert_close(draws[part][again](X), draws(X)[:, expected])


def test_two_members_that_are_one_network_give_other_samples():
    twice = Ensemble([MCDropout(FIVE[0]), MCDropout(FIVE[0])]).draw(2)(X)
    assert not torch.equal(twice[:, 0], twice[:, 1])


def test_how_many_samples_there_are():
    dropout = [MCDropout(member) for member in FIVE]
    assert len(Ensemble(FIVE).draw()) == 5
    assert len(Ensemble(dropout).draw()) == 20
    assert len(Ensemble(dropout[:3]).draw()) == 21
    assert len(Ensemble([FIVE[0], *dropout[1:]]).draw()) == 5
    assert len(Ensemble([Ensemble(FIVE[:2]), Ensemble(FIVE[2:])]).draw()) == 4
    with pytest.raises(InvalidArgument, match="ask for at most 5"):
        Ensemble(FIVE).draw(6)
    with pytest.raises(InvalidArgument, match="T = 0"):
        Ensemble(FIVE).draw(0)


def test_features_are_those_of_all_members_side_by_side():
    draws = Ensemble(FIVE[:2]).draw()
    expected = torch.cat([Deterministic(member).draw().features(X) for member in FIVE[:2]], 1)
    assert torch.equal(draws.features(X), expected)
    assert torch.equal(draws[:1].features(X), expected)


def test_one_member_disagrees_with_nobody():
    draws = Ensemble(FIVE[:1]).draw()
    assert draws.degenerate
    with pytest.warns(TieBreakWarning):
        assert acquire.bald(draws(X)).abs().max() < 1e-6
    assert not Ensemble(FIVE).draw().degenerate


def test_identical_members_have_no_disagreement_and_are_named_by_the_scorer():
    draws = Ensemble([FIVE[0], FIVE[0]]).draw()
    assert acquire.bald(draws(X)).abs().max() < 1e-6
    with pytest.warns(TieBreakWarning, match="agree on every item"):
        assert predict(draws, X.numpy(), acquire.bald).max() < 1e-6


@pytest.mark.parametrize("T", [1, 2, 3, 7, 20])
def test_samples_are_spread_over_the_members_as_evenly_as_they_can_be(T):
    """Also where T is no multiple of the members; and T samples are the first of more."""
    members = [MCDropout(network(m)) for m in range(3)]
    mixed = Ensemble(members).draw(T, seed=4)(X)
    whole = Ensemble(members).draw(21, seed=4)(X)
    torch.testing.assert_close(mixed, whole[:, :T], rtol=0, atol=1e-6)
    own = [m.draw(7, member_seed(4, number, 3))(X) for number, m in enumerate(members)]
    whose = [
        [m for m in range(3) if (own[m] - whole[:, [t]]).abs().amax((0, 2)).min() < 1e-6] for t in range(T)
    ]
    counts = [sum(m in who for who in whose) for m in range(3)]
    assert sum(counts) == T
    assert max(counts) - min(counts) <= 1


@settings(deadline=None, max_examples=20)
@given(members=st.lists(st.integers(0, 50), min_size=1, max_size=5), seed=st.integers(0, 1000))
def test_the_mixture_is_never_worse_than_its_members_on_average(members, seed):
    """Jensen: −log mean p ≤ mean −log p, for every item and so for the mean over items."""
    y = torch.randint(0, 3, (9,), generator=torch.Generator().manual_seed(seed))
    own = Ensemble([network(m) for m in members]).draw()(X).double()[torch.arange(9), :, y]
    mixed = torch.logsumexp(own, 1) - torch.tensor(float(len(members))).log()
    assert bool((-mixed <= -own.mean(1) + 1e-6).all())


def test_the_variance_of_the_mixture_is_that_of_its_parts():
    """Var[p] of a one-hot outcome: mean of p(1 − p) over members plus variance of p over them."""
    p = Ensemble(FIVE).draw()(X).double().exp()
    mixed = p.mean(1)
    torch.testing.assert_close(
        mixed * (1 - mixed), (p * (1 - p)).mean(1) + p.var(1, unbiased=False), rtol=0, atol=1e-6
    )


def test_members_must_fit_each_other():
    with pytest.raises(InvalidArgument, match="at least one member"):
        Ensemble([])
    with pytest.raises(InvalidArgument, match="3 and 4 classes"):
        Ensemble([network(), network(1, classes=4)]).draw()(X)


@pytest.mark.parametrize(
    "file", ["posterior.json", "member-1/posterior.json", "member-1/network.safetensors"]
)
def test_what_cannot_be_loaded_is_named(tmp_path, file):
    Ensemble(FIVE[:2]).save(tmp_path)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-9])
    with pytest.raises(DamagedArtefact, match=str(tmp_path)):
        posteriors.load(tmp_path, network())
