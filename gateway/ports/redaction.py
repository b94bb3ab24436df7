"""What of a provider's answer may be shown where the model has no place for it: nothing that its name tells to be a
secret (promise P6). The members that a model knows are its own affair."""

import re
from typing import Any, Final

MAX_DEPTH: Final = 200
"""How many levels of a provider's JSON are shown at most."""

_SECRET: Final = re.compile("token|secret|password|credential|api_?key", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def is_secret(name: str, value: Any) -> bool:
    """Whether a member's name tells of a secret. A number or a flag is none: ``aiTokensTotal``, ``hasPassword``."""
    return isinstance(value, str | list | dict) and _SECRET.search(name) is not None


def without_secrets(value: Any) -> Any:
    """A JSON value without secret members, at any depth, and without user and password in URLs.

    Raises ``RecursionError`` for one of more than :data:`MAX_DEPTH` levels: what is shown has to be readable by
    everyone, whatever else is on the stack here."""
    return _shown(value, MAX_DEPTH)


def _shown(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return _USERINFO.sub("", value)
    if isinstance(value, dict):
        levels = _one_less(levels)
        return {name: _shown(inner, levels) for name, inner in value.items() if not is_secret(name, inner)}
    if isinstance(value, list):
        levels = _one_less(levels)
        return [_shown(inner, levels) for inner in value]
    return value


def _one_less(levels: int) -> int:
    if levels == 0:
        raise RecursionError("nested too deeply to be shown")
    return levels - 1
