"""What every selection satisfies, whatever it is given."""

import inspect
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch

from baldur import acquire, select
from baldur.errors import InvalidArgument, InvalidPredictions, NonFiniteScore, TieBreakWarning

ITEMS = ("log_probs", "features", "scores", "clusters")
OTHERS = ("targets", "known", "known_features")
CASES = {
    "average_linkage": lambda a: select.average_linkage(a.features, rng=0, clusters=4),
    "badge": lambda a: select.badge(a.log_probs, a.features, a.k, 0),
    "bait": lambda a: select.bait(
        a.log_probs, a.features, a.k, labelled_log_probs=a.known, labelled=a.known_features
    ),
    "batch_epig": lambda a: select.batch_epig(a.log_probs, a.k, target_log_probs=a.targets),
    "batchbald": lambda a: select.batchbald(a.log_probs, a.k),
    "ceal": lambda a: select.ceal(a.log_probs, a.k, threshold=0.5),
    "cluster_margin": lambda a: select.cluster_margin(a.log_probs, a.clusters, a.k, rng=0),
    "discriminative": lambda a: select.discriminative(
        a.features, a.k, labelled=a.known_features, rng=0, queries=2, hidden=(4,), epochs=3
    ),
    "facility_location": lambda a: select.facility_location(
        a.features, a.k, labelled=a.known_features, weights=a.scores
    ),
    "k_center": lambda a: select.k_center(a.features, a.k, a.known_features),
    "power": lambda a: select.power(a.scores, a.k, 0),
    "prob_cover": lambda a: select.prob_cover(a.features, a.k, labelled=a.known_features, delta=2.0),
    "purity_radius": lambda a: select.purity_radius(a.features, 4, rng=0),
    "robust_k_center": lambda a: select.robust_k_center(
        a.features, a.k, labelled=a.known_features, outliers=1
    ),
    "softmax": lambda a: select.softmax(a.scores, a.k, 0),
    "softrank": lambda a: select.softrank(a.scores, a.k, 0),
    "suggestive_annotation": lambda a: select.suggestive_annotation(a.scores, a.features, a.k),
    "top": lambda a: select.top(a.scores, a.k),
    "typicality": lambda a: select.typicality(a.features, 3),
    "typiclust": lambda a: select.typiclust(a.features, a.k, labelled=a.known_features, rng=0),
}
ORDERED = ("bait", "batch_epig", "batchbald", "ceal", "facility_location", "k_center", "robust_k_center",
           "suggestive_annotation", "top")  # fmt: skip


def takes(*names):
    return [case for case in CASES if set(names) & set(CASES[case].__code__.co_names)]


def pairs(names):
    return [(case, name) for name in names for case in takes(name)]


def pool(**changes):
    """Four groups of items with predictions, scores and what is labelled; `changes` are made to the arrays."""
    rng = np.random.default_rng(0)
    groups = np.arange(24) % 4
    features = 6 * np.eye(4, 5)[groups] + rng.normal(size=(24, 5))
    log_probs, known, targets = (acquire.from_logits(1.5 * rng.normal(size=(n, 6, 3))) for n in (24, 4, 5))
    a = SimpleNamespace(
        k=5, log_probs=log_probs, features=features, scores=acquire.bald(log_probs), clusters=groups,
        targets=targets, known=known, known_features=features[:4] + rng.normal(size=(4, 5)),
    )  # fmt: skip
    for name, change in changes.items():
        setattr(a, name, change(getattr(a, name)))
    return a


def everywhere(change, names=ITEMS + OTHERS):
    return pool(**dict.fromkeys(names, change))


def floats(change):
    return everywhere(lambda x: change(x) if x.dtype.kind == "f" else x)


def chosen(result):
    """The picks, or what stands for them, as a list."""
    return np.asarray(getattr(result, "indices", result)).tolist()


def put(place, value):
    def change(x):
        x = x.copy()
        x[place] = value
        return x

    return change


