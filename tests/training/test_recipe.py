import math

import pytest
from tests.training.small_fits import Recipe

from baldur.errors import InvalidArgument


@pytest.mark.parametrize(
    "values",
    [{"epochs": 0}, {"epoch_size": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
     {"weight_decay": -1.0}],
)  # fmt: skip
def test_recipes_out_of_their_domain_are_refused(values):
    with pytest.raises(InvalidArgument):
        Recipe(**values)
