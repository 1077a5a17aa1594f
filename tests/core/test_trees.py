"""Batches as trees of tensors."""

import pytest
import torch

from baldur.core.trees import bytes_in, items_of, join, leaves, map_tree, place, take
from baldur.errors import InvalidArgument

CPU = torch.device("cpu")


def test_trees_keep_their_form():
    tree = {"a": (torch.arange(3), [torch.arange(3) * 2]), "b": None}
    taken = place(take(tree, torch.tensor([2, 0])), CPU)
    assert taken["b"] is None
    assert taken["a"][0].tolist() == [2, 0]
    assert taken["a"][1][0].tolist() == [4, 0]
    assert isinstance(map_tree(len, tree)["a"], tuple)
    assert join([tree, taken])["a"][0].tolist() == [0, 1, 2, 2, 0]
    assert join([tree, taken])["b"] is None


TREE = {"a": torch.zeros(3, 4), "b": (None, [torch.zeros(3, 2, dtype=torch.uint8)])}


def test_leaves_are_the_tensors_in_order():
    assert [tuple(leaf.shape) for leaf in leaves(TREE)] == [(3, 4), (3, 2)]
    assert leaves(None) == []


def test_how_many_items_and_bytes_a_batch_has():
    assert items_of(TREE) == items_of(torch.zeros(3)) == 3
    assert bytes_in(TREE) == 3 * 4 * 4 + 3 * 2


@pytest.mark.parametrize("x", [None, {}, [1.0], "text"])
def test_what_is_no_batch_is_refused(x):
    with pytest.raises(InvalidArgument, match="a batch is a torch tensor"):
        items_of(x)
