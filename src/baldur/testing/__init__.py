"""Verifiers: what every member of a family must satisfy, for our tests and for those who add their own."""

from baldur.testing.acquisition import verify_acquisition

__all__ = ["verify_acquisition"]
