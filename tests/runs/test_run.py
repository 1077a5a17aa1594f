"""Whole runs: of one's own data, networks and strategies; what is refused, and what stays the same."""

import functools
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from tests.tiny_runs import QUICK, blob_set, blobs, by_entropy, factory
from torch import nn

from baldur import strategies
from baldur.errors import DataNotFound, InvalidArgument, InvalidSettings, UnsupportedNetwork
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.runs.folder import settle
from baldur.runs.observer import Observer
from baldur.runs.plan import Given
from baldur.store import Store
from baldur.testing.resume import history

pytestmark = pytest.mark.usefixtures("without_charts")


def network():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def test_own_arrays_and_own_network(tmp_path):
    outcome = run.run(blobs(), tmp_path / "run", network=lambda shape, classes: network(), **QUICK)
    assert (outcome.state, outcome.waiting) == ("done", "")
    assert (tmp_path / "run" / "report.html").exists()
    assert "bald" in str(outcome)
    with Store.open(tmp_path / "run") as store:
        curve = [(m.strategy, m.labels) for m in store.metrics("test") if m.metric == "accuracy"]
    assert curve == [(s, n) for s in ("bald", "random") for n in (6, 10, 14)]


def test_a_torch_data_set_and_a_module_whose_weights_every_fit_starts_from(tmp_path):
    x, y = blobs()
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    mine = network()
    before = [p.clone() for p in mine.parameters()]
    assert run.run(dataset, tmp_path / "run", network=mine, strategies=["bald"], **QUICK).state == "done"
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))


def test_ones_own_by_name_and_by_object_are_the_same(tmp_path):
    named = run.run(
        blob_set(),
        tmp_path / "a",
        network="tests.tiny_runs:factory",
        strategies=["tests.tiny_runs:by_entropy"],
        **QUICK,
    )
    given = run.run(blob_set(), tmp_path / "b", network=factory, strategies=[by_entropy], **QUICK)
    assert named.state == given.state == "done"
    assert history(tmp_path / "a") == history(tmp_path / "b")
    own = run.run(
        blob_set(), tmp_path / "c", learner="tests.tiny_runs:learner_factory", strategies=["margin"], **QUICK
    )
    assert own.state == "done"


def test_options_of_a_strategy_are_part_of_its_name(tmp_path):
    mine = [functools.partial(strategies.power_bald, beta=8), "power_bald(beta=8)", strategies.power_bald]
    run.run(blob_set(), tmp_path / "run", strategies=mine, **QUICK)
    with Store.open(tmp_path / "run") as store:
        assert {t.strategy for t in store.trials()} == {
            "baldur.strategies:power_bald(beta=8)",
            "power_bald(beta=8)",
            "baldur.strategies:power_bald",
        }
    assert "power_bald(beta=8)" in (tmp_path / "run" / "report.html").read_text()


def test_the_deterministic_posterior(tmp_path):
    outcome = run.run(
        blob_set(), tmp_path / "run", strategies=["entropy"], posterior="deterministic", **QUICK
    )
    assert outcome.state == "done"


def test_the_curve_is_the_same_bit_for_bit_and_nothing_global_is_touched(finished, tmp_path):
    torch.manual_seed(5)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    run.run(blob_set(), tmp_path / "again", **QUICK)
    assert history(tmp_path / "again") == history(finished)
    assert (tmp_path / "again" / "curves.csv").read_bytes() == (finished / "curves.csv").read_bytes()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads


