"""Items that come later, and items that are taken out of the pool."""

import pytest

from baldur.errors import InvalidArgument
from baldur.store import Event, ItemRecord


def test_added_items_come_after_the_others_and_say_since_when(asking):
    new = [
        ItemRecord("f", key=5, split="train"),
        ItemRecord("a", key=7),
        ItemRecord("g", key=60, split="reserve"),
    ]
    assert asking.add_items(new, "ann") == ["f", "g"]
    items = asking.items()
    assert [(i, items[i].position, items[i].since) for i in "fg"] == [("f", 5, 1), ("g", 6, 2)]
    assert items["a"].key == 10
    assert asking.add_items(new, "ann") == []
    trial = asking.trial("bald", 0)
    trial.begin([])
    assert [one.item for one in trial.queue.offer("ann", 9, 60)] == ["f", "a", "b", "c", "d"]


def test_an_item_out_of_the_pool_keeps_its_label_in_the_ledger(asking):
    trial = asking.trial("bald", 0)
    trial.tell([Event("1", "label", "a", "ann", "cat")])
    asking.withdraw_items(["a"], "ann")
    assert trial.left_out() == {"a"}
    assert trial.left_out(cut=1) == set()
    assert [row.item for row in trial.labels()] == ["a"]
    asking.withdraw_items(["a"], "ann", back=True)
    assert trial.left_out() == set()


@pytest.mark.parametrize("back", [False, True])
def test_an_item_that_is_not_there_can_neither_be_taken_out_nor_put_back(asking, back):
    with pytest.raises(InvalidArgument, match="there is no item 'z'"):
        asking.withdraw_items(["a", "z"], "ann", back)
    assert asking.ledger() == []  # all or none
