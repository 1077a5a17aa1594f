"""Sizes in bytes, as people write them."""

import re

from baldur.errors import InvalidSettings

_UNITS = {"": 1, "B": 1, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def bytes_of(size: str | int) -> int:
    """The number of bytes that a size such as "1GiB" or "500 MB" means.

    Args:
        size: A number with an optional unit (B, KiB, MiB, GiB, TiB, KB, MB, GB, TB), or a number of bytes.

    Returns:
        A positive number of bytes.

    Raises:
        InvalidSettings: The text is no such size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(size))
    if match is None or match[2].upper() not in _UNITS or float(match[1]) <= 0:
        raise InvalidSettings(f"a size such as '1GiB' or '500MB' was expected, not {size!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def counted(n: int, word: str, many: str = "") -> str:
    """A number and what is counted, such as "1 item" and "2,000 items".

    Args:
        n: The number.
        word: The word for one.
        many: The word for several; by default, with an s.

    Returns:
        Both.
    """
    return f"{n:,} {word}" if n == 1 else f"{n:,} {many or word + 's'}"
