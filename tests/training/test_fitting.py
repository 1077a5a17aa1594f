import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.small_fits import Recipe, X, Y

from baldur.training import _fitting


def test_class_weights_are_inverse_frequencies_of_mean_1_over_the_items():
    y = torch.tensor([0] * 10 + [2])
    factors = _fitting.factors_of(torch.zeros(11, 1), y, None, Recipe(class_weights=True))
    torch.testing.assert_close(factors, torch.tensor([0.55] * 10 + [5.5]))
    assert _fitting.factors_of(X, Y[:41], None, Recipe()) is None


@given(
    n=st.integers(1, 40), size=st.integers(1, 200), batch=st.integers(1, 50), seed=st.integers(0, 2**63 - 1)
)
def test_an_epoch_takes_each_item_equally_often_and_never_leaves_one_alone(n, size, batch, seed):
    size = max(n, size)
    order = _fitting.order_of(n, size, seed)
    counts = torch.bincount(order, minlength=n)
    assert len(order) == size
    assert counts.max() - counts.min() <= 1
    steps = _fitting.steps_of(order, batch)
    assert torch.equal(torch.cat(steps), order)
    if batch > 1 and size > 1:
        assert min(len(step) for step in steps) > 1


def test_every_epoch_has_another_order():
    assert not torch.equal(_fitting.order_of(50, 50, 1), _fitting.order_of(50, 50, 2))


@given(n=st.integers(1, 9), batch=st.integers(1, 4))
def test_where_two_items_are_needed_no_step_has_one(n, batch):
    steps = _fitting.steps_of(torch.arange(n), batch, 2)
    assert min(len(step) for step in steps) > 1
    assert torch.cat(steps).tolist() == ([0, 0] if n == 1 else list(range(n)))
    if batch > 1 and n > 1:
        assert all(map(torch.equal, steps, _fitting.steps_of(torch.arange(n), batch)))