@pytest.fixture
def unchecked(monkeypatch):
    """As users call it: shapes and types are checked by the library alone."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_every_selection_is_here():
    # streamed_batchbald reads predictions, which are batchbald's in its own test
    assert set(CASES) == set(select.__all__) - {"ceal_threshold", "random", "streamed_batchbald"}


@pytest.mark.parametrize("case", takes("k"))
def test_sizes(case):
    """Distinct picks, at most as many as there are; none of nothing."""
    picks = CASES[case](pool())
    assert len(set(chosen(picks))) == 5 == len(picks.scores)
    assert picks.indices.dtype == np.intp
    assert picks.scores.dtype == np.float64
    assert np.isfinite(picks.scores).all()
    assert picks.info["gap"] == (picks.info["radius"][-1] if case == "robust_k_center" else 0)
    assert sorted(chosen(CASES[case](pool(k=lambda k: 99)))) == list(range(24))
    assert len(CASES[case](pool(k=lambda k: 0))) == 0
    assert len(CASES[case](everywhere(lambda x: x[:0], ITEMS))) == 0


@pytest.mark.parametrize("k", [-1, 1.5, None, "3"])
@pytest.mark.parametrize("case", takes("k"))
def test_k_is_a_count(case, k, unchecked):
    with pytest.raises(InvalidArgument, match="k is a whole number that is not negative"):
        CASES[case](pool(k=lambda _: k))


@pytest.mark.parametrize(("case", "name"), pairs(["log_probs", "known", "targets"]))
@pytest.mark.parametrize("change", [put((3, 1, 2), np.nan), put((3, 1), np.log(0.4)), put((3, 1, 0), np.inf)])
def test_predictions_that_are_not_normalised_are_named(case, name, change):
    with pytest.raises(InvalidPredictions, match="item 3, sample 1 is not normalised"):
        CASES[case](pool(**{name: change}))


@pytest.mark.parametrize(("case", "name"), pairs(["features", "known_features"]))
@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e200])
def test_features_that_are_no_numbers_are_named(case, name, value):
    """Squares that overflow would make every distance the same: the picks would be the order of the pool."""
    with pytest.raises(InvalidArgument, match="row 3 contains NaN, infinity or a number beyond"):
        CASES[case](pool(**{name: put((3, 1), value)}))


@pytest.mark.parametrize("case", takes("scores"))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_named(case, value):
    """Pitfall: NaN comes first in the sorting of several libraries."""
    with pytest.raises((NonFiniteScore, InvalidArgument), match="item 3 is"):
        CASES[case](pool(scores=put(3, value)))


@pytest.mark.parametrize("case", takes("log_probs"))
def test_one_class_is_refused(case, unchecked):
    with pytest.raises(InvalidPredictions, match="from_sigmoid"):
        CASES[case](everywhere(lambda x: x[:, :, :1] * 0, ("log_probs", "known", "targets")))


@pytest.mark.parametrize("case", takes("log_probs"))
def test_one_sample(case):
    """Joint information needs several: with one, the ranking is pure tie-break, and that is said."""
    one = everywhere(lambda x: x[:, :1], ("log_probs", "known", "targets"))
    if case in ("batchbald", "batch_epig"):
        with pytest.warns(TieBreakWarning, match=f"{case} measures how samples disagree and T is 1"):
            picks = CASES[case](one)
        assert picks.scores == pytest.approx([0] * 5, abs=1e-12)
    else:
        picks = CASES[case](one)
    assert len(set(chosen(picks))) == 5


@pytest.mark.parametrize(
    ("case", "name"), [p for p in pairs(ITEMS) if len({*ITEMS} & {*CASES[p[0]].__code__.co_names}) > 1]
)
def test_arrays_of_different_length_are_refused(case, name, unchecked):
    with pytest.raises(InvalidArgument, match=r"of the same items|\(2[34],\) were expected"):
        CASES[case](pool(**{name: lambda x: x[:-1]}))


@pytest.mark.parametrize(
    "kind",
    [list, lambda x: None, lambda x: x.astype(complex), lambda x: x.astype(object), lambda x: x[..., None]],
)
@pytest.mark.parametrize(("case", "name"), pairs(ITEMS + OTHERS))
def test_what_is_no_array_of_numbers_is_refused(case, name, kind, unchecked):
    if kind(np.zeros(1)) is None and (name.startswith("known") or case == "facility_location"):
        return  # nothing labelled, equal weights
    with pytest.raises((InvalidArgument, InvalidPredictions)):
        CASES[case](pool(**{name: kind}))


@pytest.mark.parametrize("case", takes(*ITEMS))
def test_pools_without_differences(case):
    """Copies of one item, and items at the origin: still distinct items, and no warning of a division."""
    same = everywhere(lambda x: np.repeat(x[:1], 24, axis=0), ITEMS)
    zero = everywhere(lambda x: x * 0, ("features", "known_features", "scores"))
    for a in (same, zero):
        result = CASES[case](a)
        assert np.isfinite(chosen(result)).all()
        if hasattr(result, "indices"):
            assert len(set(chosen(result))) == 5


@pytest.mark.parametrize("case", CASES)
def test_the_layout_of_memory_does_not_matter(case):
    expected = chosen(CASES[case](pool()))
    wide = everywhere(lambda x: np.stack([x, x * 0], axis=-1)[..., 0])
    back = everywhere(lambda x: np.ascontiguousarray(x[::-1])[::-1])
    for a in (everywhere(np.asfortranarray), wide, back, everywhere(torch.from_numpy)):
        assert chosen(CASES[case](a)) == expected


@pytest.mark.parametrize("case", CASES)
def test_single_precision_chooses_the_same(case):
    """Where scores are well apart; `ties` says where they are not."""
    expected = CASES[case](pool())
    for library in (np.asarray, torch.asarray):
        found = CASES[case](floats(lambda x, library=library: library(x.astype(np.float32))))
        if case in ("typicality", "purity_radius"):
            assert chosen(found) == pytest.approx(chosen(expected), rel=1e-5)
        else:
            assert chosen(found) == chosen(expected)
    if "ties" in getattr(expected, "info", ()):
        assert expected.info["ties"] == 1


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_renormalised_not_refused(case, dtype):
    half = floats(lambda x: torch.from_numpy(x).to(dtype))

    def exact(x):
        x = torch.from_numpy(x).to(dtype).float() if x.dtype.kind == "f" else x
        return torch.log_softmax(x, 2) if x.ndim == 3 else x

    expected = chosen(CASES[case](everywhere(exact)))
    assert chosen(CASES[case](half)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_arrays_are_never_changed(case):
    """Nor is there a need to write to them."""
    for library in (np.asarray, torch.tensor):
        a = everywhere(library)
        arrays = [getattr(a, name) for name in ITEMS + OTHERS]
        before = [np.asarray(x).tobytes() for x in arrays]
        if library is np.asarray:
            for x in arrays:
                x.setflags(write=False)
        CASES[case](a)
        assert [np.asarray(x).tobytes() for x in arrays] == before


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_not_asked_for(case):
    expected = chosen(CASES[case](pool()))
    assert chosen(CASES[case](floats(lambda x: torch.from_numpy(x).requires_grad_()))) == expected


@pytest.mark.parametrize("case", ORDERED)
def test_the_order_of_the_items_does_not_matter(case):
    order = np.random.default_rng(1).permutation(24)
    picks = CASES[case](everywhere(lambda x: x[order], ITEMS))
    expected = CASES[case](pool())
    assert order[picks.indices].tolist() == expected.indices.tolist()
    assert picks.scores == pytest.approx(expected.scores, abs=1e-10)


@pytest.mark.parametrize("case", takes("log_probs"))
@pytest.mark.parametrize("axis", [1, 2])
def test_the_order_of_samples_and_of_classes_does_not_matter(case, axis):
    other = everywhere(lambda x: np.flip(x, axis), ("log_probs", "known", "targets"))
    assert chosen(CASES[case](other)) == chosen(CASES[case](pool()))


BLOCKS = {
    "baldur.core.arrays._CPU_BLOCK": 50,
    "baldur.select._products.BLOCK": 20,
    "baldur.select._candidates._CPU_BLOCK": 50,
    "baldur.select._candidates._STORED": 0,
    "baldur.select.aimed._BLOCK": 100,
    "baldur.select.aimed._ITEMS": 3,
    "baldur.select.joint._LEADERS": 2,
    "baldur.select._lazy._BATCH": 2,
}


@pytest.mark.parametrize("case", CASES)
def test_blocks_do_not_matter(case, monkeypatch):
    expected = CASES[case](pool())
    for name, size in BLOCKS.items():
        monkeypatch.setattr(name, size)
    found = CASES[case](pool())
    assert chosen(found) == chosen(expected)
    if hasattr(found, "scores"):
        assert found.scores == pytest.approx(expected.scores, abs=1e-10)


@pytest.mark.parametrize(
    ("case", "name"),
    [("badge", "features"), ("badge", "log_probs"), ("batch_epig", "targets"), ("batch_epig", "log_probs"),
     ("k_center", "features"), ("k_center", "known_features"), ("robust_k_center", "known_features")],
)  # fmt: skip
def test_arrays_on_different_devices_are_refused(case, name):
    """The meta device stands for another one."""
    a = everywhere(torch.from_numpy)
    setattr(a, name, getattr(a, name).to("meta"))
    with pytest.raises(InvalidArgument, match=r"device|move one of them"):
        CASES[case](a)


def test_ties_are_counted_within_rounding():
    """Candidates that another precision would order otherwise."""
    scores = np.array([0.9, 0.5, 0.5 + 3e-7, 0.5 - 3e-7, 0.5 + 1e-5, 0.1])
    assert select.top(scores, 3).info["ties"] == 3
    assert select.top(scores, 1).info["ties"] == 1
    assert select.top(-scores, 2).info["ties"] == 3
    assert select.top(np.zeros(7), 2).info["ties"] == 7
    margins = acquire.from_probs(np.stack([0.5 + scores / 2, 0.5 - scores / 2], axis=1))
    assert select.ceal(margins, 3, threshold=0.0, criterion="margin").info["ties"] == 3
    picks = select.cluster_margin(margins, np.arange(6), 1, rng=0, candidates=3)
    assert picks.info["ties"] == 3
    assert select.suggestive_annotation(scores, np.eye(6), 1, candidates=3).info["ties"] == 3


def test_randomness_is_an_argument():
    """Without a default: nobody draws the same batch in every round by accident."""
    for name in (
        "badge",
        "cluster_margin",
        "discriminative",
        "power",
        "softmax",
        "softrank",
        "typiclust",
        "random",
    ):
        assert inspect.signature(getattr(select, name)).parameters["rng"].default is inspect.Parameter.empty


PINNED = {  # programs outside rely on these, positions included
    "random": ["n", "k", "rng"],
    "power": ["scores", "k", "rng", "beta"],
    "softmax": ["scores", "k", "rng", "beta"],
    "softrank": ["scores", "k", "rng", "beta"],
    "batchbald": ["log_probs", "k", "max_configurations", "rng"],
    "k_center": ["features", "k", "centres"],
    "badge": ["log_probs", "features", "k", "rng"],
}


@pytest.mark.parametrize("name", select.__all__)
def test_arguments_come_in_one_order(name):
    """What is chosen from, then k, then options by keyword, with one name for one thing."""
    parameters = inspect.signature(getattr(select, name)).parameters
    by_position = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    if name in PINNED:
        assert by_position == list(parameters) == PINNED[name]
        return
    assert by_position[-1] == ("k" if "k" in parameters else by_position[-1])
    assert set(by_position) <= {*ITEMS, "bald", "read", "k", "neighbours", "classes", "round"}
    assert not {"centres", "labelled_features", "seed", "generator", "targets"} & set(parameters)
