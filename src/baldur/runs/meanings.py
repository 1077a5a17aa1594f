"""What a name in the settings of an earlier version meant: some of its options had other defaults."""

from collections.abc import Mapping
from typing import Any

from baldur.core.written import NAMED, call_of, split
from baldur.errors import InvalidSettings

CHANGED: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "learner": {"calibrated": {"strength": 0.0}, "ceal": {"model": "previous"}},
    "posterior": {"laplace": {"mean_factor": 1.0}},
}
"""By setting and name, the defaults before format 3 of the options that have another one now."""


def as_before(setting: str, text: str) -> str:
    """A name with the options that it had by default before format 3.

    Args:
        setting: "learner", "posterior" or another setting.
        text: The name with its options, or several joined by +.

    Returns:
        The name with these options written out; unchanged if none has another default now.
    """
    changed = CHANGED.get(setting, {})
    parts = split(text, "+")
    now = [_written_out(setting, part, changed) for part in parts]
    return text if now == parts else " + ".join(now)


def _written_out(setting: str, text: str, changed: Mapping[str, Mapping[str, Any]]) -> str:
    try:
        name, values, options = call_of(text, setting)
    except InvalidSettings:  # whoever looks the name up says what is wrong
        return text
    module, _, plain = name.rpartition(":")
    ours = not module or module.startswith("baldur.")
    then = changed.get(plain.replace("-", "_"), {}) if ours else {}
    now = {**options, **{key: value for key, value in then.items() if key not in options}}
    now |= {key: as_before(setting, now[key]) for key in NAMED if isinstance(now.get(key), str)}
    if now == options:
        return text
    written = [*map(repr, values), *(f"{key}={value!r}" for key, value in now.items())]
    return f"{name}({', '.join(written)})"
