"""The check that every verifier is made of."""


def require(condition: object, message: str) -> None:
    """Raise an error with a message unless a condition holds; unlike `assert`, also under `python -O`.

    Args:
        condition: The condition.
        message: The message of the error.

    Raises:
        AssertionError: The condition does not hold.
    """
    if not condition:
        raise AssertionError(message)
