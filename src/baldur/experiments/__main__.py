"""`python -m baldur.experiments PART ...`."""

import sys

from baldur.experiments import few, learners, posteriors, tables

PARTS = {
    "posteriors": posteriors.measure,
    "learners": learners.measure,
    "text": tables.text,
    "tables": tables.tables,
    "few": few.measure,
}

if __name__ == "__main__":
    wrong = [part for part in sys.argv[1:] if part not in PARTS]
    if wrong or not sys.argv[1:]:
        raise SystemExit(
            f"python -m baldur.experiments PART, one or more of {', '.join(PARTS)}; not {', '.join(wrong) or 'none'}"
        )
    for part in sys.argv[1:]:
        PARTS[part]()
