"""The verifier of strategies."""

import numpy as np

from baldur.protocols import Labelled, Pool, Posterior, Scorer, Strategy


def verify_strategy(
    strategy: Strategy, posterior: Posterior, labelled: Labelled, unlabelled: Pool, scorer: Scorer
) -> None:
    """Check that a strategy chooses k distinct unlabelled items with finite scores, the same for the same generator.

    Args:
        strategy: The strategy.
        posterior: The posterior of the model.
        labelled: The labelled items.
        unlabelled: At least four unlabelled items.
        scorer: Evaluates the posterior.

    Raises:
        AssertionError: A check failed. The message names it.
    """
    n, free = len(unlabelled), set(unlabelled.ids)
    for k in (1, 3, n, n + 5):
        choice = strategy(posterior, labelled, unlabelled, k, np.random.default_rng(0), scorer)
        again = strategy(posterior, labelled, unlabelled, k, np.random.default_rng(0), scorer)
        scores = choice.pool_scores
        for condition, message in (
            (
                len(choice.ids) == min(k, n),
                f"{len(choice.ids)} items were chosen where {min(k, n)} were asked for",
            ),
            (len(set(choice.ids)) == len(choice.ids), "an item was chosen twice"),
            (set(choice.ids) <= free, "an item was chosen that is not in the unlabelled pool"),
            (choice.scores.shape == (len(choice.ids),), "there is not one score for each chosen item"),
            (bool(np.isfinite(choice.scores).all()), "a score is not finite"),
            (
                scores is None or (scores.shape == (n,) and bool(np.isfinite(scores).all())),
                "pool scores do not fit",
            ),
            (again.ids == choice.ids, "the same generator gave another choice"),
        ):
            if not condition:
                raise AssertionError(f"k = {k} of {n}: {message}")
