"""A run whose passes and fits go to a cluster."""

import pytest
from tests.distributed.setting import on_ray
from tests.tiny_runs import QUICK, blobs, by_entropy

from baldur.errors import SettingsChanged
from baldur.runs import run
from baldur.runs import settings as settings_

pytestmark = [*on_ray, pytest.mark.usefixtures("without_charts")]


def test_a_run_may_go_on_elsewhere_and_comes_to_the_same(cluster, tmp_path):
    x, y = blobs()
    told = QUICK | {"data": (x, y), "network": "mlp", "threads": 1, "strategies": ["random", by_entropy]}
    run.run(out=tmp_path / "here", **told)
    run.run(out=tmp_path / "there", **told | {"engine": "ray", "rounds": 1})
    run.run(out=tmp_path / "there", **told | {"engine": "local"})
    assert (tmp_path / "there" / "curves.csv").read_bytes() == (tmp_path / "here" / "curves.csv").read_bytes()
    assert not (tmp_path / "there" / "blocks").exists()
    with pytest.raises(SettingsChanged, match="threads"):
        run.run(out=tmp_path / "there", **told | {"engine": "ray", "threads": 2})
    assert settings_.read(tmp_path / "there" / "settings.toml")["engine"] == "local"
