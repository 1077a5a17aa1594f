"""scikit-activeml 1.0.1: where it is right we agree, and where it is not a pool shows it. (T, N, C) there."""

import numpy as np
import pytest

from baldur import acquire, select
from baldur.select.gradients import _Seeding


def pool(seed, shape):
    return acquire.from_logits(1.5 * np.random.default_rng(seed).normal(size=shape))


LOG_PROBS = pool(0, (40, 6, 3))
X = np.random.default_rng(1).normal(size=(60, 5))
UNKNOWN = np.full(60, np.nan)
ONE_KNOWN = np.where(np.arange(60) == 0, 0.0, np.nan)
MEAN = np.exp(pool(2, (60, 1, 4)))


def samples_first(log_probs):
    return np.ascontiguousarray(np.swapaxes(np.exp(log_probs), 0, 1))


@pytest.mark.parametrize(
    ("method", "ours"),
    [
        ("least_confident", acquire.least_confidence),
        ("margin_sampling", lambda x: 1 + acquire.margin(x)),
        ("entropy", acquire.entropy),
    ],
)
def test_uncertainties(activeml, method, ours):
    theirs = activeml.uncertainty_scores(np.exp(LOG_PROBS).mean(axis=1), method=method)
    assert ours(LOG_PROBS) == pytest.approx(theirs, abs=1e-12)


def test_committees(activeml):
    votes = LOG_PROBS.argmax(axis=2)
    assert acquire.mean_kl(LOG_PROBS) == pytest.approx(
        activeml.average_kl_divergence(samples_first(LOG_PROBS))
    )
    assert acquire.vote_entropy(LOG_PROBS) == pytest.approx(activeml.vote_entropy(votes, [0, 1, 2]))
    assert acquire.variation_ratio(LOG_PROBS, "votes") == pytest.approx(activeml.variation_ratios(votes))


def test_batchbald(activeml):
    utilities = activeml.pool.batch_bald(samples_first(LOG_PROBS), 5, n_MC_samples=1000, random_state=0)
    picks = select.batchbald(LOG_PROBS, 5)
    assert picks.indices.tolist() == np.nanargmax(utilities, axis=1).tolist()
    assert picks.info["information"] == pytest.approx(np.nanmax(utilities, axis=1), abs=1e-9)


def test_core_set(activeml):
    """From a labelled item; theirs breaks ties at random, and here are none."""
    indices, utilities = activeml.k_greedy_center(X, ONE_KNOWN, batch_size=20, random_state=0)
    for centres in (X[:1], np.array([0])):
        picks = select.k_center(X, 20, centres)
        assert picks.indices.tolist() == indices.tolist()
        assert picks.scores == pytest.approx(utilities[np.arange(20), indices])


def test_badge_begins_with_the_longest_gradient(activeml):
    badge = activeml.pool.Badge(random_state=0)
    indices, utilities = badge.query(X, UNKNOWN, activeml.Fixed(MEAN[:, 0]), False, return_utilities=True)
    seeding = _Seeding(np.log(MEAN), X)
    assert utilities[0] == pytest.approx(seeding.squares / seeding.squares.sum())
    assert indices == select.badge(np.log(MEAN), X, 1, 0).indices.tolist()


def test_typicality(activeml):
    theirs = activeml.typicality(X, np.arange(60), 7)
    assert select.typicality(X, 7) == pytest.approx(theirs, rel=1e-6)
    copies = np.concatenate([X, X[:5]])
    assert select.typicality(copies, 7) == pytest.approx(
        activeml.typicality(copies, np.arange(65), 7), rel=1e-6
    )


def test_typiclust(activeml):
    """Clusters that k-means cannot miss: the most typical of the largest first, in both."""
    rng = np.random.default_rng(0)
    corners = np.array([(0, 0), (90, 0), (0, 90)])
    x = corners[np.repeat([0, 1, 2], [30, 20, 10])] + rng.normal(size=(60, 2))
    theirs = activeml.pool.TypiClust(k=5, random_state=0).query(x, UNKNOWN, batch_size=3)
    assert select.typiclust(x, 3, rng=0, neighbours=5).indices.tolist() == theirs.tolist()


