from baldur.distributed import Cluster
from baldur.posteriors.fit import ensemble
from baldur.runs.cluster import Elsewhere


def test_members_are_not_fitted_beside_a_fit_that_keeps_the_gpu(tmp_path):
    fitting = ensemble(2, together="turn")
    assert Elsewhere(Cluster(gpus=1), tmp_path).spread(fitting) is fitting
    assert Elsewhere(Cluster(), tmp_path).spread(fitting) is not fitting
