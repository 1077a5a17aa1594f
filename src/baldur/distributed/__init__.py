"""Runs callables that it is handed over a Ray cluster, and by that scores pools and fits learners there.

Ray is the extra `ray`; nothing here imports it before a cluster is used.
"""

from baldur.distributed.cluster import Cluster
from baldur.distributed.fitting import RayLearner
from baldur.distributed.scoring import RayScorer

__all__ = ["Cluster", "RayLearner", "RayScorer"]
