"""When a run decides to stop."""

import pytest
from tests.tiny_runs import QUICK, blob_set

from baldur import stopping
from baldur.runs import run
from baldur.runs import settings as settings_
from baldur.store import Store

pytestmark = pytest.mark.usefixtures("without_charts")


@pytest.mark.parametrize("stop", ["budget(8)", stopping.budget(8), ["budget(8)"]])
def test_one_criterion_is_a_list_of_one(tmp_path, stop):
    run.run(blob_set(), tmp_path / "run", strategies=["random"], stop=stop, **QUICK)
    with Store.open(tmp_path / "run") as store:
        assert [t.reason for t in store.trials()] == ["the budget of 8 labels is spent"]
    assert settings_.from_toml('stop = "budget(8)"\nnoise = 0.25').stop == ["budget(8)"]
    assert settings_.from_toml("noise = 0.25").noise == "0.25"
