"""`python -m baldur` is the `baldur` command."""

from baldur.cli import main

main()
