"""What any part may need: arrays, networks, trees of tensors, seeds, sizes, written names.

It knows no family and no settings.
"""
