"""How informative is one item? Log-probabilities (N, T, C, ...) to scores (N, ...), larger = wanted more.

Every function is in a module by its family; to add one, write the function and name it here.
"""

from baldur.acquire.borders import from_logits, from_probs, from_sigmoid
from baldur.acquire.disagreement import bald, mean_std, variation_ratio
from baldur.acquire.uncertainty import entropy, least_confidence, margin

__all__ = [
    "bald",
    "entropy",
    "from_logits",
    "from_probs",
    "from_sigmoid",
    "least_confidence",
    "margin",
    "mean_std",
    "variation_ratio",
]