@pytest.mark.filterwarnings("ignore:The maximum purity was -1")
@pytest.mark.parametrize("delta", [0.8, 1.5, 2.5])
def test_prob_cover(activeml, delta):
    """Theirs breaks ties at random, so what each covers is compared while there are none."""
    strategy = activeml.pool.ProbCover(n_classes=2, deltas=[delta], random_state=0)
    theirs, utilities = strategy.query(X, ONE_KNOWN, batch_size=3, return_utilities=True)
    picks = select.prob_cover(X, 3, labelled=X[:1], delta=delta)
    for step, (their, gain) in enumerate(zip(theirs, utilities, strict=True)):
        assert picks.scores[step] == np.nanmax(gain)
        if np.count_nonzero(gain == np.nanmax(gain)) > 1:
            break
        assert picks.indices[step] == their


def test_pitfall_the_probabilities_of_the_caller_are_changed(activeml):
    """Pitfall: clipped in place, so that zeros are zeros no more and rows no longer sum to 1."""
    given = samples_first(LOG_PROBS)
    given[:, 0] = [1, 0, 0]
    for change in (
        lambda: activeml.pool.batch_bald(given, 2, n_MC_samples=100, random_state=0),
        lambda: activeml.average_kl_divergence(given),
    ):
        given[:, 0] = [1, 0, 0]
        change()
        assert given[0, 0, 1] > 0


def test_pitfall_one_configuration_for_each_sample(activeml):
    """Pitfall: by default as few configurations as samples. Information falls from one step to the next."""
    worse = 0
    for seed in range(10):
        log_probs = pool(seed, (40, 6, 3))
        utilities = activeml.pool.batch_bald(samples_first(log_probs), 5, random_state=0)
        theirs = np.nanargmax(utilities, axis=1)
        ours = select.batchbald(log_probs, 5)
        reached = select.batchbald(log_probs[theirs], 5).info["information"][-1]
        assert reached <= ours.info["information"][-1] + 1e-9
        worse += reached < ours.info["information"][-1] - 0.01
    assert worse >= 5


def test_pitfall_fewer_configurations_than_samples(activeml):
    """Pitfall: M // T = 0, and the rest of the batch is drawn by chance."""
    with pytest.warns(RuntimeWarning, match=r"invalid value|All-NaN"):
        utilities = activeml.pool.batch_bald(samples_first(LOG_PROBS), 4, n_MC_samples=3, random_state=0)
    assert np.isnan(utilities[2:]).all()
    picks = select.batchbald(LOG_PROBS, 4, max_configurations=3)
    assert picks.indices[:3].tolist() == select.batchbald(LOG_PROBS, 3).indices.tolist()
    assert np.isfinite(picks.scores).all()


def test_pitfall_the_origin_counts_as_a_centre_of_badge(activeml):
    """Pitfall: the first distances are squared lengths, of which the second step takes the minimum."""
    badge = activeml.pool.Badge(random_state=0)
    indices, utilities = badge.query(
        X, UNKNOWN, activeml.Fixed(MEAN[:, 0]), False, batch_size=2, return_utilities=True
    )
    seeding = _Seeding(np.log(MEAN), X)
    seeding.add(int(indices[0]))
    assert np.nanmax(np.abs(utilities[1] - seeding.nearest / seeding.nearest.sum())) > 0.01
    with_origin = np.minimum(seeding.nearest, seeding.squares)
    others = np.arange(60) != indices[0]
    assert utilities[1][others] == pytest.approx((with_origin / with_origin.sum())[others])


def test_pitfall_copies_are_chosen_twice_by_badge(activeml):
    """Pitfall: the distance of a gradient to itself, by a product, is not quite 0; and then it is drawn again."""
    x = np.repeat(np.random.default_rng(0).normal(size=(3, 50)), 10, axis=0)
    p = np.repeat([[0.5, 0.3, 0.2], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]], 10, axis=0)
    seen = [
        len(
            set(
                activeml.pool.Badge(random_state=seed).query(
                    x, UNKNOWN[:30], activeml.Fixed(p), False, batch_size=20
                )
            )
        )
        for seed in range(5)
    ]
    assert min(seen) < 20
    for seed in range(5):
        assert len(set(select.badge(acquire.from_probs(p), x, 20, seed).indices.tolist())) == 20


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_pitfall_copies_are_chosen_twice_by_typiclust(activeml):
    """Pitfall: where clusters run out, nothing excludes what was chosen."""
    x = np.zeros((10, 2))
    seen = [
        len(set(activeml.pool.TypiClust(random_state=seed).query(x, UNKNOWN[:10], batch_size=8).tolist()))
        for seed in range(5)
    ]
    assert min(seen) < 8
    assert len(set(select.typiclust(x, 8, rng=0).indices.tolist())) == 8
