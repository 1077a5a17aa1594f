"""Runs callables that it is handed over a Ray cluster, and by that scores pools and fits learners there.

Ray is the extra `ray`; nothing here imports it before a cluster is used.
"""

from baldur.distributed.cluster import Cluster as Cluster
from baldur.distributed.cluster import begin as begin
from baldur.distributed.fitting import RayLearner as RayLearner
from baldur.distributed.scoring import RayScorer as RayScorer
from baldur.distributed.threads import Stopped as Stopped
from baldur.distributed.threads import side_by_side as side_by_side
