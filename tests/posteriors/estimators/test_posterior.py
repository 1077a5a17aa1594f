"""Fitted scikit-learn estimators as posteriors."""

import json
import zipfile
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.linear_model import ARDRegression, BayesianRidge, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from tests.tiny_runs import blobs

from baldur import acquire
from baldur.errors import DamagedArtefact, InvalidArgument, Unsupported
from baldur.evaluate import predictive
from baldur.likelihoods import BERNOULLI
from baldur.posteriors.estimators.posterior import Estimators, load
from baldur.score.passes import features, predict
from baldur.testing.posterior import verify_posterior

X, Y = blobs(90)
HELD = torch.from_numpy(blobs(30, seed=1)[0])
VALUES = X[:, 0] - 2 * X[:, 1]
SEVERAL = np.stack([X[:, 0] > 0, X[:, 1] > 1], 1).astype(int)

FITTED = {
    "forest": lambda: RandomForestClassifier(9, random_state=0).fit(X, Y),
    "extra trees": lambda: ExtraTreesClassifier(9, random_state=0).fit(X, Y),
    "bagging": lambda: BaggingClassifier(GaussianNB(), 6, max_features=0.5, random_state=0).fit(X, Y),
    "voting": lambda: VotingClassifier(
        [("nb", GaussianNB()), *((f"C={C}", LogisticRegression(C=C)) for C in (0.001, 0.01, 0.1, 1.0))]
    ).fit(X, Y),
    "pipeline": lambda: make_pipeline(StandardScaler(), RandomForestClassifier(9, random_state=0)).fit(X, Y),
    "members": lambda: [LogisticRegression(C=C).fit(X, Y) for C in (0.001, 0.01, 0.1, 1.0, 10.0)],
}


@pytest.mark.parametrize("name", FITTED)
def test_the_contract_holds_for_many_functions(name):
    verify_posterior(lambda fitted: Estimators(fitted, 3), FITTED[name](), HELD, load, T=3)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        SVC(probability=True, random_state=0),
        GradientBoostingClassifier(n_estimators=3),
        GaussianProcessClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.filterwarnings("ignore:The `probability` parameter:FutureWarning")
def test_the_contract_holds_for_one_function(estimator):
    fitted = estimator.fit(X, Y)
    verify_posterior(lambda plain: Estimators(plain, 3), fitted, HELD, load, T=1)
    torch.testing.assert_close(
        Estimators(fitted, 3).draw()(HELD)[:, 0].exp(),
        torch.tensor(fitted.predict_proba(HELD.numpy()), dtype=torch.float32),
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestRegressor(6, random_state=0).fit(X, VALUES),
        lambda: BaggingRegressor(n_estimators=6, random_state=0).fit(X, VALUES),
        lambda: RandomForestRegressor(6, random_state=0).fit(X, X[:, :2]),
    ],
)
def test_the_contract_holds_for_regressors(make):
    verify_posterior(lambda fitted: Estimators(fitted, noise=0.3), make(), HELD, load, T=4)


@pytest.mark.parametrize("estimator", [BayesianRidge(), ARDRegression()])
def test_the_contract_holds_for_bayesian_linear_models(estimator):
    fitted = make_pipeline(StandardScaler(), estimator).fit(X, VALUES + np.sin(9 * X[:, 2]))
    verify_posterior(Estimators, fitted, HELD, load, T=4)


def test_the_contract_holds_for_several_labels():
    fitted = RandomForestClassifier(9, random_state=0).fit(X, SEVERAL)
    verify_posterior(partial(Estimators, likelihood=BERNOULLI), fitted, HELD, load, T=4)
    mean = Estimators(fitted, likelihood=BERNOULLI).draw()(HELD).double().exp().mean(1)  # (n, 2, K)
    expected = np.stack(fitted.predict_proba(HELD.numpy()), -1)
    np.testing.assert_allclose(mean, expected, atol=1e-6)


@pytest.mark.parametrize("name", ["forest", "extra trees", "bagging", "pipeline"])
def test_the_mixture_of_all_functions_is_the_estimators_own_prediction(name):
    fitted = FITTED[name]()
    mean = predictive(Estimators(fitted, 3).draw()(HELD).double())
    np.testing.assert_allclose(mean.exp(), fitted.predict_proba(HELD.numpy()), atol=1e-6)


def test_a_search_stands_for_the_best_that_it_found(tmp_path):
    grid = GridSearchCV(RandomForestClassifier(random_state=0), {"n_estimators": [5, 9]}, cv=2).fit(X, Y)
    found = Estimators(grid, 3)
    assert found.functions == grid.best_estimator_.n_estimators
    found.save(tmp_path)
    assert torch.equal(load(tmp_path).draw()(HELD), found.draw()(HELD))


