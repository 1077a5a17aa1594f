"""What a run measures, and what it cannot."""

import numpy as np
import pytest
from tests.tiny_runs import blob_set
from torch import nn

from baldur import learners
from baldur.errors import InvalidSettings
from baldur.posteriors import Deterministic
from baldur.protocols import Labelled, View
from baldur.runs import settings as settings_
from baldur.runs.measuring import make_stopping
from baldur.runs.observer import Observer
from baldur.stopping import target


class Whole:
    """A learner of one's own that trains on all labelled items."""

    def fit(self, labelled, unlabelled, *, seed, round, previous=None, checkpoint=None):
        raise NotImplementedError

    def load(self, folder):
        raise NotImplementedError


def test_a_stop_by_validation_items_is_refused_where_the_learner_holds_none_out():
    dataset = blob_set()
    settings = settings_.create(data="blobs", validation=4)
    with pytest.raises(InvalidSettings, match="--validation N"):
        make_stopping(settings, target(0.9), Whole(), dataset, None, Observer())
    wrapped = learners.ceal(Whole())
    stopping = make_stopping(settings, target(0.9), wrapped, dataset, None, Observer())
    some = Labelled(
        View(dataset.train, np.arange(6)),
        dataset.labels[:6],
        np.zeros(6, np.int64),
        np.ones(6, np.float32),
        ("oracle",) * 6,
    )
    with pytest.raises(InvalidSettings, match="--validation N"):
        stopping.validate(Deterministic(nn.Linear(4, 3)), some, 0)
