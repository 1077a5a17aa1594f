"""Calls functions on a Ray cluster, and so scores pools and fits learners there.

Ray is an optional dependency, `baldur[ray]`. It is imported only when a cluster is used.
"""

from baldur.distributed.cluster import Cluster
from baldur.distributed.fitting import RayLearner
from baldur.distributed.scoring import RayScorer

__all__ = ["Cluster", "RayLearner", "RayScorer"]
