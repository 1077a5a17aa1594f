"""What every oracle must satisfy."""

from collections.abc import Sequence

from baldur.protocols import Oracle


def verify_oracle(oracle: Oracle, ids: Sequence[str], classes: Sequence[str]) -> None:
    """Check an oracle: it answers what it is asked, with classes, and does not change its mind within a call's time.

    Args:
        oracle: The oracle.
        ids: Items that it can be asked for, two or more.
        classes: The names that an answer may have.

    Raises:
        AssertionError: It does not; the message says what failed.
    """
    answers = dict(oracle.ask(ids))
    for condition, message in (
        (bool(oracle.annotator), "it has no name for the ledger"),
        (set(answers) <= set(ids), "it answers what it was not asked"),
        (set(answers.values()) <= set(classes), "an answer is not one of the classes"),
        (dict(oracle.ask(ids)) == answers, "the same question got another answer"),
        (
            dict(oracle.ask(ids[:1])) == {i: answers[i] for i in ids[:1] if i in answers},
            "an item alone got another",
        ),
        (dict(oracle.ask([])) == {}, "no question got an answer"),
    ):
        if not condition:
            raise AssertionError(message)
