"""What every acquisition function satisfies, whatever it is given."""

from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.errors import InvalidArgument, InvalidPredictions, NonFiniteScore, TieBreakWarning


def classes(a):
    return (a.maps > 0) * (1 if isinstance(a.maps, np.ndarray) else torch.tensor(1))


def running(a, ask):
    sums = acquire.Running()
    for t in range(a.log_probs.shape[1]):
        sums.add(a.log_probs[:, t : t + 1, ...])
    return ask(sums)


POINTWISE = ("bald", "entropy", "expected_entropy", "least_confidence", "margin", "mean_kl", "mean_std",
             "variation_ratio", "vote_entropy")  # fmt: skip
CASES = {name: lambda a, name=name: getattr(acquire, name)(a.log_probs) for name in POINTWISE} | {
    "variation_ratio votes": lambda a: acquire.variation_ratio(a.log_probs, "votes"),
    "epig": lambda a: acquire.epig(a.log_probs, a.targets),
    "expected_gradient_length": lambda a: acquire.expected_gradient_length(a.log_probs, a.features),
    "emoc": lambda a: acquire.emoc(a.log_probs, a.features, a.references),
    "emoc_of_network": lambda a: acquire.emoc_of_network(a.log_probs, lambda n, y: np.ones((2, 1))),
    "variance": lambda a: acquire.variance(a.means),
    "variance logdet": lambda a: acquire.variance(a.means, "logdet"),
    "gaussian_information_gain": lambda a: acquire.gaussian_information_gain(a.means, a.variances),
    "aggregate": lambda a: acquire.aggregate(a.maps, how="top", q=0.5),
    "class_balanced": lambda a: acquire.class_balanced(a.maps, classes(a)),
    "area": lambda a: acquire.area(a.maps, 0.1),
    "learning_loss": lambda a: acquire.learning_loss(a.scores),
    "combine": lambda a: acquire.combine(a.scores, a.scores, weights=(1, 2), scale="range"),
    "Running.bald": lambda a: running(a, acquire.Running.bald),
    "Running.expected_entropy": lambda a: running(a, acquire.Running.expected_entropy),
    "from_logits": lambda a: acquire.from_logits(a.log_probs),
    "from_probs": lambda a: acquire.from_probs(a.probs),
    "from_sigmoid": lambda a: acquire.from_sigmoid(a.probs[:, :, :1]),
}
BORDERS = ("from_logits", "from_probs", "from_sigmoid")
SCORES = [case for case in CASES if case not in BORDERS]
ARRAYS = ("log_probs", "probs", "features", "means", "variances", "maps", "scores")
OTHERS = ("targets", "references")
AGREE = ("bald", "mean_kl", "mean_std", "variation_ratio votes", "vote_entropy", "epig", "variance",
         "gaussian_information_gain")  # fmt: skip


def takes(*names):
    return [case for case in CASES if set(names) & set(CASES[case].__code__.co_names)] + (
        [*POINTWISE, "Running.bald"] if "log_probs" in names else []
    )


def inputs(**changes):
    rng = np.random.default_rng(0)
    log_probs, targets = (acquire.from_logits(1.5 * rng.normal(size=(n, 6, 3))) for n in (12, 4))
    a = SimpleNamespace(
        log_probs=log_probs, probs=np.exp(log_probs), targets=targets, features=rng.normal(size=(12, 5)),
        references=rng.normal(size=(4, 5)), means=rng.normal(size=(12, 6, 3)), maps=rng.normal(size=(12, 4, 5)),
        variances=rng.uniform(0.5, 2, size=(12, 6, 3)), scores=rng.normal(size=12),
    )  # fmt: skip
    for name, change in changes.items():
        setattr(a, name, change(getattr(a, name)))
    return a


def everywhere(change, names=ARRAYS + OTHERS):
    return inputs(**dict.fromkeys(names, change))


def put(place, value):
    def change(x):
        x = x.copy()
        x[place] = value
        return x

    return change


def numbers(x):
    return np.asarray(x.detach() if isinstance(x, torch.Tensor) else x, np.float64)


