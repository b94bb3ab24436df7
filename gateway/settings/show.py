"""The effective settings as they may be shown: every value with its origin, and no secret."""

from typing import Any, NamedTuple

from gateway.settings.environment import leaves
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
    dotted = [(".".join(at), value) for at, value in leaves(shown)]
    return [EffectiveSetting(path, value, loaded.origins.get(path, "default")) for path, value in dotted]