def test_classes_keep_their_columns_and_one_never_seen_is_impossible():
    names = np.array(["ant", "bee", "cow", "dog"])
    two = LogisticRegression().fit(X[Y != 1], names[1:][Y[Y != 1]])  # knows bee and dog
    three = RandomForestClassifier(3, random_state=0).fit(X, names[1:][Y])
    p = Estimators([two, three], names).draw(4, seed=0)(HELD).exp()
    assert (p[..., 0] == 0).all()
    lone = Estimators(two, names).draw()(HELD)[:, 0]
    np.testing.assert_allclose(lone[:, [1, 3]].exp(), two.predict_proba(HELD.numpy()), rtol=1e-5)
    assert (lone[:, [0, 2]] == -torch.inf).all()


def test_a_bootstrap_member_that_missed_a_class_still_counts_in_the_right_columns():
    rare = np.r_[np.flatnonzero(Y == 0)[:1], np.flatnonzero(Y > 0)[:20]]
    bag = BaggingClassifier(KNeighborsClassifier(1), 8, random_state=1).fit(X[rare], Y[rare] * 10)
    assert min(len(member.classes_) for member in bag.estimators_) == 2
    mean = Estimators(bag, [0, 10, 20]).draw()(HELD).double().exp().mean(1)
    np.testing.assert_allclose(mean, bag.predict_proba(HELD.numpy()), atol=1e-6)


def test_smoothing_mixes_with_the_uniform():
    forest = FITTED["forest"]()
    plain, smooth = (Estimators(forest, 3, smoothing=a).draw()(HELD).double().exp() for a in (0.0, 0.5))
    assert plain.min() == 0
    torch.testing.assert_close(smooth, (plain + 0.5 / 3) / 1.5, rtol=0, atol=1e-6)
    assert Estimators(forest, 3, smoothing=0.5).draw()(HELD).isfinite().all()


def test_bald_of_trees_that_are_sure_is_the_entropy_of_their_votes():
    log_probs = Estimators(FITTED["forest"](), 3).draw()(HELD)
    torch.testing.assert_close(acquire.bald(log_probs), acquire.entropy(log_probs))


def test_how_many_functions_there_are():
    forest = Estimators(FITTED["forest"](), 3)
    assert (forest.functions, len(forest.draw()), len(forest.draw(4))) == (9, 9, 4)
    assert len({float(v) for v in np.unique(forest.draw(9, seed=3).samples)}) == 9  # none twice
    with pytest.raises(InvalidArgument, match="at most 9"):
        forest.draw(10)
    with pytest.raises(InvalidArgument, match="T = 0"):
        forest.draw(0)
    with pytest.raises(InvalidArgument, match="holds none"):
        forest.draw()[9:]
    ridge = Estimators(BayesianRidge().fit(X, VALUES))
    assert ridge.functions is None
    assert len(ridge.draw()) == 20
    assert Estimators(LogisticRegression().fit(X, Y), 3).draw().degenerate
    assert not forest.draw().degenerate


def test_members_take_turns():
    """Two draws of two forests are of both, whatever the seed decides for longer ones."""
    parts = Estimators([FITTED["forest"](), FITTED["extra trees"]()], 3)._functions
    assert [m for m, _ in parts] == [0, 1] * 9


def test_samples_of_bayesian_ridge_have_its_mean_and_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    ridge = BayesianRidge().fit(x, x @ [1.0, -2.0, 0.5] + rng.normal(size=40))
    new = torch.from_numpy(rng.normal(size=(7, 3)))
    draws = Estimators(ridge).draw(4000)(new).double().numpy()
    centred = new.numpy() - x.mean(0)
    spread = np.sqrt(np.einsum("ni,ij,nj->n", centred, ridge.sigma_, centred))
    # 4000 samples: a standard error of the mean of spread/63, and of the deviation of spread/89; five of them.
    assert (abs(draws[:, :, 0].mean(1) - ridge.predict(new.numpy())) < 5 * spread / 63).all()
    assert (abs(draws[:, :, 0].std(1) / spread - 1) < 5 / 89).all()
    np.testing.assert_allclose(draws[:, :, 1], 1 / ridge.alpha_, rtol=1e-6)


def test_images_are_flattened_and_half_precision_is_taken():
    forest = Estimators(FITTED["forest"](), 3)
    assert torch.equal(forest.draw()(HELD.reshape(-1, 2, 2)), forest.draw()(HELD))
    assert forest.draw()(HELD.bfloat16()).shape == (30, 9, 3)
    with pytest.raises(InvalidArgument, match="one tensor of numbers"):
        forest.draw()((HELD, HELD))


def test_trees_see_the_same_in_single_and_double_precision_and_where_values_are_missing():
    forest = Estimators(FITTED["forest"](), 3).draw()
    assert torch.equal(forest(HELD), forest(HELD.double()))
    with pytest.raises(ValueError, match="infinity"):
        forest(torch.full((2, 4), torch.inf))
    with pytest.raises(ValueError, match="3 features"):
        forest(HELD[:, :3])
    gaps = np.where(np.arange(4) == Y[:, None], np.nan, X)
    taught = RandomForestClassifier(9, random_state=0).fit(gaps, Y)
    mean = predictive(Estimators(taught, 3).draw()(torch.from_numpy(gaps)).double())
    np.testing.assert_allclose(mean.exp(), taught.predict_proba(gaps), atol=1e-6)


