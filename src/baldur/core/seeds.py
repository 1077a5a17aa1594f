"""Independent random streams, one for each role, derived from the seed of a run."""

import hashlib

import numpy as np


def derive(seed: int, *roles: str | int) -> int:
    """The seed of one stream: 63 bits that depend on the run's seed and on what the stream is for.

    The same everywhere and for ever: SHA-256 of the parts, so that a stream neither moves when another is
    added nor depends on the version of a library.

    Args:
        seed: The seed of the run.
        roles: What the stream is for, from the general to the particular: `"fit", 3`.

    Returns:
        A non-negative integer below 2**63.
    """
    text = "/".join(str(part) for part in (seed, *roles))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *roles: str | int) -> np.random.Generator:
    """A NumPy generator at the start of the stream that `derive` names.

    Args:
        seed: The seed of the run.
        roles: What the stream is for.

    Returns:
        A new generator.
    """
    return np.random.Generator(np.random.PCG64(derive(seed, *roles)))
