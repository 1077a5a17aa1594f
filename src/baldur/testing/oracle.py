"""The verifier of oracles."""

from collections.abc import Sequence

from baldur.protocols import Oracle


def verify_oracle(oracle: Oracle, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Check that an oracle answers only the given questions, with class names, and consistently.

    Args:
        oracle: The oracle.
        ids: Ids of at least two items that the oracle knows.
        classes: The class names.

    Raises:
        AssertionError: A check failed. The message names it.
    """
    answers = dict(oracle.ask(ids))
    for condition, message in (
        (bool(oracle.annotator), "the oracle has no name for the ledger; set `annotator`"),
        (set(answers) <= set(ids), "the oracle answered a question that was not asked"),
        (set(answers.values()) <= set(classes), "an answer is not one of the classes"),
        (dict(oracle.ask(ids)) == answers, "the same question got a different answer"),
        (
            dict(oracle.ask(ids[:1])) == {i: answers[i] for i in ids[:1] if i in answers},
            "an item that was asked alone got a different answer",
        ),
        (dict(oracle.ask([])) == {}, "an empty question got an answer"),
    ):
        if not condition:
            raise AssertionError(message)
