import torch

from baldur.core.trees import join, map_tree, place, take

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
