"""Tensors and facts in one safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor


def write_tensors(path: Path, groups: Mapping[str, Mapping[str, Tensor]], said: Mapping[str, Any]) -> None:
    """Write groups of named tensors and what is said of them to one safetensors file.

    Args:
        path: The file.
        groups: Tensors by group and name; a group's name holds no "/".
        said: Kept as JSON in the header.
    """
    from safetensors.torch import save

    named = {f"{group}/{name}": t for group, members in groups.items() for name, t in members.items()}
    whole = {name: t.detach().cpu().contiguous() for name, t in named.items()}
    path.write_bytes(save(whole, {"baldur": json.dumps(said)}))


def read_tensors(path: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Read what `write_tensors` wrote.

    Args:
        path: The file.

    Returns:
        The tensors by group and name, and what is said of them.

    Raises:
        ValueError: The file is not whole, or not one of these.
    """
    from safetensors import SafetensorError, safe_open

    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            said = dict(json.loads((file.metadata() or {})["baldur"]))
            names = file.keys()
            for name in names:
                group, member = name.split("/", 1)
                groups.setdefault(group, {})[member] = file.get_tensor(name).clone()  # off the mapped file
    except (SafetensorError, OSError, KeyError) as error:
        raise ValueError(str(error)) from None
    return groups, said
