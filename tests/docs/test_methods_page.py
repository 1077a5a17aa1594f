"""docs/methods.md is what its docstrings say, and its pictures show what it says of them."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from baldur import acquire, select
from baldur.runs.names import STRATEGIES
from docs import make_methods, make_moons

NAMES = [*acquire.__all__, *select.__all__, *STRATEGIES]


def test_the_page_is_what_the_docstrings_say():
    assert make_methods.PAGE.read_text(encoding="utf-8") == make_methods.page(), "run `make docs`"


def test_every_public_function_has_a_row():
    lines = make_methods.page().splitlines()
    rows = [line.split("`")[1] for line in lines if line.startswith("| [`")]
    assert sorted(rows) == sorted(NAMES)
    width = 0
    for line in (line for line in lines if line.startswith("|")):
        width = line.count("|") if line.startswith("| name") else width
        assert line.count("|") == width, line


def test_every_citation_has_its_reference():
    page = make_methods.page()
    cited = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert cited == {part.split('"')[0] for part in page.split('<a id="')[1:]}


def test_a_docstring_that_does_not_say_what_it_needs_is_refused():
    def silent():
        """Says nothing."""

    with pytest.raises(ValueError, match="docstring of silent"):
        make_methods.read("silent", silent)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Σ_c p̄_c", "Σ<sub>c</sub> p̄<sub>c</sub>"),
        ("min_{j ∈ S_c} r^-β", "min<sub>j ∈ S<sub>c</sub></sub> r<sup>-β</sup>"),
        ("H(p̄ | x) < `a_b`", "H(p̄ ∣ x) &lt; `a_b`"),
        ("in [-1, 0] - 1", "in [−1, 0] − 1"),
    ],
)
def test_typesetting(text, expected):
    assert make_methods.typeset(text) == expected


def test_references_are_cited_by_names_and_year():
    papers = (
        "H. van Hoof, A. B. Cd and E.-F. Gh, On A. I. and B, ICML 2019",
        "D. Lee and W. Ö, T, 1994",
        "S. One, U, 1948",
    )
    assert [make_methods.Paper(p).cited for p in papers] == [
        "van Hoof et al. 2019",
        "Lee & Ö 1994",
        "One 1948",
    ]
    assert make_methods.Paper(papers[1]).anchor == "lee-o-1994"


@pytest.fixture(scope="module")
def moons():
    return make_moons.Moons()


def test_bald_is_small_where_labels_contradict_each_other(moons):
    p = moons.log_probs(moons.pool)
    away, uncertain = cdist(moons.pool, moons.given).min(axis=1), acquire.entropy(p) > 0.6
    near, far = (acquire.bald(p)[uncertain & where].mean() for where in (away < 0.25, away > 0.5))
    assert near < far / 5
    noisiest = select.top(acquire.expected_entropy(p), 10).indices
    assert away[noisiest].max() < 0.4


def test_joint_selection_spreads_where_the_best_ten_are_a_crowd(moons):
    p = moons.log_probs(moons.pool)
    crowd, together = select.top(acquire.bald(p), 10), select.batchbald(p, 10, rng=8)
    spread = [pdist(moons.pool[picks.indices]).mean() for picks in (crowd, together)]
    assert spread[0] < spread[1] / 3


def test_coverage_goes_to_the_ends_and_low_budget_methods_to_the_middle(moons):
    dense = select.typicality(moons.pool, 20)
    ends, middle = (
        select.k_center(moons.pool, 10, moons.given),
        select.typiclust(moons.pool, 10, labelled=moons.given, rng=8),
    )
    assert dense[ends.indices].mean() < np.median(dense) < dense[middle.indices].mean()


def test_the_scores_of_the_picture_are_all_there(moons):
    drawn = {
        word for title in make_moons.scores(moons, moons.pool[:20]) for word in title.replace(",", "").split()
    }
    of_other_things = {
        "area",
        "aggregate",
        "class_balanced",
        "combine",
        "gaussian_information_gain",
        "learning_loss",
        "variance",
    }
    scores = {name for name in acquire.__all__ if name.islower() and not name.startswith("from_")}
    assert scores - drawn == of_other_things