@pytest.fixture
def unchecked(monkeypatch):
    """As users call it: shapes and types are checked by the library alone."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_every_function_is_here():
    assert {case.replace(".", " ").split()[0] for case in CASES} == set(acquire.__all__)


@pytest.mark.parametrize("case", SCORES)
def test_scores_are_float64_of_the_callers_kind(case):
    for library, kind in ((np.asarray, np.ndarray), (torch.from_numpy, torch.Tensor)):
        for dtype in (np.float64, np.float32):
            scores = CASES[case](everywhere(lambda x, d=dtype, lib=library: lib(x.astype(d))))
            assert isinstance(scores, kind)
            assert scores.shape == (12,)
            assert str(scores.dtype).endswith("float64")
            assert numbers(scores) == pytest.approx(numbers(CASES[case](inputs())), abs=2e-5)
    assert CASES[case](everywhere(lambda x: x[:0], ARRAYS)).shape == (0,)


@pytest.mark.parametrize("case", CASES)
def test_the_order_of_items_samples_and_classes_does_not_matter(case):
    """Pitfall: a pool that is shuffled between passes, so that a row holds predictions of several items."""
    expected = numbers(CASES[case](inputs()))
    order = np.random.default_rng(1).permutation(12)
    moved = numbers(CASES[case](everywhere(lambda x: x[order], ARRAYS)))
    assert moved == pytest.approx(expected[order], abs=1e-12)
    if case not in BORDERS:
        for axis in (1, 2):
            flipped = everywhere(
                lambda x, axis=axis: np.flip(x, axis), ("log_probs", "targets", "means", "variances")
            )
            assert numbers(CASES[case](flipped)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_layout_of_memory_and_blocks_do_not_matter(case, monkeypatch):
    expected = numbers(CASES[case](inputs()))
    wide = everywhere(lambda x: np.stack([x, x * 0], axis=-1)[..., 0])
    turned = everywhere(lambda x: torch.from_numpy(np.ascontiguousarray(x.T)).permute(*range(x.ndim)[::-1]))
    for a in (everywhere(np.asfortranarray), wide, turned):
        assert numbers(CASES[case](a)) == pytest.approx(expected, abs=1e-12)
    for module in (
        "core.arrays",
        "acquire.change",
        "acquire.dense",
        "acquire.prediction",
        "acquire.regression",
    ):
        monkeypatch.setattr(f"baldur.{module}._CPU_BLOCK", 40)
    assert numbers(CASES[case](inputs())) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken(case, dtype):
    """As the float32 of the same values, renormalised."""
    scores = CASES[case](everywhere(lambda x: torch.from_numpy(x).to(dtype)))
    single = {name: torch.from_numpy(x).to(dtype).float() for name, x in vars(inputs()).items()}
    for name in ("log_probs", "targets"):
        single[name] = torch.log_softmax(single[name], 2)
    if case != "from_sigmoid":
        single["probs"] = single["probs"] / single["probs"].sum(2, keepdim=True)
    assert numbers(scores) == pytest.approx(numbers(CASES[case](SimpleNamespace(**single))), abs=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_arrays_are_never_changed(case):
    for library in (np.asarray, torch.tensor):
        a = everywhere(library)
        before = {name: np.asarray(x).tobytes() for name, x in vars(a).items()}
        if library is np.asarray:
            for x in vars(a).values():
                x.setflags(write=False)
        CASES[case](a)
        assert {name: np.asarray(x).tobytes() for name, x in vars(a).items()} == before


@pytest.mark.parametrize("case", CASES)
def test_what_requires_a_gradient_gives_the_same(case):
    scores = CASES[case](everywhere(lambda x: torch.from_numpy(x).requires_grad_()))
    assert numbers(scores) == pytest.approx(numbers(CASES[case](inputs())), abs=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_items_that_are_the_same_have_the_same_score(case):
    scores = numbers(CASES[case](everywhere(lambda x: np.repeat(x[:1], 12, axis=0), ARRAYS)))
    assert np.all(scores == scores[:1])


@pytest.mark.parametrize("case", SCORES)
def test_one_sample(case):
    """Pitfall: where T is 1 the samples cannot disagree, every score is 0 and the ranking is the pool's order."""
    one = everywhere(lambda x: x[:, :1], ("log_probs", "targets", "means", "variances"))
    if case == "variance logdet":
        with pytest.raises(InvalidArgument, match="draw more samples"):
            CASES[case](one)
    elif case in AGREE:
        with pytest.warns(
            TieBreakWarning, match=f"{case.split()[0]} measures how samples disagree and T is 1"
        ):
            assert np.all(numbers(CASES[case](one)) == 0)
    elif case != "Running.bald":  # which may have more samples soon
        assert numbers(CASES[case](one)).std() > 0 or case == "emoc_of_network"


