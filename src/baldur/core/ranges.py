"""Numbers with a range, for the annotations of options. `core.written.check` refuses a value outside of it."""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Count = Annotated[int, Ge(1)]
"""1, 2, 3, ..."""

CountOrZero = Annotated[int, Ge(0)]
"""0, 1, 2, ..."""

NotNegative = Annotated[float, Ge(0)]
"""A number of at least 0."""

Positive = Annotated[float, Gt(0)]
"""A number greater than 0."""

Share = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""

Risk = Annotated[float, Ge(0), Lt(1)]
"""A probability below 1."""
