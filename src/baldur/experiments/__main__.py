"""`python -m studies PART ...`."""

import sys

from studies import learners, posteriors, runs

PARTS = {
    "posteriors": posteriors.measure,
    "learners": learners.measure,
    "text": runs.text,
    "tables": runs.tables,
}

if __name__ == "__main__":
    wrong = [part for part in sys.argv[1:] if part not in PARTS]
    if wrong or not sys.argv[1:]:
        raise SystemExit(
            f"python -m studies PART, one or more of {', '.join(PARTS)}; not {', '.join(wrong) or 'none'}"
        )
    for part in sys.argv[1:]:
        PARTS[part]()
