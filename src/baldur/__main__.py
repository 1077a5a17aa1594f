"""`python -m baldur` is the `baldur` command."""

from baldur.cli.app import main

main()