def test_an_exhausted_pool(tmp_path):
    run.run(blob_set(), tmp_path / "run", strategies=["bald"], **QUICK | {"rounds": 30, "query_size": 30})
    with Store.open(tmp_path / "run") as store:
        assert [t.reason for t in store.trials()] == ["pool exhausted"]
        assert store.metrics()[-1].labels == 72


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"strategies": ["bold"]}, InvalidSettings, r"no strategy 'bold'.*did you mean bald"),
        ({"strategies": ["nowhere:bald"]}, InvalidSettings, "nowhere"),
        ({"strategies": ["tests.tiny_runs:missing"]}, InvalidSettings, "no 'missing'"),
        ({"strategies": ["tests.tiny_runs:QUICK"]}, InvalidSettings, "a function or class was expected"),
        ({"network": "alexnet"}, InvalidSettings, r"no network 'alexnet'; use one of"),
        ({"initial": 900}, InvalidSettings, "asks for 900 labels, but the pool has only 72"),
        ({"rounds": -1}, InvalidSettings, "rounds"),
        ({"validation": 72, "validation_free": True}, InvalidSettings, "72 free items"),
    ],
)
def test_mistakes_are_named(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        run.run(blob_set(), tmp_path / "run", **QUICK | options)


def test_labels_of_other_rows_are_refused(tmp_path):
    x, y = blobs()
    frame, labels = pd.DataFrame(x).add_prefix("c"), pd.Series(y)
    for other in (labels[::-1], labels.set_axis(labels.index + 1), labels[::-1].to_frame()):
        with pytest.raises(InvalidArgument, match="different indexes, so a row may get the label of another"):
            run.run((frame, other), tmp_path / "run", **QUICK)
    run.run((frame.iloc[::-1], labels.iloc[::-1]), tmp_path / "run", **QUICK)


def test_a_data_frame_needs_inputs(tmp_path):
    with pytest.raises(InvalidArgument, match="no column beside label"):
        run.run(pd.DataFrame({"label": blobs()[1]}), tmp_path / "run", **QUICK)


def test_a_dict_is_no_data_set(tmp_path):
    x, y = blobs()
    with pytest.raises(InvalidArgument, match=r"expected a tuple \(x, y\).*not a dict"):
        run.run({"x": x, "y": y}, tmp_path / "run", **QUICK)


def test_a_run_from_python_goes_on_from_python_only(finished):
    with pytest.raises(InvalidSettings, match=r"passed in Python.*baldur\.run"):
        run.start(settle({}, finished), finished, Observer())


def test_a_path_object_is_a_path(tmp_path):
    with pytest.raises(DataNotFound, match=r"nothing at that path"):
        run.run(tmp_path / "nowhere.npz", tmp_path / "run", **QUICK)


def test_two_strategies_of_one_name(tmp_path):
    for same in (["random", "random"], [functools.partial(by_entropy), functools.partial(by_entropy)]):
        with pytest.raises(InvalidSettings, match=r"name of its own|named twice"):
            run.run(blob_set(), tmp_path / "run", strategies=same, **QUICK)


class Pairs(torch.utils.data.Dataset):
    """A person's own data set, of NumPy arrays."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.y[i])


@pytest.mark.parametrize("kind", [np.float64, np.float16, "tensor", "dataset"])
def test_numbers_of_any_kind(tmp_path, kind):
    x, y = blobs()
    given = {
        "tensor": lambda: (torch.from_numpy(x).double(), y),
        "dataset": lambda: Pairs(x.astype(np.float64), y),
    }.get(kind, lambda: (x.astype(kind), y))()
    assert run.run(given, tmp_path / "run", strategies=["bald"], **QUICK | {"rounds": 0}).state == "done"


def test_integers_are_numbers_or_codes_for_ones_own_network(tmp_path):
    x, y = blobs()
    given, options = (np.round(x).astype(int), y), QUICK | {"strategies": ["bald"], "rounds": 0}
    assert run.run(given, tmp_path / "numbers", **options).state == "done"
    with pytest.raises(UnsupportedNetwork, match=r"int64 \(4,\).*float32"):
        run.run(given, tmp_path / "codes", network=factory, **options)


def test_threads_are_those_of_the_run_only(tmp_path):
    before = torch.get_num_threads()
    run.run(blob_set(), tmp_path / "run", strategies=["random"], threads=before + 1, **QUICK | {"rounds": 0})
    assert torch.get_num_threads() == before


def test_a_failed_trial_says_why(tmp_path):
    options = QUICK | {"learning_rate": 1e30, "optimizer": "sgd"}
    with pytest.raises(Exception, match="learning rate"):
        run.run(blob_set(), tmp_path / "run", strategies=["bald"], **options)
    with Store.open(tmp_path / "run") as store:
        (trial,) = store.trials()
        assert trial.state == "failed"
        assert len(store.labels()) == 6


def test_settings_reproduce_the_run(finished, tmp_path):
    again = settle(settings_.read(finished / "settings.toml"), tmp_path / "again")
    run.start(again, tmp_path / "again", Observer(), Given(dataset=blob_set()))
    assert history(tmp_path / "again") == history(finished)


def test_other_versions_are_no_error_but_are_recorded(finished):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.run(blob_set(), finished, **QUICK)
    with Store.open(finished) as store:
        assert [start["versions"]["torch"] for start in store.starts()] == [torch.__version__] * 2


def bert(shape, classes):
    """A tiny network of transformers, as that library makes it: its outputs have the logits among others."""
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=30, max_position_embeddings=12, num_labels=classes, **sizes)
    return transformers.BertForSequenceClassification(config)


class Sentences(torch.utils.data.Dataset):
    """The first word is that of the class; sentences have 2 to 9 words."""

    def __len__(self):
        return 60

    def __getitem__(self, i):
        words = [1 + i % 3, *np.random.default_rng(i).integers(5, 30, 1 + i % 8).tolist()]
        return {"input_ids": words, "attention_mask": [1] * len(words)}, i % 3


def tokenised():
    """All sentences at once, padded, as a tokenizer returns them."""
    transformers = pytest.importorskip("transformers")
    items = [item for item, _ in map(Sentences().__getitem__, range(60))]
    longest = max(len(item["input_ids"]) for item in items)
    return transformers.BatchEncoding(
        {
            name: torch.tensor([item[name] + [0] * (longest - len(item[name])) for item in items])
            for name in items[0]
        }
    )


def test_a_network_of_transformers_learns_sentences(tmp_path):
    pytest.importorskip("transformers")
    options = {**QUICK, "epochs": 15, "epoch_size": 64, "learning_rate": 0.01, "initial": 20, "network": bert}
    outcome = run.run(Sentences(), tmp_path / "set", strategies=["bald", "badge"], **options)
    assert outcome.state == "done"
    whole = run.run(
        (tokenised(), np.arange(60) % 3), tmp_path / "arrays", strategies=["bald", "badge"], **options
    )
    with Store.open(tmp_path / "set") as one, Store.open(tmp_path / "arrays") as other:
        accuracy, same = (
            [m.value for m in s.metrics("test") if m.metric == "accuracy"] for s in (one, other)
        )
    assert max(accuracy) > 0.7
    assert accuracy == pytest.approx(same, abs=0.2), "padding to another length is no other sentence"
    assert whole.state == "done"
