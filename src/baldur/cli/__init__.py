"""The command line: each command opens a run and makes one call."""

from baldur.cli import folders, inspect, labels, predict, run
from baldur.cli.app import app, main

__all__ = ["app", "folders", "inspect", "labels", "main", "predict", "run"]
