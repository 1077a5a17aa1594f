"""Which k items together? Scores, log-probabilities or features to Picks."""

from baldur.select.aimed import batch_epig
from baldur.select.clusters import average_linkage, cluster_margin, typicality, typiclust
from baldur.select.coreset import k_center
from baldur.select.covering import prob_cover, purity_radius
from baldur.select.discrimination import discriminative
from baldur.select.fisher import bait
from baldur.select.gradients import badge
from baldur.select.joint import batchbald, streamed_batchbald
from baldur.select.pseudo import ceal, ceal_threshold
from baldur.select.ranking import random, top
from baldur.select.representatives import facility_location, suggestive_annotation
from baldur.select.robust import robust_k_center
from baldur.select.stochastic import power, softmax, softrank

__all__ = [
    "average_linkage",
    "badge",
    "bait",
    "batch_epig",
    "batchbald",
    "ceal",
    "ceal_threshold",
    "cluster_margin",
    "discriminative",
    "facility_location",
    "k_center",
    "power",
    "prob_cover",
    "purity_radius",
    "random",
    "robust_k_center",
    "softmax",
    "softrank",
    "streamed_batchbald",
    "suggestive_annotation",
    "top",
    "typicality",
    "typiclust",
]
