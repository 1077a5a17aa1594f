"""Independent random streams, one for each role, derived from the seed of a run."""

import hashlib

import numpy as np


def derive(seed: int, *roles: str | int) -> int:
    """The seed of one random stream: 63 bits from the SHA-256 of the run's seed and the roles.

    It is the same on every machine and in every version. A new stream does not change the others.

    Args:
        seed: The seed of the run.
        roles: The use of the stream, from the general to the particular: `"fit", 3`.

    Returns:
        A non-negative integer below 2**63.
    """
    text = "/".join(str(part) for part in (seed, *roles))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *roles: str | int) -> np.random.Generator:
    """A NumPy generator with the seed of `derive`.

    Args:
        seed: The seed of the run.
        roles: The use of the stream; see `derive`.

    Returns:
        A new generator.
    """
    return np.random.Generator(np.random.PCG64(derive(seed, *roles)))
