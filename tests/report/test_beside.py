"""Runs side by side."""

from collections.abc import Callable

import pytest
from tests.report.synthetic import SETTINGS

from baldur.report import study
from baldur.report.beside import beside
from baldur.store import Store

Run = Callable[..., Store]


def value(s: str, seed: int, r: int) -> float:
    return 0.5 + 0.05 * r + 0.01 * seed + (s == "bald") * 0.002 * seed


def higher(s: str, seed: int, r: int) -> float:
    return value(s, seed, r) + 0.03 + 0.001 * seed


def on(store: Store, data: str) -> Store:
    store.preprocessing["facts"]["fingerprint"] = data
    return store


@pytest.mark.usefixtures("without_charts")
def test_settings_that_differ_and_a_paired_comparison(run: Run) -> None:
    one = on(run(value, "one"), "a")
    two = on(run(higher, "two", settings=SETTINGS + "epochs = 7\n"), "a")
    said = beside(study.gather([one, two], [], "accuracy"))
    assert '<th scope="row">epochs</th><td data-head="one">–</td><td data-head="two">7</td>' in said
    assert '<th scope="row">seeds' not in said
    assert "one/bald − two/bald" in said
    assert "one/random − two/random" in said
    assert "worse (p" in said
    assert "−0.031" in said


@pytest.mark.usefixtures("without_charts")
def test_nothing_is_claimed_where_seeds_do_not_pair(run: Run) -> None:
    one, two = on(run(value, "one", seeds=2), "a"), on(run(higher, "two", seeds=2), "a")
    said = beside(study.gather([one, two], [], "accuracy"))
    assert "too few seeds to compare" in said
    assert "worse" not in said
    assert "The runs have the same settings" in said
    assert "AULC" not in beside(study.gather([one, on(two, "other data")], [], "accuracy"))
    assert not beside(study.gather([one], [], "accuracy"))
