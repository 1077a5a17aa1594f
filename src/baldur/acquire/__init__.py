"""How informative is one item? Log-probabilities (N, T, C, ...) to scores (N, ...), larger = wanted more.

Every function is in a module by its family; to add one, write the function and name it here.
"""

from baldur.acquire.borders import from_logits, from_probs, from_sigmoid
from baldur.acquire.change import emoc, emoc_of_network, expected_gradient_length
from baldur.acquire.committee import expected_entropy, mean_kl, vote_entropy
from baldur.acquire.dense import aggregate, area, class_balanced
from baldur.acquire.disagreement import bald, mean_std, variation_ratio
from baldur.acquire.prediction import epig
from baldur.acquire.regression import gaussian_information_gain, variance
from baldur.acquire.scores import combine, learning_loss
from baldur.acquire.streaming import Running
from baldur.acquire.uncertainty import entropy, least_confidence, margin

__all__ = [
    "Running",
    "aggregate",
    "area",
    "bald",
    "class_balanced",
    "combine",
    "emoc",
    "emoc_of_network",
    "entropy",
    "epig",
    "expected_entropy",
    "expected_gradient_length",
    "from_logits",
    "from_probs",
    "from_sigmoid",
    "gaussian_information_gain",
    "learning_loss",
    "least_confidence",
    "margin",
    "mean_kl",
    "mean_std",
    "variance",
    "variation_ratio",
    "vote_entropy",
]
