"""Tools for all folders: arrays, networks, trees of tensors, seeds, sizes, written names.

Nothing here knows the families of methods or the settings.
"""
