"""The effective settings as they may be shown: every value with its origin, and no secret."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gateway.settings.loader import LoadedSettings


class EffectiveSetting(NamedTuple):
    """The effective value of one setting. ``origin`` is ``default``, ``FILE:LINE``, ``env NAME`` or ``flag``."""

    path: str
    value: Any
    origin: str


def effective(loaded: LoadedSettings) -> list[EffectiveSetting]:
    """Return every effective setting, in the order of the model. Secrets are ``**********``."""
    shown = loaded.settings.model_dump(mode="json")
    for provider in shown["providers"].values():
        del provider["name"]
    return [EffectiveSetting(path, value, loaded.origins.get(path, "default")) for path, value in _leaves(shown, "")]


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
