"""Calls functions on a Ray cluster, and so scores pools and fits learners there.

Ray is an optional dependency, `baldur[ray]`. It is imported only when a cluster is used.
"""

from baldur.distributed.cluster import Cluster as Cluster
from baldur.distributed.cluster import begin as begin
from baldur.distributed.fitting import RayLearner as RayLearner
from baldur.distributed.scoring import RayScorer as RayScorer
from baldur.distributed.threads import Stopped as Stopped
from baldur.distributed.threads import side_by_side as side_by_side
