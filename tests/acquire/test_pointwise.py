import subprocess
import sys

import numpy as np
import pytest
import torch

from baldur import acquire
from baldur.acquire.pointwise import pointwise
from baldur.errors import NonFiniteScore


def test_a_score_that_is_no_number_is_never_mended():
    log_probs = acquire.from_probs(np.array([[0.5, 0.5], [1.0, 0.0]]))
    with pytest.raises(NonFiniteScore, match="item 1 is nan"):
        pointwise(log_probs, lambda s: np.where(s.mean[:, 0] > 0.9, np.nan, 0.0))


def test_gradients_flow():
    logits = torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    acquire.bald(torch.log_softmax(logits, 2)).sum().backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) > 0


def test_numpy_predictions_need_no_torch():
    program = """
import sys
class NoTorch:
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoTorch)
import numpy as np
from baldur import acquire, evaluate, select
log_probs = acquire.from_logits(np.random.default_rng(0).normal(size=(9, 4, 3)))
picks = select.top(acquire.bald(log_probs), 2)
evaluate.measure(evaluate.predictive(log_probs), np.arange(9) % 3, ["a", "b", "c"])
assert len(picks) == 2
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_importing_brings_nothing_heavy():
    program = """
import sys
import baldur.acquire, baldur.evaluate, baldur.select, baldur.testing
heavy = {"torch", "sklearn", "scipy.stats", "matplotlib", "hypothesis"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(
    "function",
    [acquire.bald, acquire.entropy, acquire.margin, acquire.least_confidence, acquire.mean_std],
)
def test_a_gpu_gives_the_same_and_keeps_it_there(function):
    logits = torch.randn(100_000, 20, 10, generator=torch.Generator().manual_seed(0))
    log_probs = acquire.from_logits(logits * 3)
    there = function(log_probs.cuda())
    assert there.device.type == "cuda"
    assert there.cpu().numpy() == pytest.approx(function(log_probs).numpy(), abs=1e-10)
