import math
import re

import numpy as np
import pytest

from baldur import acquire
from baldur.core.arrays import namespace
from baldur.testing import verify_acquisition


def bounds(T, C):
    return 0, min(math.log(T), math.log(C))


def changes_input(log_probs):
    scores = acquire.bald(log_probs)
    log_probs[0] = log_probs[1]
    return scores


def compares_with_others(log_probs):
    scores = acquire.bald(log_probs)
    return scores / namespace(scores).max(scores) if len(scores) else scores


def prefers_a_class(log_probs):
    xp = namespace(log_probs)
    first = xp.mean(xp.exp(xp.astype(log_probs[:, :, 0, ...], xp.float64)), axis=1)
    return acquire.bald(log_probs) * xp.clip(first, max=1.0)


def looks_at_the_last_sample(log_probs):
    return acquire.entropy(log_probs[:, -1:])


def epsilon_in_the_logarithm(log_probs):
    return acquire.bald(log_probs) - 1e-6


def accepts_anything(log_probs):
    return acquire.bald(acquire.from_logits(namespace(log_probs).clip(log_probs, -1e3, 1e3)))


FAULTS = {
    changes_input: "the predictions were changed",
    compares_with_others: "scores depend|a score|float32|half",
    prefers_a_class: "order of the classes",
    looks_at_the_last_sample: "order of the samples|above the bound",
    epsilon_in_the_logarithm: "below the bound|one-hot",
    accepts_anything: "was accepted",
    lambda x: np.asarray(acquire.bald(x)): "torch predictions gave ndarray",
    lambda x: acquire.bald(x).astype(np.float32): "not float64",
    lambda x: acquire.bald(x) * 0: "every item has the same score",
    lambda x: 10 * acquire.bald(x): "above the bound",
    lambda x: acquire.bald(x)[:, None]: "have the shape",
}


@pytest.mark.parametrize(("function", "message"), FAULTS.items())
def test_a_fault_is_found(function, message):
    with pytest.raises(AssertionError) as raised:
        verify_acquisition(function, bounds)
    assert re.search(message, str(raised.value)), raised.value


def test_a_sound_function_passes():
    verify_acquisition(acquire.bald, bounds, seed=3)
