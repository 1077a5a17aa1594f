from dataclasses import replace

import numpy as np
import pytest
from tests.strategies.pools import choose, setting
from torch import nn

from baldur import strategies
from baldur.errors import InvalidSettings, Unsupported
from baldur.likelihoods import BERNOULLI, GAUSSIAN
from baldur.posteriors import MCDropout
from baldur.runs.names import strategy_named


def test_classes_are_not_asked_of_numbers():
    _, *rest = setting()
    told = MCDropout(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2)), likelihood=GAUSSIAN)
    with pytest.raises(Unsupported, match="for numbers there are variance"):
        strategies.bald(told, *rest[:2], 3, np.random.default_rng(0), rest[2])


@pytest.mark.parametrize("strategy", [strategies.rare_class, strategies.two_stage])
def test_classes_are_counted_where_an_item_has_one(strategy):
    posterior, labelled, *rest = setting()
    arguments = rest[0], 3, np.random.default_rng(0), rest[1]
    several = MCDropout(posterior.network, likelihood=BERNOULLI)
    with pytest.raises(Unsupported, match="reads categorical predictions, and the posterior's are bernoulli"):
        strategy(several, replace(labelled, labels=np.ones((8, 3), np.int64)), *arguments)
    with pytest.raises(Unsupported, match=r"one class an item; .* shape \(2, 2\)"):
        strategy(posterior, replace(labelled, labels=np.ones((8, 2, 2), np.int64)), *arguments)


def test_options_are_bound_by_name():
    assert strategy_named("power_bald(beta=1e9)")(*arguments()).ids == choose(strategies.bald).ids
    assert (
        strategy_named("baldur.strategies:softrank_bald(beta=1e9)")(*arguments()).ids
        == choose(strategies.bald).ids
    )
    with pytest.raises(InvalidSettings, match=r"no option 'betta'; did you mean 'beta'.*beta: float = 1.0"):
        strategy_named("power_bald(betta=8)")
    with pytest.raises(InvalidSettings, match=r"'powerbald'; did you mean power_bald\?"):
        strategy_named("powerbald")
    for wrong in ("power_bald(8)", "power_bald(beta=", "power_bald(beta=1 + 1)"):
        with pytest.raises(InvalidSettings, match=r"name\(option=value, ...\)"):
            strategy_named(wrong)
    with pytest.raises(InvalidSettings, match="there is no strategy 'open'"):
        strategy_named("power_bald(beta=open('x'))")


def arguments(k=3):
    posterior, labelled, unlabelled, scorer = setting()
    return posterior, labelled, unlabelled, k, np.random.default_rng(0), scorer
