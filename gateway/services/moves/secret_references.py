"""References in place of the secrets of an exported create: ``{"$secret": NAME}``."""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.ports.redaction import is_secret, without_secrets
from gateway.ports.sealing import Sealer

REFERENCE: Final = "$secret"
_NO_SECRETS: Final = frozenset({"secrets", "secret_ids"})
"""Members that hold ids of secrets, not secrets."""

_ENV: Final = "env"
_OTHER: Final = re.compile(r"[^A-Za-z0-9]+")
_DIGITS: Final = 12


def with_references(document: Mapping[str, Any], sealer: Sealer) -> dict[str, Any]:
    """A create with references in place of its secrets. Equal values of members of the same name have the same
    reference, which does not change while the gateway has the same key."""
    return {name: _referring(inner, (name,), sealer) for name, inner in document.items()}


def _referring(value: Any, path: tuple[str, ...], sealer: Sealer) -> Any:
    name = path[-1]
    hidden = path[-2:-1] == (_ENV,) or (is_secret(name, value) and name not in _NO_SECRETS)
    if isinstance(value, str) and (hidden or without_secrets(value) != value):
        return {REFERENCE: _name_of(name, value, sealer)}
    below = (_ENV, name) if hidden else path  # everything in a secret is one
    if isinstance(value, Mapping):
        at = (_ENV,) if hidden else path
        return {member: _referring(inner, (*at, member), sealer) for member, inner in value.items()}
    if isinstance(value, list):
        return [_referring(inner, below, sealer) for inner in value]
    return value


def _name_of(member: str, value: str, sealer: Sealer) -> str:
    """A name that an environment variable can have. The digest is keyed, so that guesses cannot be tested."""
    digest = sealer.digest("export", {"value": value}, sealer.digest_version).hex()
    return f"{_OTHER.sub('_', member)}_{digest[:_DIGITS]}".upper()


def filled(value: Any, secrets: Mapping[str, str], missing: set[str]) -> Any:
    """A create with the values of its references. The names of those without a value are added to ``missing``."""
    if isinstance(value, Mapping):
        name = value.get(REFERENCE)
        if len(value) == 1 and isinstance(name, str):
            if name not in secrets:
                missing.add(name)
            return secrets.get(name, "")
        return {member: filled(inner, secrets, missing) for member, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, secrets, missing) for inner in value]
    return value
