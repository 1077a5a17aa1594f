"""What `tests/typed.py` holds the package to, without which a wrong shape would pass the tests."""

import jaxtyping
import numpy as np
import pytest

from baldur import acquire, errors
from baldur.core.sizes import bytes_of
from baldur.report.curves import Curve


def test_arrays_have_their_shapes_and_types():
    log_probs = acquire.from_probs(np.full((4, 3, 2), 0.5))
    with pytest.raises(jaxtyping.TypeCheckError, match="target_log_probs"):
        acquire.epig(log_probs, log_probs[:, :2])  # another number of samples
    with pytest.raises(jaxtyping.TypeCheckError, match="values"):
        Curve("run", "bald", 0, "done", np.zeros(3), np.zeros(2))


def test_all_else_has_its_type(monkeypatch):
    with pytest.raises(TypeError, match="size"):
        bytes_of(None)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises((TypeError, errors.BaldurError)):
        bytes_of(None)
