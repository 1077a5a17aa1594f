"""Batches as trees of tensors."""

from collections import UserDict

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


def test_sequences_with_a_mask_are_padded_and_others_are_named():
    short = {"input_ids": torch.ones(1, 2), "attention_mask": torch.ones(1, 2).long(), "age": torch.ones(1)}
    long = {name: torch.full((1, *([3] * (part.ndim - 1))), 5) for name, part in short.items()}
    whole = join([short, long])
    assert whole["input_ids"].tolist() == [[1, 1, 0], [5, 5, 5]]
    assert whole["attention_mask"].tolist() == [[1, 1, 0], [5, 5, 5]]
    assert whole["age"].tolist() == [1, 5]
    with pytest.raises(InvalidArgument, match=r"different shapes, \(2,\) and \(3,\); give them one shape"):
        join([{"x": short["input_ids"]}, {"x": long["input_ids"]}])


def test_what_a_tokenizer_gives_is_a_tree():
    given = UserDict({"input_ids": torch.arange(3), "attention_mask": torch.ones(3)})
    assert items_of(given) == 3
    assert take(given, slice(2)).keys() == given.keys()
