"""Dropout in networks that have none."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pad_packed_sequence

from baldur import posteriors
from baldur.errors import DamagedArtefact, InvalidArgument, NoStochasticSite, UnsupportedNetwork
from baldur.posteriors import MCDropout
from baldur.posteriors.dropout.insertion import SequenceDropout, insert_dropout, insertion
from baldur.posteriors.dropout.masks import keep
from baldur.testing.posterior import verify_posterior


def cnn():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(96, 8),
        nn.Linear(8, 3),
    )


def pictures():
    return torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(5))


class Backwards(nn.Module):
    """Its last layer is registered first."""

    def __init__(self):
        super().__init__()
        self.out, self.a = nn.Linear(8, 3), nn.Linear(12, 8)

    def forward(self, x):
        return self.out(self.a(x))


@pytest.mark.parametrize("where", ["last", "every"])
def test_names_and_weights_are_those_of_the_plain_network(where):
    network = cnn()
    with_dropout = insert_dropout(network, 0.5, where)
    assert list(with_dropout.state_dict()) == list(network.state_dict())
    with_dropout.load_state_dict(network.state_dict())
    network.load_state_dict(with_dropout.state_dict())
    x = pictures()
    assert torch.equal(with_dropout.eval()(x), network.eval()(x))
    assert not torch.equal(with_dropout.train()(x), network.train()(x))
    assert insertion(network) is None
    assert insertion(with_dropout) == (0.5, where)
    for twin in (copy.deepcopy(with_dropout), pickle.loads(pickle.dumps(with_dropout))):
        assert insertion(twin) == (0.5, where)
        assert twin.get_submodule("6") is not with_dropout.get_submodule("6")


@pytest.mark.parametrize(
    ("where", "written"),
    [
        (
            "last",
            lambda c, d, a, b: nn.Sequential(c, nn.ReLU(), d, nn.ReLU(), nn.Flatten(), a, nn.Dropout(0.4), b),
        ),
        (
            "every",
            lambda c, d, a, b: nn.Sequential(
                *(c, nn.Dropout2d(0.4), nn.ReLU(), d, nn.Dropout2d(0.4), nn.ReLU(), nn.Flatten()),
                *(a, nn.Dropout(0.4), b),
            ),
        ),
    ],
)
def test_it_is_the_network_with_dropout_written_into_it(where, written):
    """The same samples, by the same way: the trunk once, masked products behind it."""
    network, x = cnn(), pictures()
    inserted, plain = MCDropout(network, 0.4, where), MCDropout(written(*(network[i] for i in (0, 2, 5, 6))))
    assert torch.allclose(inserted.draw(4)(x), plain.draw(4)(x), atol=1e-6)
    assert "masked products" in inserted.report(x)
    assert inserted.report(x).splitlines()[-2] == plain.report(x).splitlines()[-2]
    torch.manual_seed(1)
    trained = insert_dropout(network, 0.4, where)(x)
    torch.manual_seed(1)
    assert torch.allclose(trained, plain.network.train()(x), atol=1e-6)  # the copy's channels are last


@pytest.mark.parametrize("where", ["last", "every"])
def test_saved_and_loaded(where, tmp_path):
    network, x = cnn(), pictures()
    empty, posterior = cnn(), MCDropout(network, 0.4, where)
    verify_posterior(
        lambda n: MCDropout(n, 0.4, where), network, x, lambda folder: posteriors.load(folder, empty)
    )
    posterior.save(tmp_path)
    again = posteriors.load(tmp_path, insert_dropout(cnn(), 0.4, where))
    assert torch.equal(again.draw(3)(x), posterior.draw(3)(x))
    with pytest.raises(DamagedArtefact, match="another network"):
        posteriors.load(tmp_path, insert_dropout(cnn(), 0.3, where))


def test_the_report_names_what_became_stochastic():
    x = pictures()
    assert MCDropout(cnn(), 0.4).report(x).splitlines()[0] == "'6.inserted_dropout' (unit): p = 0.4"
    lines = MCDropout(cnn(), 0.4, "every").report(x).splitlines()[:-2]
    assert lines == [
        "'0.inserted_dropout' (channel): p = 0.4",
        "'2.inserted_dropout' (channel): p = 0.4",
        "'5.inserted_dropout' (unit): p = 0.4",
    ]


def test_rate_zero_warns_and_is_the_plain_network():
    network, x = cnn().eval(), pictures()
    with pytest.warns(UserWarning, match="every dropout rate is 0"):
        log_probs = MCDropout(network, 0).draw(2)(x)
    assert torch.allclose(log_probs, network(x).log_softmax(1).unsqueeze(1).expand(-1, 2, -1), atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_lose_features_not_steps(batch_first):
    rnn = nn.GRU(5, 64, batch_first=batch_first)
    with_dropout = insert_dropout(nn.Sequential(rnn, nn.Linear(64, 2)), 0.5, "every")[0]
    x = torch.randn(3, 3, 5)  # as many items as steps
    h, whole = with_dropout(x)[0], rnn(x)[0]
    kept = h != 0
    assert torch.allclose(h, 2 * whole * kept)
    steps, items = (1, 0) if batch_first else (0, 1)
    assert bool((kept == kept.select(steps, 0).unsqueeze(steps)).all())
    assert not bool((kept == kept.select(items, 0).unsqueeze(items)).all())


def test_packed_sequences_lose_the_same_features():
    """Rows of a packed sequence belong to items by length; the mask of an item is that of all its rows."""
    x = torch.ones(4, 5, 16)
    packed = nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor([2, 5, 1, 3]), batch_first=True, enforce_sorted=False
    )
    torch.manual_seed(0)
    out, lengths = pad_packed_sequence(SequenceDropout(0.5, 0)(packed), batch_first=True)
    for row, length in zip(out, lengths, strict=True):
        assert bool((row[:length] == row[0]).all())
        assert bool((row[length:] == 0).all())
    assert not torch.equal(out[0, 0], out[1, 0])


def test_dropout_that_a_network_has_stays_beside_it():
    network = nn.Sequential(nn.Linear(12, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    x = torch.randn(7, 12, generator=torch.Generator().manual_seed(5))
    log_probs = MCDropout(network, 0.5).draw(3, seed=9)(x)
    masks = [keep(9, site, range(3), (1, 8), p) for site, p in ((0, 0.2), (1, 0.5))]
    for t in range(3):
        h = network[0](x) * masks[0][t] / 0.8 * masks[1][t] / 0.5
        assert torch.allclose(log_probs[:, t], network[2](h).log_softmax(1), atol=1e-6)


def test_what_is_refused():
    with pytest.raises(InvalidArgument, match=r"between 0 and 1, not 1\.5"):
        insert_dropout(cnn(), 1.5)
    with pytest.raises(InvalidArgument, match="where="):
        insert_dropout(cnn(), 0.5, "first")
    with pytest.raises(InvalidArgument, match="already"):
        MCDropout(insert_dropout(cnn(), 0.5), 0.5)
    with pytest.raises(NoStochasticSite, match="no place"):
        insert_dropout(nn.ReLU(), 0.5)
    with pytest.raises(NoStochasticSite, match='where="last" needs one only'):
        insert_dropout(nn.Linear(3, 2), 0.5, "every")
    with pytest.raises(UnsupportedNetwork, match="'1' has no shape yet"):
        insert_dropout(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), 0.5)
    with pytest.raises(UnsupportedNetwork, match="'0', is an attention"):
        insert_dropout(nn.Sequential(nn.MultiheadAttention(8, 2)), 0.5)


def test_layers_that_run_in_another_order_are_refused_by_name():
    with pytest.raises(UnsupportedNetwork, match=r"last layer to run is 'out'.*inserted for 'a'"):
        MCDropout(Backwards(), 0.5).draw(2)(torch.randn(4, 12))


def test_a_single_layer():
    verify_posterior(lambda n: MCDropout(n, 0.5), nn.Linear(12, 3), torch.randn(7, 12))
