"""What of a provider's answer may be shown where the model has no place for it: nothing that its name tells to be a
secret (promise P6). The members that a model knows are its own affair."""

import re
from collections.abc import Mapping
from typing import Any, Final

_SECRET: Final = re.compile("token|secret|password|credential|api_?key", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^/?#\s]*@")


def is_secret(name: str, value: Any) -> bool:
    """Whether a member's name tells of a secret. A number or a flag is none: ``aiTokensTotal``, ``hasPassword``."""
    return isinstance(value, str | list | dict) and _SECRET.search(name) is not None


def without_secrets(value: Any) -> Any:
    """A JSON value without secret members, at any depth, and without user and password in URLs."""
    if isinstance(value, str):
        return _USERINFO.sub("", value)
    if isinstance(value, list):
        return [without_secrets(inner) for inner in value]
    if isinstance(value, Mapping):
        return {name: without_secrets(inner) for name, inner in value.items() if not is_secret(name, inner)}
    return value
