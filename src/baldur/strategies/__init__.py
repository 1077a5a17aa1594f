"""Named recipes: acquire + select + score. The name of a strategy is the name of its function.

A recipe takes predictions and features from a `QueryRound`. It returns `Picks`, with the score of every item if there
is one. Options are bound by keyword: `partial(power_bald, beta=8)`, or `--strategy "power_bald(beta=8)"`.
"""

from baldur.strategies import batches, items
from baldur.strategies.batches import *
from baldur.strategies.items import *

__all__: list[str] = []
__all__ += batches.__all__
__all__ += items.__all__