@pytest.mark.parametrize("case", takes("log_probs", "targets"))
@pytest.mark.parametrize("change", [put((3, 1, 2), np.nan), put((3, 1), np.log(0.4)), put((3, 1, 0), np.inf)])
def test_predictions_that_are_not_normalised_are_named(case, change):
    if case != "from_logits":
        for name in ("log_probs", "targets") if case == "epig" else ("log_probs",):
            with pytest.raises(InvalidPredictions, match=r"item 3, sample [01] is not normalised"):
                CASES[case](inputs(**{name: change}))


@pytest.mark.parametrize(
    "case", takes("features", "references", "means", "variances", "maps", "scores", "probs")
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_named(case, value):
    for name in ("features", "references", "means", "variances", "maps", "scores", "probs"):
        if name in CASES[case].__code__.co_names:
            with pytest.raises((InvalidArgument, InvalidPredictions, NonFiniteScore), match=r"(row|item) 3"):
                CASES[case](inputs(**{name: put((3, *[0] * (getattr(inputs(), name).ndim - 1)), value)}))


@pytest.mark.parametrize("case", ["expected_gradient_length", "emoc"])
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_score_that_overflows_is_refused(case):
    with pytest.raises(NonFiniteScore, match="item 3 is inf"):
        CASES[case](inputs(features=put(3, 1e200), references=lambda x: x * 1e200))


@pytest.mark.parametrize("case", takes("log_probs", "targets"))
def test_one_class_is_refused(case, unchecked):
    with pytest.raises(InvalidPredictions, match="from_sigmoid"):
        CASES[case](everywhere(lambda x: x[:, :, :1] * 0, ("log_probs", "targets")))


@pytest.mark.parametrize("case", ["expected_gradient_length", "emoc", "emoc_of_network"])
def test_maps_have_no_one_feature_vector(case, unchecked):
    """Scores (N, 1) times lengths (N,) would be N² numbers."""
    with pytest.raises(InvalidPredictions, match=r"\(N, T, C\) of items were expected"):
        CASES[case](inputs(log_probs=lambda x: x[..., None]))


@pytest.mark.parametrize(
    "kind",
    [
        lambda x: x.tolist(),
        lambda x: None,
        lambda x: x.astype(complex),
        lambda x: x.astype(object),
        lambda x: 3,
    ],
)
@pytest.mark.parametrize(
    "case", [c for c in CASES if "Running" not in c and c not in ("from_sigmoid", "class_balanced")]
)
def test_what_is_no_array_of_numbers_is_refused(case, kind, unchecked):
    with pytest.raises((InvalidArgument, InvalidPredictions)):
        CASES[case](everywhere(kind))


@pytest.mark.parametrize(
    ("case", "name"),
    [("expected_gradient_length", "features"), ("emoc", "log_probs"), ("gaussian_information_gain", "variances")],
)  # fmt: skip
def test_arrays_of_different_length_are_refused(case, name, unchecked):
    with pytest.raises(InvalidArgument, match="were expected"):
        CASES[case](inputs(**{name: lambda x: x[:-1]}))


@pytest.mark.parametrize(
    ("case", "name"),
    [("epig", "targets"), ("epig", "log_probs"), ("expected_gradient_length", "features"), ("emoc", "features"),
     ("emoc", "references"), ("gaussian_information_gain", "variances")],
)  # fmt: skip
def test_arrays_on_different_devices_are_refused(case, name):
    """The meta device stands for another one."""
    a = everywhere(torch.from_numpy)
    setattr(a, name, getattr(a, name).to("meta"))
    with pytest.raises(InvalidArgument, match=r"device|move one to the other"):
        CASES[case](a)


def test_maps_masks_and_scores_on_different_devices_are_refused():
    maps = torch.ones(3, 4)
    for call in (
        lambda: acquire.aggregate(maps, (maps > 0).to("meta")),
        lambda: acquire.class_balanced(maps, maps.long().to("meta")),
        lambda: acquire.area(maps, 0.5, (maps > 0).to("meta")),
        lambda: acquire.combine(maps, maps.to("meta")),
    ):
        with pytest.raises(InvalidArgument, match=r"meta|different devices"):
            call()


def test_a_zero_feature_vector_changes_nothing():
    a = inputs(features=put(3, 0.0))
    assert CASES["expected_gradient_length"](a)[3] == CASES["emoc"](a)[3] == 0
