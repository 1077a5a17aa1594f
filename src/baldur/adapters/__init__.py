"""Baldur inside other libraries: one thin module each."""