def test_no_items_give_no_rows():
    for posterior, shape in (
        (Estimators(FITTED["pipeline"](), 3), (0, 9, 3)),
        (Estimators(make_pipeline(StandardScaler(), BayesianRidge()).fit(X, VALUES)), (0, 20, 2)),
    ):
        draws = posterior.draw()
        assert draws(HELD[:0]).shape == shape
        assert draws.features(HELD[:0]).shape == (0, HELD.shape[1])


def test_features_are_the_inputs_or_what_the_pipeline_or_a_transformer_makes_of_them():
    scaler, forest = StandardScaler().fit(X), FITTED["forest"]()
    scaled = torch.tensor(scaler.transform(HELD.numpy()))
    torch.testing.assert_close(Estimators(forest, 3).draw().features(HELD), HELD)
    torch.testing.assert_close(Estimators(forest, 3, inputs=scaler).draw().features(HELD), scaled)
    draws = Estimators(FITTED["pipeline"](), 3).draw()
    np.testing.assert_allclose(features(draws, HELD.numpy()), scaled, rtol=1e-5, atol=1e-6)
    assert predict(draws, HELD.numpy(), acquire.bald).shape == (30,)


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Estimators([], 3), InvalidArgument, "at least one"),
        (lambda: Estimators(RidgeClassifier().fit(X, Y), 3), Unsupported, "RidgeClassifier gives no prob"),
        (lambda: Estimators(LogisticRegression(), 3), InvalidArgument, "not fitted"),
        (lambda: Estimators(LogisticRegression().fit(X, Y), 2), InvalidArgument, "class 2"),
        (lambda: Estimators(LogisticRegression().fit(X, Y), 3, smoothing=-1), InvalidArgument, "smoothing"),
        (lambda: Estimators(RandomForestRegressor().fit(X, VALUES)), InvalidArgument, "noise="),
        (
            lambda: Estimators(RandomForestRegressor().fit(X, VALUES), noise=0.0),
            InvalidArgument,
            "positive",
        ),
        (lambda: Estimators(GaussianProcessRegressor().fit(X, VALUES)), Unsupported, "BayesianRidge"),
        (
            lambda: Estimators([BayesianRidge().fit(X, VALUES), LogisticRegression().fit(X, Y)], 3),
            InvalidArgument,
            "do not mix",
        ),
        (
            lambda: Estimators(RandomForestClassifier(3).fit(X, SEVERAL), 3),
            InvalidArgument,
            "BERNOULLI",
        ),
        (
            lambda: Estimators(
                VotingClassifier([("a", GaussianNB())], weights=[2], voting="soft").fit(X, Y), 3
            ),
            Unsupported,
            "weights",
        ),
    ],
)
def test_what_is_no_posterior_is_refused_by_name(make, error, match):
    with pytest.raises(error, match=match):
        make()


class Own(ClassifierMixin, BaseEstimator):
    """A classifier of one's own."""

    def fit(self, x, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x):
        return np.full((len(x), len(self.classes_)), 1 / len(self.classes_))


def test_types_that_are_not_known_to_be_safe_are_named_before_anything_is_written(tmp_path):
    fitted, name = Own().fit(X, Y), f"{Own.__module__}.Own"
    with pytest.raises(Unsupported, match=name):
        Estimators(fitted, 3).save(tmp_path)
    assert not list(tmp_path.iterdir())
    Estimators(fitted, 3, trusted=[name]).save(tmp_path)
    assert load(tmp_path, [name]).draw()(HELD).shape == (30, 1, 3)
    with pytest.raises(Unsupported, match=name):
        load(tmp_path)


def test_nothing_is_pickled(tmp_path):
    Estimators(FITTED["forest"](), 3).save(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"posterior.json", "estimators.skops"}
    names = zipfile.ZipFile(tmp_path / "estimators.skops").namelist()
    assert {name.rpartition(".")[2] for name in names} == {"json", "npy"}


@pytest.mark.parametrize("file", ["posterior.json", "estimators.skops"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b""])
def test_a_damaged_file_is_named(tmp_path, file, damage):
    Estimators(FITTED["forest"](), 3).save(tmp_path)
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    with pytest.raises(DamagedArtefact, match=str(tmp_path)):
        load(tmp_path)


def test_another_release_of_scikit_learn_is_refused(tmp_path):
    Estimators(FITTED["forest"](), 3).save(tmp_path)
    about = json.loads((tmp_path / "posterior.json").read_text())
    about["facts"]["scikit-learn"] = "1.0.2"
    (tmp_path / "posterior.json").write_text(json.dumps(about))
    with pytest.raises(DamagedArtefact, match=r"scikit-learn 1\.0\.2"):
        load(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("left_child", 10**6), ("left_child", 0), ("feature", 99)])
def test_a_tree_whose_indices_lead_outside_is_refused(tmp_path, field, value):
    """Compiled code would follow them; skops takes any array that has the right type."""
    tree = DecisionTreeClassifier(random_state=0).fit(X, Y)
    state = tree.tree_.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    tree.tree_.__setstate__(state)
    Estimators(tree, 3).save(tmp_path)
    with pytest.raises(DamagedArtefact, match="tree"):
        load(tmp_path)
